"""Least confidence: the samples whose most probable class is the least probable.

Lewis & Gale, "A Sequential Algorithm for Training Text Classifiers", SIGIR 1994, for two classes; as one minus the
probability of the best of many, Culotta & McCallum, "Reducing Labeling Effort for Structured Prediction Tasks", AAAI
2005.
"""

from __future__ import annotations

import numpy as np

from vecaf.selection import uncertainty
from vecaf.selection.base import Selector, register


@register("least_confidence")
class LeastConfidence(Selector):
    """The k largest 1 − max p of the unlabelled samples, ties to the lowest id."""

    title = "Least confidence"
    citation = "Lewis & Gale, SIGIR 1994"
    needs = frozenset({"logits"})
    excludes_labelled = True
    cold_start = False

    def select(self, inputs, k, seeds):
        """Return the ids of the k smallest probabilities of the best class; inputs.logits: (N, C) float."""
        return uncertainty.select(inputs, k, self.name, _doubt)


def _doubt(log_p: np.ndarray) -> np.ndarray:
    """Return 1 − max p of each row, (M,)."""
    return -np.expm1(log_p.max(axis=1))
