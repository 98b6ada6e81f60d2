"""k-center greedy: each next sample is the one farthest from all that are labelled or chosen, so that they cover all.

Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018 (algorithm 1,
without the mixed-integer refinement).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from vecaf.selection.base import Inputs, Selector, chunks, random_ids, register

if TYPE_CHECKING:
    import torch


@register("k_center")
class KCenter(Selector):
    """The farthest-first traversal of the raw embeddings, from the labelled samples or from one drawn by id."""

    title = "k-center greedy"
    citation = "Sener & Savarese, ICLR 2018"
    needs = frozenset({"embeddings"})
    excludes_labelled = True

    def select(self, inputs, k, seeds):
        """Return k ids, each the farthest from the centres before it, ties to the lowest id.

        inputs.embeddings: (N, d), read as float32. Logs the covering radius, the largest distance of a sample to its
        nearest centre, of the labelled alone (None without any) and with the chosen. Raises SelectionError for
        ``cuda`` without a visible GPU.
        """
        import torch

        inputs = inputs.in_order()
        z = _tensor(inputs)
        nearest = torch.full((len(z),), torch.inf, device=z.device)
        centres = np.flatnonzero(np.isin(inputs.ids, inputs.labelled))
        for centre in centres:
            _add(centre, z, nearest)
        before = _radius(nearest) if len(centres) else None
        chosen = []
        if not len(centres):
            chosen.append(int(np.searchsorted(inputs.ids, random_ids(seeds["random_set"], inputs.ids, 1))[0]))
            _add(chosen[0], z, nearest)
        while len(chosen) < k:
            chosen.append(int(nearest.argmax()))  # the first of equals
            _add(chosen[-1], z, nearest)
        return inputs.ids[chosen], {"radius_before": before, "radius_after": _radius(nearest)}


def _add(centre: int, z: torch.Tensor, nearest: torch.Tensor) -> None:
    """Lower the distances (N,) to the nearest centre by one more centre, a row of z (N, d).

    The distances are sums of squared differences, made in one pass without a copy: as fast as a product of z and the
    centre, and the same for equal samples wherever they stand. A centre itself gets −1, so that it is never chosen
    again where all distances are 0.
    """
    import torch

    distance = torch.cdist(z, z[centre][None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
    torch.minimum(nearest, distance, out=nearest)
    nearest[centre] = -1


def _radius(nearest: torch.Tensor) -> float:
    return max(0.0, float(nearest.max()))


def _tensor(inputs: Inputs) -> torch.Tensor:
    """Return the embeddings, (N, d) float32 on the device that the inputs name; no copy if they are that already."""
    import torch

    device = inputs.torch_device()
    if inputs.embeddings.dtype == np.float32:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a memory map is read-only; nothing here writes to it
            return torch.from_numpy(inputs.embeddings).to(device)
    z = torch.empty(inputs.embeddings.shape, dtype=torch.float32, device=device)
    for rows in chunks(len(z)):
        z[rows] = torch.from_numpy(np.asarray(inputs.embeddings[rows], dtype=np.float32)).to(device)
    return z
