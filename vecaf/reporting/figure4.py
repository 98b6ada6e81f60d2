"""Figure 4: the training loss against batches and, beside it, the loss on one probe set that all methods share.

Methods train on different samples, so their training losses are of different things: one that selects what
is hard to fit has the larger loss however well it learns. The probe set is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vecaf.reporting import curves as training
from vecaf.reporting import figure
from vecaf.reporting.curves import Line

BLOCKS = 50  # stretches of the budget over which the training loss is averaged
LOSSES = {"loss": "Training loss, nats", "probe_loss": "Loss on the probe set, nats"}


def build(rows: pd.DataFrame, layout: Mapping[str, Any], curves: pd.DataFrame) -> figure.Figure:
    """Return the loss curves of an exhibit's cells, a column for each dataset and backbone, a row for each loss.

    rows: of ``metrics.table_row``. layout: as ``Study.curves_layout`` says it. curves: ``curves.COLUMNS``. Raises
    ArtifactError when no cell is measured. Source: Figure 4 of the VeCAF paper, which has the training loss alone.
    """
    training.check(curves, layout["exhibit"])
    lines = {
        "loss": training.lines(curves, "loss", layout, blocks=BLOCKS),
        "probe_loss": training.lines(curves, "probe_loss", layout),
    }
    records = [record for name, found in lines.items() for line in found for record in line.records(name)]
    caption = figure.caption(
        f"{layout['title']}, mean over n seeds, band from the lowest seed to the highest.",
        f"Above, the loss that finetuning minimises, on each method's own samples, averaged over {_lengths(curves)}.",
        f"Below, the loss on a fixed part of the pool, the same for all methods ({_probes(layout)}), not averaged.",
        f"Cells: {training.cells_in_words(curves)}.",
        training.published(rows),
        training.remarks(layout),
        training.left_out(rows),
        *layout["notes"],
        f"Configuration {layout['config_digest']}.",
    )
    return figure.Figure(_draw(lines, layout), tuple(records), caption)


def _lengths(curves: pd.DataFrame) -> str:
    """Return how many batches one point of the training loss is the mean of."""
    budgets = curves.groupby("dataset", sort=False)["batch"].max()
    lengths = {training.block_length(int(batches), BLOCKS) for batches in budgets}
    return f"stretches of {' or '.join(map(str, sorted(lengths)))} batches (about {1 / BLOCKS:.0%} of the budget)"


def _probes(layout: Mapping[str, Any]) -> str:
    sizes = {told["probe_images"] for told in layout["curves"].values()}
    return f"{' or '.join(f'{size:,}' for size in sorted(sizes))} images"


def _draw(lines: Mapping[str, Sequence[Line]], layout: Mapping[str, Any]):
    places = list(dict.fromkeys(line.place for line in lines["loss"]))
    looks = figure.looks([row["method"] for row in layout["rows"]], training.bases(layout))
    canvas, axes = figure.canvas(
        figure.width(len(places)), 4.6, nrows=len(LOSSES), ncols=len(places), squeeze=False, sharex="col"
    )
    for row, (name, title) in zip(axes, LOSSES.items(), strict=True):
        for panel, place in zip(row, places, strict=True):
            inside = [line for line in lines[name] if line.place == place]
            for line in inside:
                figure.draw_line(panel, line.x, line.mean, line.low, line.high, looks[line.method], line.label)
            panel.set_xlim(0, max(line.x[-1] for line in lines["probe_loss"] if line.place == place))
            panel.set_ylim(bottom=0)
        row[0].set_ylabel(title)
    for place, upper, lower in zip(places, *axes, strict=True):
        upper.set_title(training.place_title(place, layout), loc="left")
        lower.set_xlabel("Finetuning batches")
    figure.legend_below(canvas, axes.flat)
    return canvas
