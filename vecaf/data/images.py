"""Images of one split as uint8 pixels: packed, held in memory, or decoded (from files, from bytes) while needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vecaf import artifacts
from vecaf.data import decoding
from vecaf.data.prefetch import map_batches
from vecaf.errors import ArtifactError, DataError

Batch = Tensor | list[Tensor]
Positions = np.ndarray | Sequence[int] | slice
_CHUNK = 64  # images decoded between two looks at the memory they take
_SAMPLE = 32  # images that tell how much memory all of them would take


class Images:
    """The images of one split in the order of their ids.

    ids, labels: (n,) int64. tuning: (n,) bool. files: n names. classes: names of the labels. Positions count within
    this object: for a whole split they are the ids, for a subset they are not. One of three holds the images: pixels,
    encoded (the bytes of one image file per row) or the files under root.
    """

    def __init__(
        self,
        ids: np.ndarray,
        labels: np.ndarray,
        tuning: np.ndarray,
        files: np.ndarray,
        classes: Sequence[str],
        *,
        root: Path | None = None,
        pixels: np.ndarray | list[np.ndarray] | None = None,
        encoded: Sequence[bytes] | None = None,
        rows: np.ndarray | None = None,
    ):
        self.ids, self.labels, self.tuning, self.files = ids, labels, tuning, files
        self.classes, self.root = list(classes), root
        self._pixels, self._encoded = pixels, encoded
        self._rows = np.arange(len(ids)) if rows is None else rows  # position → row of pixels or encoded images

    @classmethod
    def open(
        cls,
        index_path: str | Path,
        images_path: str | Path,
        meta_path: str | Path,
        split: str = "pool",
        root: str | Path | None = None,
    ) -> Images:
        """Open the ``pool`` or ``test`` split of an indexed dataset without decoding anything.

        root: folder of the files where it differs from the one at indexing time; None or ``none`` for that one.
        Packed images are memory-mapped. Raises ArtifactError when the three files do not belong together, and
        DataError when files are needed and no root is known.
        """
        index, pixels, meta = (
            artifacts.read_table(index_path),
            artifacts.read_array(images_path),
            artifacts.read_json(meta_path),
        )
        if split not in ("pool", "test"):
            raise ValueError(f"split {split!r} is not pool or test")
        expected = meta["pool_size"] + meta["test_size"]
        if len(index) != expected or (meta["packed"] and len(pixels) != expected):
            raise ArtifactError(
                f"{index_path} has {len(index)} images, {images_path} {len(pixels)} and {meta_path} says {expected}; "
                "delete the three and run the pool's target again"
            )
        rows = np.flatnonzero((index["split"] == split).to_numpy())
        table = index.iloc[rows]
        known = str(root) if root is not None and str(root) != "none" else meta["root"]
        if known is None and not meta["packed"]:
            name = meta["dataset"]
            raise DataError(f"the images of {name} are read from files: set datasets.{name}.root to their folder")
        return cls(
            table["id"].to_numpy(np.int64),
            table["label"].to_numpy(np.int64),
            table["tuning"].to_numpy(bool),
            table["file"].to_numpy(object),
            meta["classes"],
            root=None if known is None else Path(known),
            pixels=pixels if meta["packed"] else None,
            rows=rows,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def streams(self) -> bool:
        """Whether images are decoded each time they are read."""
        return self._pixels is None

    def subset(self, positions: Positions) -> Images:
        """Return the images at some positions, in that order; nothing is read or copied but the labels."""
        return Images(
            self.ids[positions],
            self.labels[positions],
            self.tuning[positions],
            self.files[positions],
            self.classes,
            root=self.root,
            pixels=self._pixels,
            encoded=self._encoded,
            rows=self._rows[positions],
        )

    def read(self, positions: Positions) -> Batch:
        """Return uint8 images: one tensor (B, 3, H, W) when all are known to have one size, else a list of (3, H, W).

        Raises DataError naming id and file of an image that is missing or damaged since the pool was indexed.
        """
        rows = self._rows[positions]
        if isinstance(self._pixels, np.ndarray):
            return torch.from_numpy(self._pixels[rows]).permute(0, 3, 1, 2)  # channels last, as kernels like it
        if self._pixels is not None:
            return [_channels_first(self._pixels[row]) for row in rows]
        return [_channels_first(self._decode(position)) for position in self._numbers(positions)]

    def in_memory(self, max_bytes: int = 2 << 30, workers: int = 0) -> Images:
        """Return these images decoded into memory, or unchanged where they would take more than ``max_bytes``.

        A loop repeats a small selection for dozens of epochs and should decode it once.
        """
        if len(self) == 0:
            return self
        if isinstance(self._pixels, np.ndarray):
            size = self._pixels[0].nbytes * len(self)
            return self._holding(self._pixels[self._rows]) if size <= max_bytes else self
        if self._pixels is not None or not self._likely_fits(max_bytes):
            return self
        held: list[np.ndarray] = []
        total = 0
        parts = np.array_split(np.arange(len(self)), -(-len(self) // _CHUNK))
        for images in map_batches(self._decode, parts, workers, 2):
            held += images
            total += sum(image.nbytes for image in images)
            if total > max_bytes:
                return self
        same = len({image.shape for image in held}) == 1
        return self._holding(np.stack(held) if same else held)

    def batches(self, positions: Iterable[Positions], workers: int = 0, prefetch: int = 2) -> Iterator[Batch]:
        """Yield ``read(p)`` for each p of ``positions``, which may be endless.

        workers: threads that decode streamed images up to ``prefetch`` batches ahead, 0 for one per core. They change
        nothing but the waiting time, and images that need no decoding are read when their turn comes.
        """
        if not self.streams:
            yield from map(self.read, positions)
            return
        chosen = (self._numbers(batch) for batch in positions)
        for decoded in map_batches(self._decode, chosen, workers, prefetch):
            yield [_channels_first(image) for image in decoded]

    def _numbers(self, positions: Positions) -> np.ndarray:
        return np.arange(*positions.indices(len(self))) if isinstance(positions, slice) else np.asarray(positions)

    def _decode(self, position: int) -> np.ndarray:
        if self._encoded is not None:
            return decoding.decode_bytes(self._encoded[self._rows[position]], f"image id {self.ids[position]}")
        path = Path(self.root or "") / self.files[position]
        try:
            return decoding.decode(path)
        except DataError as error:
            raise DataError(
                f"image id {self.ids[position]}: {error}. It was whole when the pool was indexed; restore the file, or "
                "delete the pool's index.parquet to index the dataset again."
            ) from error

    def _likely_fits(self, max_bytes: int) -> bool:
        sample = np.unique(np.linspace(0, len(self) - 1, min(_SAMPLE, len(self))).astype(int))
        mean = np.mean([self._decode(position).nbytes for position in sample])
        return mean * len(self) <= 1.25 * max_bytes  # a guess; the exact size is watched while decoding

    def _holding(self, pixels: np.ndarray | list[np.ndarray]) -> Images:
        values: dict[str, Any] = {"root": self.root, "pixels": pixels}
        return Images(self.ids, self.labels, self.tuning, self.files, self.classes, **values)


def _channels_first(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
