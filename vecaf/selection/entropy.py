"""Entropy sampling: the samples whose predicted class distribution has the largest Shannon entropy.

Settles, "Active Learning Literature Survey", University of Wisconsin–Madison, technical report 1648, 2009, section 3.1.
"""

from __future__ import annotations

import numpy as np

from vecaf.selection import uncertainty
from vecaf.selection.base import Selector, register


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
        return uncertainty.select(inputs, k, self.name, _entropy)


def _entropy(log_p: np.ndarray) -> np.ndarray:
    """Return −Σ p log p of each row, (M,)."""
    return -(np.exp(log_p) * log_p).sum(axis=1)
