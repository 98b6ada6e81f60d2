"""Batches to accuracy (B2A): when a curve first reaches a level, and the median of seeds of which some never do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vecaf.reporting import statistics

QUANTITIES = ("batches", "macs", "seconds")


@dataclass(frozen=True)
class Reached:
    """What the cells of one method needed to reach a level; None for a seed that does not within its budget.

    batches: seed → batches, not whole where the level lies between two evaluations; macs, seconds: seed → what the cell
    had cost when the batch was done in which that is. spent: quantity → what a cell has cost at its end, the largest
    over the seeds.
    """

    batches: Mapping[int, float | None]
    macs: Mapping[int, float | None]
    seconds: Mapping[int, float | None]
    spent: Mapping[str, float]

    @property
    def n(self) -> int:
        return len(self.batches)

    @property
    def count(self) -> int:
        """The seeds that reach the level."""
        return sum(value is not None for value in self.batches.values())

    def median(self, quantity: str) -> float | None:
        return censored_median(list(getattr(self, quantity).values()))


def first_reach(batches: Sequence[float], accuracy: Sequence[float], level: float) -> float | None:
    """Return after how many batches an accuracy curve reaches a level, None if it never does.

    batches: increasing, of the evaluations; accuracy, level: in one unit. Found is the first evaluation at or above the
    level; between it and the one before, which is below, the curve is taken as a straight line. Later evaluations below
    the level change nothing. Source: B2A of section 4.2 of the VeCAF paper, which does not say how it interpolates.
    """
    above = np.flatnonzero(np.asarray(accuracy, dtype=np.float64) >= level)
    if not len(above):
        return None
    at = int(above[0])
    if at == 0:
        return float(batches[0])
    low, high = float(accuracy[at - 1]), float(accuracy[at])
    return float(batches[at - 1] + (level - low) / (high - low) * (batches[at] - batches[at - 1]))


def censored_median(values: Sequence[float | None]) -> float | None:
    """Return the median of values of which None ones are larger than all others; None where it is one of those.

    Of an even number it is the mean of the middle two, so both must be known. Averages over the values that are known
    would make a method the faster the more of its seeds fail.
    """
    found = statistics.median(math.inf if value is None else value for value in values)
    return None if found is None or math.isinf(found) else found


def reached(curves: pd.DataFrame, level: float) -> Reached:
    """Return what the cells of one method (all seeds of one key) needed to reach a level, a fraction.

    curves: ``curves.COLUMNS`` of these cells.
    """
    found: dict[str, dict[int, float | None]] = {quantity: {} for quantity in QUANTITIES}
    spent = {"batches": 0.0, "macs": 0.0, "seconds": 0.0}
    for seed, rows in curves.groupby("seed", sort=True):
        rows = rows.sort_values("batch")
        looked = rows.dropna(subset=["top1"])
        batches = first_reach(looked["batch"].to_numpy(), looked["top1"].to_numpy(), level)
        found["batches"][int(seed)] = batches
        at = None if batches is None else rows[rows["batch"] >= math.ceil(batches)].iloc[0]
        for quantity in ("macs", "seconds"):
            found[quantity][int(seed)] = None if at is None else float(at[quantity])
        last = rows.iloc[-1]
        for quantity, column in (("batches", "batch"), ("macs", "macs"), ("seconds", "seconds")):
            spent[quantity] = max(spent[quantity], float(last[column]))
    return Reached(**found, spent=spent)
