"""Margin sampling: the samples whose two most probable classes are closest, in posterior probability.

Scheffer, Decomain & Wrobel, "Active Hidden Markov Models for Information Extraction", IDA 2001. Differences of logits
would give another order where there are more than two classes.
"""

from __future__ import annotations

import numpy as np

from vecaf.errors import SelectionError
from vecaf.selection import uncertainty
from vecaf.selection.base import Selector, register


@register("margin")
class Margin(Selector):
    """The k smallest differences of the two largest posteriors among the unlabelled samples, ties to the lowest id."""

    title = "Margin"
    citation = "Scheffer et al., IDA 2001"
    needs = frozenset({"logits"})
    excludes_labelled = True
    cold_start = False

    def select(self, inputs, k, seeds):
        """Return the ids of the k smallest margins; inputs.logits: (N, C) float. Raises SelectionError if C < 2."""
        if inputs.logits.shape[1] < 2:
            raise SelectionError("margin compares the two most probable classes, and the logits have only one")
        return uncertainty.select(inputs, k, self.name, _margin, largest=False)


def _margin(log_p: np.ndarray) -> np.ndarray:
    """Return p₁ − p₂ of each row, (M,), as p₁ (1 − p₂/p₁): small differences keep their digits."""
    second, first = np.partition(log_p, -2, axis=1)[:, -2:].T
    return -np.exp(first) * np.expm1(second - first)
