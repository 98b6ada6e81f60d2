"""Class-balanced random selection: equally many samples of every class, drawn at random within it.

It asks how much of another method's gain is its class histogram alone; it reads the labels of the whole pool, as all
loss-based selectors do. No source: a control.
"""

from __future__ import annotations

import numpy as np

from vecaf.seeds import keyed_uniform
from vecaf.selection.base import Selector, register


@register("class_balanced")
class ClassBalanced(Selector):
    """The k first samples by their rank within their class, ranks and ties by the keyed draws of this loop."""

    title = "Class-balanced random"
    needs = frozenset({"labels"})

    def select(self, inputs, k, seeds):
        """Return k ids whose classes differ by at most one in number, save for classes that have no more samples.

        inputs.labels: (N,) int64. Fresh in every loop, because the stream ``random_set`` holds the loop.
        """
        draws = keyed_uniform(seeds["random_set"], inputs.ids)
        # What a class that has run out would have given, the others give: their next ranks come first.
        order = np.lexsort((inputs.ids, draws, _rank_in_class(inputs.labels, draws, inputs.ids)))
        return inputs.ids[order[:k]], {}


def _rank_in_class(labels: np.ndarray, draws: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return each sample's place among those of its class in the order of draws, from 0, (N,) int64."""
    order = np.lexsort((ids, draws, labels))
    _, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(first, counts)
    return rank
