"""How close to a decision boundary samples lie: the top-two probability margin, and whether two sets differ in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vecaf.selection import Logits
from vecaf.selection.uncertainty import scores


def top_two(embeddings: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return p₁ − p₂ of the two most probable classes, (N,) float64 in [0, 1]; 0 is on a boundary.

    embeddings: (N, d). weight, bias: (C, d) and (C,) float32, C ≥ 2, the head behind them.
    """

    def margin(log_p: np.ndarray) -> np.ndarray:
        second, first = np.partition(np.exp(log_p), -2, axis=1)[:, -2:].T
        return first - second

    return scores(Logits(embeddings, weight, bias), margin)


@dataclass(frozen=True)
class Comparison:
    """Two samples of margins. delta: Cliff's δ, P(a > b) − P(a < b); p: two-sided, of δ = 0 (Mann–Whitney)."""

    delta: float | None
    p: float | None


def compare(a: np.ndarray, b: np.ndarray) -> Comparison:
    """Return how the values a, (m,), compare with b, (n,), which share no sample; None where one has none.

    Sources: Mann & Whitney (1947), with the normal approximation and ties; Cliff (1993).
    """
    if not len(a) or not len(b):
        return Comparison(None, None)
    from scipy import stats

    found = stats.mannwhitneyu(a, b, alternative="two-sided", method="asymptotic")
    delta = 2 * float(found.statistic) / (len(a) * len(b)) - 1
    return Comparison(delta, None if math.isnan(found.pvalue) else float(found.pvalue))


@dataclass(frozen=True)
class AgainstRandom:
    """A set's mean beside that of random sets of its size: their mean and standard deviation, z, two-sided p."""

    mean: float
    random_mean: float
    random_sd: float
    z: float | None
    p: float | None


def against_random(values: np.ndarray, rows: np.ndarray) -> AgainstRandom:
    """Return how the mean of some rows compares with the means of random sets of as many, drawn without replacement.

    values: (N,); rows: (K,) distinct. Mean and standard deviation over random sets are exact, p is of a normal
    distribution; z and p are None where all random sets have one mean.
    """
    size, k = len(values), len(rows)
    mean, chosen = float(values.mean()), float(values[rows].mean())
    spread = float(values.std()) * math.sqrt((size - k) / max(size - 1, 1) / k)
    z = (chosen - mean) / spread if spread else None
    return AgainstRandom(chosen, mean, spread, z, None if z is None else math.erfc(abs(z) / math.sqrt(2)))
