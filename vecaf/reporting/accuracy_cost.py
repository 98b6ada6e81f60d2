"""Accuracy against total cost: every method on one axis, and beside each what random sets reach at the same cost.

A random set costs nothing to select, so at equal batches it is the cheapest cell of all. Random cells of several
budgets (methods that extend ``random`` with a larger ``budget``, each with a cosine of its own) say what its accuracy
would be at the cost of another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vecaf.reporting import curves as training
from vecaf.reporting import figure, statistics
from vecaf.reporting.curves import Line
from vecaf.reporting.layout import KEYS, WHOLE_POOL
from vecaf.reporting.statistics import Difference

RANDOM = "random"
FAR = 5  # times the distance from the median to the best method: what lies lower does not set the axis


@dataclass(frozen=True)
class End:
    """Where the cells of one method end. top1: seed → fraction of the whole test set; macs, seconds: seed → total cost.

    of_random: seed → what random sets reach at that cost, None where their budgets do not span it, and for themselves.
    """

    key: tuple[str, ...]
    title: str
    top1: Mapping[int, float]
    macs: Mapping[int, float]
    seconds: Mapping[int, float]
    of_random: Mapping[int, float | None]

    @property
    def method(self) -> str:
        return self.key[KEYS.index("method")]

    @property
    def difference(self) -> Difference:
        """This method minus random sets at equal cost, paired by seed."""
        known = {seed: value for seed, value in self.of_random.items() if value is not None}
        return statistics.paired_difference(self.top1, known)


def build(rows: pd.DataFrame, layout: Mapping[str, Any], curves: pd.DataFrame) -> figure.Figure:
    """Return accuracy against total multiply-accumulates of an exhibit's cells, a panel for each dataset and backbone.

    rows: of ``metrics.table_row``. layout: as ``Study.curves_layout`` says it. curves: ``curves.COLUMNS``. Raises
    ArtifactError when no cell is measured.
    """
    training.check(curves, layout["exhibit"])
    ends = _ends(rows, layout, curves)
    caption = figure.caption(
        f"{layout['title']}: marks are top-1 accuracy in percent on the whole test set at the end of the budget, mean "
        "over n seeds with its standard error, and thin lines how it was reached.",
        training.looks_in_words(layout, dict.fromkeys(end.key[0] for end in ends)),
        training.costs_in_words(curves, layout),
        "The broken grey line joins random cells of several budgets: random at equal cost lies on it (linear in the "
        "logarithm of the cost), and how far each method is above stands in the CSV."
        if _budgets(ends, layout)
        else "",
        f"Cells: {training.cells_in_words(curves)}.",
        training.published(rows),
        training.remarks(layout),
        training.left_out(rows),
        *layout["notes"],
        f"Configuration {layout['config_digest']}.",
    )
    return figure.Figure(_draw(ends, layout, curves), tuple(_record(end) for end in ends), caption)


def _ends(rows: pd.DataFrame, layout: Mapping[str, Any], curves: pd.DataFrame) -> list[End]:
    measured = rows[rows["status"] == "measured"]
    top1 = {tuple(row[:-1]): row[-1] for row in measured[[*training.CELL, "top1"]].itertuples(index=False, name=None)}
    found = []
    names = training.titles(curves, layout)
    for key, group in training.in_order(curves, layout):
        last = group.sort_values("batch").groupby("seed", sort=True).last()
        seeds = [int(seed) for seed in last.index if (*key, seed) in top1]
        reached = {seed: float(top1[*key, seed]) for seed in seeds}
        macs, seconds = ({seed: float(last[name][seed]) for seed in seeds} for name in ("macs", "seconds"))
        found.append(End(key, names[key], reached, macs, seconds, {}))
    return [_beside_random(end, found, layout) for end in found]


def _of_random(end: End, layout: Mapping[str, Any]) -> bool:
    """Say whether cells are random sets that differ from those of the method of that name in their budget alone."""
    said = layout["variants"][end.method]
    return said["of"] == RANDOM and said["in_budget_alone"]


def _budgets(ends: Sequence[End], layout: Mapping[str, Any]) -> list[End]:
    return [end for end in ends if _of_random(end, layout)]


def _beside_random(end: End, ends: Sequence[End], layout: Mapping[str, Any]) -> End:
    """Return a method's end with what random sets of its ratio and schedule reach at its cost on the same data.

    Full data have no ratio: they stand beside the random sets that are there, if those are of one ratio and schedule.
    """
    if _of_random(end, layout):
        return end
    beside = [other for other in _budgets(ends, layout) if other.key[:2] == end.key[:2]]
    if end.key[3] != WHOLE_POOL:
        beside = [other for other in beside if other.key[3:] == end.key[3:]]
    elif len({other.key[3:] for other in beside}) > 1:
        beside = []
    found = {}
    for seed, cost in end.macs.items():
        points = [(other.macs[seed], other.top1[seed]) for other in beside if seed in other.macs]
        found[seed] = at_cost(points, cost)
    return End(end.key, end.title, end.top1, end.macs, end.seconds, found)


def at_cost(points: Sequence[tuple[float, float]], cost: float) -> float | None:
    """Return the accuracy at a cost, between (cost, accuracy) points of cells that differ in their budget alone.

    It is linear in the logarithm of the cost; None outside the points' costs, which is not guessed at.
    """
    costs, accuracies = zip(*sorted(points), strict=True) if points else ((), ())
    if not costs or not costs[0] * (1 - 1e-9) <= cost <= costs[-1] * (1 + 1e-9):
        return None
    return float(np.interp(math.log(cost), np.log(costs), accuracies))


def _record(end: End) -> dict[str, Any]:
    percent = [100 * value for value in end.top1.values()]
    beside = [None if value is None else 100 * value for value in end.of_random.values()]
    difference = end.difference
    points = {"estimate": difference.estimate, "low": difference.low, "high": difference.high}
    return {
        **dict(zip(KEYS, end.key, strict=True)),
        "top1_percent": statistics.mean(percent),
        "standard_error": statistics.standard_error(percent),
        "n": len(percent),
        "seeds": " ".join(map(str, end.top1)),
        "macs": statistics.mean(end.macs.values()),
        "seconds": statistics.mean(end.seconds.values()),
        "random_at_equal_macs_percent": None if None in beside else statistics.mean(beside),
        **{f"minus_random_{name}_points": None if value is None else 100 * value for name, value in points.items()},
        "minus_random_n": difference.n,
    }


def _draw(ends: Sequence[End], layout: Mapping[str, Any], curves: pd.DataFrame):
    lines = {line.key: line for line in training.lines(curves, "top1", layout)}
    costs = {line.key: line for line in training.lines(curves, "macs", layout)}
    places = list(dict.fromkeys(end.key[:2] for end in ends))
    looks = figure.looks([row["method"] for row in layout["rows"]], training.bases(layout))
    canvas, axes = figure.canvas(figure.width(len(places)), 3.6, ncols=len(places), squeeze=False)
    for panel, place in zip(axes[0], places, strict=True):
        inside = [end for end in ends if end.key[:2] == place]
        unit = 10 ** (3 * math.floor(math.log10(max(max(end.macs.values()) for end in inside)) / 3))
        for end in inside:
            _draw_method(panel, end, lines[end.key], costs[end.key], looks[end.method], unit)
        for ratio in dict.fromkeys(end.key[3:] for end in _budgets(inside, layout)):
            budgets = sorted(_mean_point(end, unit) for end in _budgets(inside, layout) if end.key[3:] == ratio)
            if len(budgets) > 1:
                panel.plot(
                    *zip(*budgets, strict=True), color=figure.COLOURS["grey"], linestyle=(0, (6, 3)), linewidth=1
                )
        _zoom(panel, inside, unit)
        panel.set_xlabel(f"Multiply-accumulates, $10^{{{math.log10(unit):.0f}}}$")
        panel.set_title(training.place_title(place, layout), loc="left")
    axes[0, 0].set_ylabel("Top-1 accuracy, %")
    figure.legend_below(canvas, axes.flat)
    return canvas


def _mean_point(end: End, unit: float) -> tuple[float, float]:
    return statistics.mean(end.macs.values()) / unit, 100 * statistics.mean(end.top1.values())


def _draw_method(panel: Any, end: End, line: Line, cost: Line, look: figure.Look, unit: float) -> None:
    at = cost.values.loc[line.x].mean(axis=1).to_numpy() / unit
    panel.plot(at, 100 * line.mean, color=look.colour, linestyle=look.line, linewidth=0.8, alpha=0.6)
    x, y = _mean_point(end, unit)
    error = statistics.standard_error([100 * value for value in end.top1.values()])
    panel.errorbar([x], [y], yerr=None if error is None else [error], ecolor=look.colour, linewidth=0.9, capsize=2)
    panel.plot([x], [y], **look.marked(7), label=f"{end.title} (n = {len(end.top1)})", zorder=3)


def _zoom(panel: Any, ends: Sequence[End], unit: float) -> None:
    """Show where the cells end and some of the way there; a method far below all others stands at the lower edge."""
    points = [_mean_point(end, unit) for end in ends]
    costs, tops = [x for x, _ in points], [y for _, y in points]
    figure.log_axis(panel, min(costs) / 2.5, max(costs) * 1.25)
    reach = max(max(tops) - statistics.median(tops), 0.5)
    bottom = max(min(tops), statistics.median(tops) - FAR * reach)
    height = max(max(tops) - bottom, 1.0)
    panel.set_ylim(bottom - 0.25 * height, max(tops) + 0.08 * height)
    for end, (x, y) in zip(ends, points, strict=True):
        if y < bottom:
            panel.annotate(
                f"{end.title} {y:.1f} ↓",
                (x, panel.get_ylim()[0]),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=6.5,
            )
