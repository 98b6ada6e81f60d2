"""The table of variance: how much of what seeds change is selection, and how much is training.

Cells of one method cross selection seeds with training seeds. With y the accuracy under selection seed s and training
seed t, the two-way random model without replication is y = μ + S_s + T_t + R_st; the mean squares give its variances
(Searle, Casella & McCulloch, Variance Components, 1992, chapter 4), none below zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from vecaf.reporting import statistics
from vecaf.reporting.comparison import Group
from vecaf.reporting.contrasts import fixed, signed
from vecaf.reporting.layout import PLACE, ratio_title, schedule_title
from vecaf.reporting.listing import Listing

_HEADER = ("Method", "Accuracy", "n", "sd of selection", "sd of training", "sd of the rest", "p of selection")
_PAIRS = ("Methods", "Difference", "Ahead in")


@dataclass(frozen=True)
class Crossed:
    """One method in one place. accuracy: selection seeds × training seeds, percent, NaN for a cell not measured.

    selection, training, rest: standard deviations in points, None unless every cell of at least 2 × 2 is measured. p:
    of no effect of the selection seed (F test against the rest).
    """

    place: tuple[str, ...]
    method: str
    accuracy: pd.DataFrame
    selection: float | None = None
    training: float | None = None
    rest: float | None = None
    p: float | None = None

    @property
    def measured(self) -> np.ndarray:
        return _there(self.accuracy)


def _there(table: pd.DataFrame) -> np.ndarray:
    values = table.to_numpy(float)
    return values[~np.isnan(values)]


def components(accuracy: np.ndarray) -> tuple[float, float, float, float | None]:
    """Return the standard deviations of selection, training and the rest of a crossed design, and p of selection.

    accuracy: (S, T) with S, T ≥ 2, complete. p is None where the rest does not vary.
    """
    rows, columns = accuracy.shape
    mean = accuracy.mean()
    of_rows, of_columns = accuracy.mean(axis=1), accuracy.mean(axis=0)
    rest = accuracy - of_rows[:, None] - of_columns[None] + mean
    square = (rest**2).sum() / ((rows - 1) * (columns - 1))
    by_rows = columns * ((of_rows - mean) ** 2).sum() / (rows - 1)
    by_columns = rows * ((of_columns - mean) ** 2).sum() / (columns - 1)
    found = (max(0.0, (by_rows - square) / columns), max(0.0, (by_columns - square) / rows), square)
    p = None
    if square > 0:
        from scipy import stats

        p = float(stats.f.sf(by_rows / square, rows - 1, (rows - 1) * (columns - 1)))
    return (*(math.sqrt(value) for value in found), p)


def cross(rows: pd.DataFrame, layout: Mapping[str, Any]) -> list[Crossed]:
    """Return every method that is crossed, place by place, in the order of the exhibit.

    rows: tidy metrics. layout: as ``Study.layout`` says it; a variant with a training_seed is a column of the method
    that it varies, whose own cells train under the seed that they select under.
    """
    variants = layout["variants"]
    table = rows.assign(
        of=[variants[method]["of"] if _fixed(variants[method]) else method for method in rows["method"]],
        trained=[
            variants[method]["training_seed"] if _fixed(variants[method]) else seed
            for method, seed in zip(rows["method"], rows["seed"], strict=True)
        ],
        accuracy=(100 * rows["top1"]).where(rows["status"] == "measured"),
    )
    crossed = {variants[method]["of"] for method in variants if _fixed(variants[method])}
    found = []
    for key, cells in table[table["of"].isin(crossed)].groupby([*PLACE, "of"], sort=False):
        grid = cells.pivot_table(index="seed", columns="trained", values="accuracy", dropna=False)
        sds: tuple = (None,) * 4
        if min(grid.shape) > 1 and not grid.isna().any(axis=None):
            sds = components(grid.to_numpy(float))
        found.append(Crossed(key[:-1], key[-1], grid, *sds))
    return found


def _fixed(variant: Mapping[str, Any]) -> bool:
    return variant["training_seed"] is not None


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> Listing:
    """Return the table; see ``cross`` for its arguments."""
    found = cross(rows, layout)
    titles = {told["of"]: told["of_title"] for told in layout["variants"].values()}
    groups = []
    for place in dict.fromkeys(one.place for one in found):
        inside = [one for one in found if one.place == place]
        heading = _heading(place, layout)
        groups.append(Group(heading, _HEADER, tuple(_line(one, titles) for one in inside), 1))
        if pairs := tuple(_pair(*two, titles) for two in combinations(inside, 2)):
            groups.append(Group(f"Method against method: {heading}", _PAIRS, pairs, 1))
    notes = [*_notes(found, layout), *layout["notes"], f"Digest of the configuration: {layout['config_digest']}."]
    return Listing(layout["title"], tuple(groups), tuple(notes), tuple(map(_record, found)))


def _heading(place: Sequence[str], layout: Mapping[str, Any]) -> str:
    dataset, _, ratio, schedule = place
    title = next(column["dataset_title"] for column in layout["columns"] if column["dataset"] == dataset)
    return f"{title}, {ratio_title(ratio)}, {schedule_title(schedule)}"


def _line(one: Crossed, titles: Mapping[str, str]) -> tuple[str, ...]:
    mean = statistics.mean(one.measured.tolist())
    shape = " × ".join(map(str, one.accuracy.shape))
    count = shape if len(one.measured) == one.accuracy.size else f"{len(one.measured)} of {shape}"
    sds = (fixed(value) for value in (one.selection, one.training, one.rest))
    return (titles[one.method], fixed(mean), count, *sds, fixed(one.p, 3))


def _pair(a: Crossed, b: Crossed, titles: Mapping[str, str]) -> tuple[str, ...]:
    both = _there(a.accuracy - b.accuracy)  # pandas pairs them by their seeds
    mean = signed(statistics.mean(both.tolist()))
    return (f"{titles[a.method]} − {titles[b.method]}", mean, f"{int((both > 0).sum())} of {both.size}")


def _notes(found: Sequence[Crossed], layout: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "Accuracy: mean top-1 in percent over all pairs of a selection seed and a training seed. Deviations, in "
        "points: how far another selection seed (initial centroids, random sets, the head whose losses loop 1 reads), "
        "another training seed (the head that is finetuned, order of batches, image augmentation) and what neither "
        "explains move one cell; estimated from mean squares, none below zero. p: F test of no effect of the selection."
    )
    yield "Method against method: mean difference in points, and in how many of the pairs of seeds the first is ahead."
    for place in dict.fromkeys(one.place for one in found):
        means = [statistics.mean(one.measured.tolist()) for one in found if one.place == place]
        spread = statistics.standard_deviation(value for value in means if value is not None)
        if spread is not None:
            yield f"{_heading(place, layout)}: the methods' means have a standard deviation of {spread:.2f} points."


def _record(one: Crossed) -> dict[str, Any]:
    return {
        **dict(zip(PLACE, one.place, strict=True)),
        "method": one.method,
        "mean": statistics.mean(one.measured.tolist()),
        "selection_seeds": one.accuracy.shape[0],
        "training_seeds": one.accuracy.shape[1],
        "measured": len(one.measured),
        "sd_selection": one.selection,
        "sd_training": one.training,
        "sd_rest": one.rest,
        "p_selection": one.p,
    }
