"""Images of one split, read as uint8: from one packed array, or decoded from their files and kept where they fit."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from vecaf import artifacts
from vecaf.data.decoding import decode
from vecaf.errors import ArtifactError, DataError

# Images of one size come stacked, (B, 3, H, W); of several sizes as a list of (3, H, W).
Batch = torch.Tensor | list[torch.Tensor]

AHEAD = 4  # batches that are decoded before they are asked for


class Images:
    """Images with their ids and labels, in the order of ids. ids, labels: (n,) int64; tuning: (n,) bool."""

    def __init__(
        self,
        ids: np.ndarray,
        labels: np.ndarray,
        tuning: np.ndarray,
        *,
        packed: np.ndarray | None = None,
        files: Sequence[Path] = (),
        decoded: list[torch.Tensor] | None = None,
    ):
        self.ids, self.labels, self.tuning = ids, labels, tuning
        self._packed, self._files, self._decoded = packed, files, decoded

    @classmethod
    def open(
        cls, index: str | Path, images: str | Path, meta: str | Path, *, split: str, root: str | None = None
    ) -> Images:
        """Return a split ("pool" or "test") of an indexed dataset.

        root: folder of the image files, ``none`` or None for packed images. Raises ArtifactError when index and packed
        images disagree and DataError when files are needed and no root is given.
        """
        table = artifacts.read_table(index)
        rows = np.flatnonzero((table["split"] == split).to_numpy())
        part = table.iloc[rows]
        columns = (part["id"].to_numpy(np.int64), part["label"].to_numpy(np.int64), part["tuning"].to_numpy(bool))
        packed = artifacts.read_array(images)
        if len(packed):
            if len(packed) != len(table):
                raise ArtifactError(f"{images} holds {len(packed)} images, {index} {len(table)}; index the pool again")
            return cls(*columns, packed=packed[rows[0] : rows[-1] + 1])
        if root in (None, "none"):
            name = artifacts.read_json(meta)["dataset"]
            raise DataError(f"the images of {name} are read from files: set datasets.{name}.root to their folder")
        return cls(*columns, files=[Path(root) / name for name in part["file"]])

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, positions: np.ndarray) -> Images:
        """Return the images at some positions, in that order."""
        columns = (self.ids[positions], self.labels[positions], self.tuning[positions])
        if self._packed is not None:
            return Images(*columns, packed=self._packed[positions])
        decoded = None if self._decoded is None else [self._decoded[position] for position in positions]
        return Images(*columns, files=[self._files[position] for position in positions], decoded=decoded)

    def in_memory(self, max_bytes: int = 2 << 30) -> Images:
        """Return the same images decoded once and kept, or these unchanged if they take more than ``max_bytes``.

        A loop repeats a small subset for dozens of passes; decoding it each time costs more than training on it.
        """
        if self._packed is not None:
            fits = self._packed.nbytes <= max_bytes
            return Images(self.ids, self.labels, self.tuning, packed=np.array(self._packed)) if fits else self
        if self._decoded is not None:
            return self
        decoded, used = [], 0
        for batch in self.batches(np.array_split(np.arange(len(self)), max(1, len(self) // 64))):
            decoded += list(batch)
            used += sum(image.numel() for image in batch)
            if used > max_bytes:
                return self
        return Images(self.ids, self.labels, self.tuning, files=self._files, decoded=decoded)

    def read(self, positions: np.ndarray) -> Batch:
        """Return the images at some positions, uint8. Raises DataError naming a file that is gone or broken."""
        if self._packed is not None:
            return torch.from_numpy(self._packed[positions]).permute(0, 3, 1, 2)
        if self._decoded is not None:
            return _stacked([self._decoded[position] for position in positions])
        return _stacked([_tensor(self._files[position]) for position in positions])

    def batches(self, positions: Iterable[np.ndarray], workers: int = 0) -> Iterator[Batch]:
        """Yield the images of each array of positions in turn; files are decoded ahead, on threads.

        workers: threads, 0 for one per core that this process may use (decoding releases the interpreter's lock).
        """
        if self._packed is not None or self._decoded is not None:
            yield from (self.read(part) for part in positions)
            return
        with ThreadPoolExecutor(max_workers=workers or len(os.sched_getaffinity(0))) as threads:
            waiting: deque[list] = deque()
            for part in positions:
                waiting.append([threads.submit(_tensor, self._files[position]) for position in part])
                if len(waiting) > AHEAD:
                    yield _stacked([future.result() for future in waiting.popleft()])
            while waiting:
                yield _stacked([future.result() for future in waiting.popleft()])


def _tensor(file: Path) -> torch.Tensor:
    return torch.from_numpy(decode(file).copy()).permute(2, 0, 1)


def _stacked(images: list[torch.Tensor]) -> Batch:
    return torch.stack(images) if len({image.shape for image in images}) == 1 else images
