"""The contract of a captioner, and the registry of kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from vecaf.models import registry
from vecaf.seeds import keyed_uniform

if TYPE_CHECKING:
    from torch import Tensor


class Params(registry.Params):
    """Parameters that every captioner has."""

    shuffled: bool = Field(False, description="a control: every caption goes to another image of the pool")


class Captioner:
    """Writes captions of images, batch by batch, so that a pool never has to be in memory.

    Class attributes: ``kind`` (also its key in the configuration) and ``Params``, a pydantic model.
    """

    kind: ClassVar[str]
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, seed: int = 0):
        self.params, self.seed = params, seed

    def caption(
        self, images: Tensor | Sequence[Tensor], labels: np.ndarray, classes: Sequence[str], ids: np.ndarray
    ) -> list[str]:
        """Return one sentence per image of a batch.

        images: (B, 3, H, W) or B tensors (3, H, W), uint8. labels, ids: (B,) int64. classes: names by label.
        """
        raise NotImplementedError

    def finish(self, captions: list[str]) -> list[str]:
        """Return the captions of the whole pool, in the order of ids, after what needs all of them at once.

        With ``shuffled`` the captions move around one seeded circle through all images, so none keeps its own.
        """
        if not self.params.shuffled:
            return captions
        circle = np.argsort(keyed_uniform(self.seed, np.arange(len(captions))), kind="stable")
        moved = list(captions)
        for receiver, giver in zip(circle, np.roll(circle, 1), strict=True):
            moved[receiver] = captions[giver]
        return moved


_REGISTRY = registry.Registry("captioner", reserved=frozenset({"kind", "seed"}))
register, names, implemented = _REGISTRY.register, _REGISTRY.names, _REGISTRY.implemented
get, build = _REGISTRY.get, _REGISTRY.build
