"""The contract of a text encoder, the registry of kinds, and domain prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vecaf.errors import DataError
from vecaf.models import registry

if TYPE_CHECKING:
    import torch

Params = registry.Params


class TextEncoder:
    """Embeds the captions of a whole pool.

    Class attributes: ``kind`` (also its key in the configuration), ``Params``, a pydantic model, and ``uses_gpu``:
    whether it computes with torch on the device it is given; ``fitted``: whether it is fitted on the captions it is
    given, so that embeddings of two calls do not compare. Subclasses provide ``width`` and ``batches``.
    """

    kind: ClassVar[str]
    Params: ClassVar[type[Params]] = Params
    uses_gpu: ClassVar[bool] = False
    fitted: ClassVar[bool] = False

    def __init__(self, params: Params, seed: int = 0):
        self.params, self.seed = params, seed

    @property
    def width(self) -> int:
        """Width t of the embeddings, known before any caption is read."""
        raise NotImplementedError

    def batches(
        self, captions: Sequence[str], device: torch.device | str = "cpu"
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows (B,), their embeddings (B, width) float32) until every caption had its turn, in any order.

        All captions of a pool are given at once: an encoder may be fitted on them, and batches its own work. Raises
        DataError naming a caption without words.
        """
        raise NotImplementedError

    def encode(
        self, captions: Sequence[str], *, out: np.ndarray | None = None, device: torch.device | str = "cpu"
    ) -> np.ndarray:
        """Return embeddings (N, width) float32, row = caption.

        out: a writable array or memory map of that shape, filled batch by batch and returned, so that a pool's
        embeddings need not fit into memory. Raises DataError naming a caption without words or with an embedding that
        is not finite.
        """
        if out is None:
            out = np.empty((len(captions), self.width), dtype=np.float32)
        for rows, embeddings in self.batches(captions, device):
            bad = rows[~np.isfinite(embeddings).all(axis=1)]
            if len(bad):
                row = int(bad.min())
                raise DataError(f"the text encoder gave a non-finite embedding for id {row}: {captions[row]!r}")
            out[rows] = embeddings
        return out

    def facts(self) -> dict[str, Any]:
        """Return what else to record about the embeddings just made, as plain JSON."""
        return {}


def suffix(captions: Sequence[str], prompt: str | None) -> list[str]:
    """Return the captions with a domain prompt appended to each (section 3.3), or as they are without one."""
    return [f"{caption.rstrip()} {prompt.strip()}" for caption in captions] if prompt else list(captions)


# The prompt of a spec is appended by whoever reads the captions, before they are encoded.
_REGISTRY = registry.Registry("text encoder", reserved=frozenset({"kind", "seed", "prompt"}))
register, names, implemented = _REGISTRY.register, _REGISTRY.names, _REGISTRY.implemented
get, build = _REGISTRY.get, _REGISTRY.build
