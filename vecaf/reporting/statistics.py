"""Statistics over seeds and images: errors, paired differences, corrections and verdicts.

scipy is imported where a quantile is needed: a table that only averages does not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LEVEL = 0.95
MARGIN = 0.5  # points of accuracy within which a printed number counts as reproduced
_ROUNDING = 1e-9  # 93.07 − 93.57 is a hair below −0.5 in binary

Claim = Literal["holds", "fails", "undecided"]
REPRODUCED, SAME_DIRECTION, NOT_REPRODUCED = "reproduced", "same direction", "not reproduced"
OUTSIDE_MARGIN = "outside margin"  # and the reference row is not measured, so no direction can be told
NOT_COMPARABLE = "—"


def mean(values: Iterable[float]) -> float | None:
    """Return the arithmetic mean, None of nothing; the same to the last bit in any order of the values."""
    values = list(values)
    return math.fsum(values) / len(values) if values else None


def median(values: Iterable[float]) -> float | None:
    """Return the median, the mean of the middle two of an even number; None of nothing."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return None if not ordered else ordered[middle] if len(ordered) % 2 else mean(ordered[middle - 1 : middle + 1])


def standard_deviation(values: Iterable[float]) -> float | None:
    """Return the standard deviation with n − 1 in the denominator, None below two values."""
    values = list(values)
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def standard_error(values: Iterable[float]) -> float | None:
    """Return sd(ddof 1)/√n, None below two values: one seed says nothing about the spread."""
    values = list(values)
    spread = standard_deviation(values)
    return None if spread is None else spread / math.sqrt(len(values))


@dataclass(frozen=True)
class Difference:
    """An estimated difference with its interval; ``low``, ``high`` and ``p`` are None where n allows none."""

    estimate: float | None
    low: float | None
    high: float | None
    p: float | None  # two-sided, of no difference
    n: int  # seeds, or images


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """Return a − b over the seeds that both have, with Student's t interval of the paired differences.

    a, b: seed → value, in any one unit, which is also the result's. Seeds of one side only are left out, since the
    cells of one seed share their head, batches and random sets. Equal differences give an interval of width 0.
    """
    return interval([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])


def interval(values: Sequence[float], threshold: float = 0.0) -> Difference:
    """Return the mean of independent values (seeds) with Student's interval; p: two-sided, of a mean at the threshold.

    Equal values give an interval of width 0; fewer than two give none.
    """
    return _student(mean(values), standard_error(values), len(values) - 1, len(values), threshold)


def interval_of_print(
    estimate: float, errors: Sequence[float | None], repetitions: int, threshold: float = 0.0
) -> Difference:
    """Return a sum or difference of independent printed means with an interval from their standard errors.

    errors: of each mean, over ``repetitions`` values; no interval where one is not printed. The degrees of freedom are
    those of Welch (1947) and Satterthwaite (1946), no fewer than those of one mean.
    """
    if not errors or any(error is None for error in errors):
        return Difference(estimate, None, None, None, repetitions)
    variances = [error**2 for error in errors]
    total = math.fsum(variances)
    freedom = repetitions - 1
    if total > 0:
        freedom *= total**2 / math.fsum(variance**2 for variance in variances)
    return _student(estimate, math.sqrt(total), freedom, repetitions, threshold)


def _student(estimate: float | None, error: float | None, freedom: float, n: int, threshold: float) -> Difference:
    if error is None:
        return Difference(estimate, None, None, None, n)
    from scipy import stats

    half = error * float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    away = abs(estimate - threshold)
    score = away / error if error > 0 else math.inf if away else 0.0
    return Difference(estimate, estimate - half, estimate + half, 2 * float(stats.t.sf(score, freedom)), n)


