"""Figure 5: batches to reach an accuracy and, beside them, all that was computed until then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vecaf.reporting import b2a, figure, paper
from vecaf.reporting import curves as training
from vecaf.reporting.layout import KEYS, WHOLE_POOL, ratio_title

BAR = 0.135  # inches of height for each bar
FRAME = 0.5  # inches that a panel needs for its title and its axis
ROOM = 0.68  # share of an axis that bars take where words stand behind some of them


@dataclass(frozen=True)
class Bar:
    """One bar: the cells of one key and how they reach a level (percent).

    printed: the batches that the paper states. ends_below: the accuracy in percent that the paper's table 1 has for
    these cells after their whole budget, where that is below the level; None elsewhere.
    """

    key: tuple[str, ...]
    title: str
    level: float
    reached: b2a.Reached
    printed: float | None
    ends_below: float | None

    @property
    def panel(self) -> tuple[str, str, float]:
        return self.key[0], self.key[1], self.level

    def cells(self) -> str:
        dataset, backbone, method, ratio, schedule = self.key
        seeds = ",".join(map(str, self.reached.batches))
        return f"{dataset}/{backbone}/{method}/{ratio}/{schedule}/seed{{{seeds}}}"


def build(rows: pd.DataFrame, layout: Mapping[str, Any], curves: pd.DataFrame) -> figure.Figure:
    """Return the bars of an exhibit's cells: a row of panels for each dataset and level, batches left, cost right.

    rows: of ``metrics.table_row``. layout: as ``Study.curves_layout`` says it. curves: ``curves.COLUMNS``. Raises
    ArtifactError when no cell is measured. Source: Figure 5 of the VeCAF paper.
    """
    training.check(curves, layout["exhibit"])
    bars = _bars(curves, layout)
    caption = figure.caption(
        f"{layout['title']}: first evaluation at or above the level, on a straight line from the last one below; bars "
        "are medians over n seeds, dots the seeds. “Reached by m of n”: the others do not reach the level in their "
        "budget and count as slower than all that do; hatched bars, whose median is one of these, end with the budget.",
        training.looks_in_words(layout, dict.fromkeys(bar.key[0] for bar in bars)),
        training.costs_in_words(curves, layout),
        _stated(bars),
        _impossible(bars, layout),
        f"Bars: {training.cells_in_words(curves)}.",
        training.published(rows),
        training.remarks(layout),
        training.left_out(rows),
        *layout["notes"],
        f"Configuration {layout['config_digest']}.",
    )
    return figure.Figure(_draw(bars, layout), tuple(_record(bar) for bar in bars), caption)


def _bars(curves: pd.DataFrame, layout: Mapping[str, Any]) -> list[Bar]:
    found = []
    stated = paper.reported("figure5")
    for key, group in training.in_order(curves, layout):
        for level in layout["b2a_levels"][key[0]]:
            here = dict(zip(KEYS, key, strict=True))
            printed = stated[stated["metric"] == f"batches_to_{level:g}"]
            for name in ("dataset", "backbone", "method", "ratio"):  # the paper states no schedule there
                printed = printed[printed[name] == here[name]]
            end = paper.printed_value(**here)
            title = layout["names"][here["method"]]
            found.append(
                Bar(
                    key,
                    title if here["ratio"] == WHOLE_POOL else f"{title}, {ratio_title(here['ratio'])}",
                    level,
                    b2a.reached(group, level / 100),
                    float(printed["value"].iloc[0]) if len(printed) else None,
                    end.value if end is not None and end.value < level else None,
                )
            )
    return found


def _stated(bars: Sequence[Bar]) -> str:
    said = [f"{bar.printed:,.0f} for {bar.title} at {bar.level:g} %" for bar in bars if bar.printed is not None]
    return f"Diamonds: batches that the paper states ({'; '.join(said)})." if said else ""


def _impossible(bars: Sequence[Bar], layout: Mapping[str, Any]) -> str:
    """Say which bars of the paper's figure its own fixed budgets cannot give, by its table 1."""
    groups: dict[tuple[str, str, float], list[str]] = {}
    for bar in bars:
        if bar.ends_below is not None:
            groups.setdefault(bar.panel, []).append(f"{bar.title} ({bar.ends_below:.2f})")
    said = [
        f"{training.dataset_title(dataset, layout)} at {level:g} %: {', '.join(who)}"
        for (dataset, _, level), who in groups.items()
    ]
    if not said:
        return ""
    return (
        "By its table 1 these bars of the paper cannot come from its own fixed budgets, whose end lies below the level "
        f"(unless a curve had fallen before it): {'; '.join(said)}."
    )


