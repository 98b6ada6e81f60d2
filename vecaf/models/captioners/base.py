"""The contract of a captioner, and the registry of kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from vecaf.models import registry
from vecaf.seeds import keyed_uniform

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Params(registry.Params):
    """Parameters that every captioner has."""

    shuffled: bool = Field(False, description="a control: every caption goes to another image of the pool")


class Captioner:
    """Writes captions of images, batch by batch, so that a pool never has to be in memory.

    Class attributes: ``kind`` (also its key in the configuration); ``Params``, a pydantic model; ``aside``, the
    parameters that change no caption (where a file lies, images per forward pass), which never make a step run again;
    ``needs_images``, false when captions do not come from pixels; ``memory_mb``, what a job of it needs.
    """

    kind: ClassVar[str]
    Params: ClassVar[type[Params]] = Params
    aside: ClassVar[frozenset[str]] = frozenset()
    needs_images: ClassVar[bool] = True
    memory_mb: ClassVar[int] = 8000

    def __init__(self, params: Params, seed: int = 0):
        self.params, self.seed = params, seed

    def prepare(self, files: Sequence[str], elsewhere: Sequence[str], device: torch.device) -> dict[str, Any]:
        """Load what captioning needs; return, as plain JSON, what stands behind the captions beside the parameters.

        files: names of the pool's images in the order of their ids. elsewhere: names of the dataset's other images.
        Called once, before the first batch, by every job that captions a part of the pool.
        """
        return {}

    def caption(
        self, images: Tensor | Sequence[Tensor] | None, labels: np.ndarray, classes: Sequence[str], ids: np.ndarray
    ) -> list[str]:
        """Return one sentence per image of a batch.

        images: (B, 3, H, W) or B tensors (3, H, W), uint8; None unless ``needs_images``. labels, ids: (B,) int64.
        classes: names by label.
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
register, names, implemented, get = _REGISTRY.register, _REGISTRY.names, _REGISTRY.implemented, _REGISTRY.get


def build(spec: Mapping[str, Any], **aside: Any) -> Captioner:
    """Return a captioner from {"kind", its parameters, "seed"}; raises ConfigError naming what is wrong.

    aside: parameters that change no caption and therefore travel apart; those that are None or that this kind lacks
    are left out.
    """
    wanted = get(spec["kind"]).aside
    given = {name: value for name, value in aside.items() if name in wanted and value is not None}
    return _REGISTRY.build({**spec, **given})