def bootstrap_difference(
    correct_a: np.ndarray, correct_b: np.ndarray, seed: int, resamples: int = 10_000
) -> Difference:
    """Return accuracy a − b as a fraction, with the percentile interval of a paired bootstrap over images.

    correct_a, correct_b: (n,) bool of one seed's test images, or (seeds, n) of the same images for several seeds,
    which are then drawn together. An image's difference takes few distinct values, so resampling n images is one
    multinomial draw of how often each occurs: the same distribution at no cost in n. The smallest p is
    2/(resamples + 1). Raises ValueError when the shapes differ or there is no image.
    Source: Efron & Tibshirani (1993), chapter 13.
    """
    a, b = np.atleast_2d(np.asarray(correct_a, dtype=np.float64)), np.atleast_2d(np.asarray(correct_b, np.float64))
    if a.shape != b.shape or a.shape[-1] == 0:
        raise ValueError(f"paired images are needed: shapes {np.shape(correct_a)} and {np.shape(correct_b)}")
    images = a.shape[-1]
    steps, counts = np.unique((a - b).sum(axis=0), return_counts=True)  # sums, not means: exact integers
    values = steps / a.shape[0]
    drawn = np.random.default_rng(seed).multinomial(images, counts / images, size=resamples) @ values / images
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return Difference(float(values @ counts / images), float(low), float(high), p, images)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for a family of claims, in their order; None (untestable) stays out of the family.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    tested = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, position) in enumerate(tested):
        running = max(running, min(1.0, (len(tested) - rank) * p))
        adjusted[position] = running
    return adjusted


def claim(low: float | None, high: float | None, threshold: float = 0.0, *, above: bool = True) -> Claim:
    """Say whether a 95 % interval lies wholly on the claimed side of a threshold.

    *holds* if it does, *fails* if it lies wholly on the other side, *undecided* if it touches the threshold or there
    is no interval. ``above``: the claim is "greater than ``threshold``"; otherwise "less than".
    """
    if low is None or high is None or low <= threshold <= high:
        return "undecided"
    return "holds" if (low > threshold) == above else "fails"


def claim_in_any(parts: Iterable[Claim]) -> Claim:
    """Return the verdict of a claim about some column: one that holds is enough, and only all failures refute it."""
    opposite: dict[Claim, Claim] = {"holds": "fails", "fails": "holds", "undecided": "undecided"}
    return opposite[claim_in_all(opposite[part] for part in parts)]


def claim_in_all(parts: Iterable[Claim]) -> Claim:
    """Return the verdict of a claim about every column: it needs each, and one failure is enough against it."""
    parts = list(parts)
    if "fails" in parts:
        return "fails"
    return "holds" if parts and all(part == "holds" for part in parts) else "undecided"


@dataclass(frozen=True)
class Comparison:
    """A measured mean beside the paper's number, in points."""

    difference: float
    z: float | None
    within_margin: bool


def compare_with_paper(mean: float, se: float | None, printed: float, printed_se: float | None) -> Comparison:
    """Return mean − printed and z = difference/√(se² + se_paper²), all in percent.

    z is None where either error is missing (one seed), or both are 0. The margin includes its edge.
    """
    difference = mean - printed
    known = se is not None and printed_se is not None
    scale = math.hypot(se, printed_se) if known else 0.0
    return Comparison(difference, difference / scale if scale > 0 else None, abs(difference) <= MARGIN + _ROUNDING)


def verdict(comparison: Comparison | None, sides: Iterable[tuple[float, float]] | None) -> str:
    """Return the verdict on one printed number.

    ``sides``: pairs (measured, printed) of this row's value minus the reference row's, one for each column that the
    value stands in; None or empty when the reference is not measured. Beyond the margin a number still shows the
    *same direction* when every pair agrees in sign.
    """
    if comparison is None:
        return NOT_COMPARABLE
    if comparison.within_margin:
        return REPRODUCED
    signs = [(np.sign(measured), np.sign(printed)) for measured, printed in sides or ()]
    if not signs:
        return OUTSIDE_MARGIN
    return SAME_DIRECTION if all(ours == theirs for ours, theirs in signs) else NOT_REPRODUCED