def _record(bar: Bar) -> dict[str, Any]:
    reached = bar.reached
    return {
        **dict(zip(KEYS, bar.key, strict=True)),
        "level": bar.level,
        "cells": bar.cells(),
        "n": reached.n,
        "reached": reached.count,
        **{f"median_{quantity}": reached.median(quantity) for quantity in b2a.QUANTITIES},
        **{f"{quantity}_by_seed": _by_seed(getattr(reached, quantity)) for quantity in b2a.QUANTITIES},
        **{f"{quantity}_at_the_end": reached.spent[quantity] for quantity in b2a.QUANTITIES},
        "paper_batches": bar.printed,
        "paper_ends_below_at": bar.ends_below,
    }


def _by_seed(values: Mapping[int, float | None]) -> str:
    return " ".join(f"{seed}:{'not reached' if value is None else f'{value:.6g}'}" for seed, value in values.items())


def _draw(bars: Sequence[Bar], layout: Mapping[str, Any]):
    panels: dict[tuple[str, str, float], list[Bar]] = {}
    for bar in bars:
        panels.setdefault(bar.panel, []).append(bar)
    looks = figure.looks([row["method"] for row in layout["rows"]], training.bases(layout))
    heights = [BAR * (len(inside) + 1) for inside in panels.values()]
    canvas, axes = figure.canvas(
        figure.PAGE,
        sum(heights) + FRAME * len(heights),
        nrows=len(panels),
        ncols=2,
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for (left, right), ((dataset, backbone, level), inside) in zip(axes, panels.items(), strict=True):
        unit = 10 ** (3 * math.floor(math.log10(max(bar.reached.spent["macs"] for bar in inside)) / 3))
        _draw_panel(left, "batches", inside, looks, 1)
        _draw_panel(right, "macs", inside, looks, unit)
        left.set_yticks(range(len(inside)), [bar.title for bar in inside])
        right.set_yticks(range(len(inside)), [""] * len(inside))
        where = training.place_title((dataset, backbone), layout, with_ratio=False)
        left.set_title(f"{where}, {level:g} % top-1", loc="left")
        left.set_xlabel("Batches")
        right.set_xlabel(f"Multiply-accumulates, $10^{{{math.log10(unit):.0f}}}$")
    return canvas


def _draw_panel(panel: Any, quantity: str, bars: Sequence[Bar], looks: Mapping[str, figure.Look], unit: float) -> None:
    """Draw one quantity of all bars of a level, in multiples of a unit on a logarithmic axis."""
    known = [value / unit for bar in bars for value in getattr(bar.reached, quantity).values() if value]
    known += [bar.reached.spent[quantity] / unit for bar in bars if bar.reached.median(quantity) is None]
    known += [bar.printed for bar in bars if bar.printed and quantity == "batches"]
    censored = any(bar.reached.count < bar.reached.n for bar in bars)
    low, high = min(known) / 1.6, max(known)
    right = low * (high / low) ** (1 / (ROOM if censored else 0.95))
    figure.log_axis(panel, low, right)
    for height, bar in enumerate(bars):
        look, median = looks[bar.key[KEYS.index("method")]], bar.reached.median(quantity)
        end = max((bar.reached.spent[quantity] if median is None else median) / unit, low)
        filled = {"color": look.colour, "alpha": 0.45, "linewidth": 0}
        empty = {"facecolor": "white", "edgecolor": look.colour, "hatch": "////", "linewidth": 0.7}
        panel.barh(height, end - low, left=low, height=0.72, **(empty if median is None else filled))
        values = list(getattr(bar.reached, quantity).values())
        some = [max(value / unit, low) for value in values if value is not None]
        panel.plot(
            some,
            [height] * len(some),
            "o",
            color=look.colour,
            markersize=3.2,
            markeredgecolor="white",
            markeredgewidth=0.4,
        )
        if len(some) < len(values):
            said, at = f"reached by {len(some)} of {len(values)}", (max([end, *some]), height)
            panel.annotate(
                said, at, xytext=(4, 0), textcoords="offset points", va="center", fontsize=6, bbox=figure.PLATE
            )
        if bar.printed is not None and quantity == "batches":
            panel.plot([bar.printed], [height], "d", color="black", markerfacecolor="white", markersize=5)
    panel.set_ylim(len(bars) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", visible=False)
