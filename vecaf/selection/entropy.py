"""Entropy sampling: the samples whose predicted class distribution has the largest Shannon entropy.

Settles, "Active Learning Literature Survey", University of Wisconsin–Madison, technical report 1648, 2009, section 3.1.
"""

from __future__ import annotations

import numpy as np

from vecaf.selection import uncertainty
from vecaf.selection.base import Selector, lowest, register, unlabelled


@register("entropy")
class Entropy(Selector):
    """The k largest entropies of the unlabelled samples' posteriors, ties to the lowest id."""

    title = "Entropy"
    citation = "Settles, 2009"
    needs = frozenset({"logits"})
    excludes_labelled = True
    cold_start = False

    def select(self, inputs, k, seeds):
        """Return the ids of the k largest entropies, in nats; inputs.logits: (N, C) float."""
        inputs = inputs.in_order()
        entropy = uncertainty.scores(inputs.logits, _entropy)
        rows = unlabelled(inputs, k, self.name)
        ids = lowest(-entropy[rows], inputs.ids[rows], k)
        return ids, uncertainty.means(self.name, entropy, inputs.ids, ids)


def _entropy(log_p: np.ndarray) -> np.ndarray:
    """Return −Σ p log p of each row, (M,)."""
    return -(np.exp(log_p) * log_p).sum(axis=1)
