"""The contract of a text encoder, the registry of kinds, and domain prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from vecaf.models import registry

Params = registry.Params


class TextEncoder:
    """Embeds the captions of a whole pool.

    Class attributes: ``kind`` (also its key in the configuration) and ``Params``, a pydantic model.
    """

    kind: ClassVar[str]
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, seed: int = 0):
        self.params, self.seed = params, seed

    @property
    def width(self) -> int:
        """Width t of the embeddings."""
        raise NotImplementedError

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Return embeddings (N, width) float32, row = caption; raises DataError naming a caption without words.

        All captions of a pool are given at once: an encoder may be fitted on them, and batches its own work.
        """
        raise NotImplementedError


def suffix(captions: Sequence[str], prompt: str | None) -> list[str]:
    """Return the captions with a domain prompt appended to each (section 3.3), or as they are without one."""
    return [f"{caption.rstrip()} {prompt.strip()}" for caption in captions] if prompt else list(captions)


# The prompt of a spec is appended by whoever reads the captions, before they are encoded.
_REGISTRY = registry.Registry("text encoder", reserved=frozenset({"kind", "seed", "prompt"}))
register, names, implemented = _REGISTRY.register, _REGISTRY.names, _REGISTRY.implemented
get, build = _REGISTRY.get, _REGISTRY.build
