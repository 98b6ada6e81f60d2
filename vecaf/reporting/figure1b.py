"""Figure 1b: accuracy against finetuning batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from vecaf.reporting import curves as training
from vecaf.reporting import figure, paper
from vecaf.reporting.curves import Line
from vecaf.reporting.layout import KEYS


def build(rows: pd.DataFrame, layout: Mapping[str, Any], curves: pd.DataFrame) -> figure.Figure:
    """Return the accuracy curves of an exhibit's cells, a panel for each dataset and backbone.

    rows: of ``metrics.table_row``. layout: as ``Study.curves_layout`` says it. curves: ``curves.COLUMNS``. Raises
    ArtifactError when no cell is measured. Source: Figure 1b of the VeCAF paper.
    """
    training.check(curves, layout["exhibit"])
    lines = training.lines(curves.assign(top1=100 * curves["top1"]), "top1", layout)
    printed = {line.key: value for line in lines if (value := _printed(line)) is not None}
    records = [
        record | {"paper_at_the_end": printed.get(line.key)} for line in lines for record in line.records("top1")
    ]
    starts = training.loop_starts(curves)
    caption = figure.caption(
        f"{layout['title']}: top-1 accuracy in percent, mean over n seeds, band from the lowest seed to the highest.",
        training.looks_in_words(layout, dict.fromkeys(line.place[0] for line in lines)),
        f"Dotted lines: a further loop begins (batches {', '.join(map(str, starts))})." if starts else "",
        "Hollow marks: what the paper prints for the end of the budget (table 1, whole test set)." if printed else "",
        f"Cells: {training.cells_in_words(curves)}.",
        training.published(rows),
        training.remarks(layout),
        training.left_out(rows),
        *layout["notes"],
        f"Configuration {layout['config_digest']}.",
    )
    return figure.Figure(_draw(lines, printed, curves, layout), tuple(records), caption)


def _printed(line: Line) -> float | None:
    """Return the accuracy in percent that table 1 prints for a line's cells."""
    found = paper.printed_value(**dict(zip(KEYS, line.key, strict=True)))
    return None if found is None else found.value


def _draw(lines: Iterable[Line], printed: Mapping[tuple, float], curves: pd.DataFrame, layout: Mapping[str, Any]):
    places = list(dict.fromkeys(line.place for line in lines))
    looks = figure.looks([row["method"] for row in layout["rows"]], training.bases(layout))
    canvas, axes = figure.canvas(figure.width(len(places)), 2.9, ncols=len(places), squeeze=False)
    for panel, place in zip(axes[0], places, strict=True):
        inside = curves[(curves["dataset"] == place[0]) & (curves["backbone"] == place[1])]
        for start in training.loop_starts(inside):
            panel.axvline(start, color=figure.COLOURS["grey"], linewidth=0.8, linestyle=(0, (1, 2)))
        for line in (line for line in lines if line.place == place):
            look = looks[line.method]
            figure.draw_line(panel, line.x, line.mean, line.low, line.high, look, line.label)
            if line.key in printed:
                marked = replace(look, filled=False).marked()
                panel.plot([line.x[-1]], [printed[line.key]], **marked, clip_on=False)
        panel.set_xlim(0, max(line.x[-1] for line in lines if line.place == place))
        panel.set_xlabel("Finetuning batches")
        panel.set_title(training.place_title(place, layout), loc="left")
    axes[0, 0].set_ylabel("Top-1 accuracy, %")
    figure.legend_below(canvas, axes.flat)
    return canvas
