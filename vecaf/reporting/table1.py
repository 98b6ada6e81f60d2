"""Table 1: top-1 accuracy of every method at a fixed finetuning budget, by dataset and ratio."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from vecaf.reporting import table
from vecaf.reporting.layout import (
    WHOLE_POOL,
    Layout,
    Row,
    by_dataset_and_ratio,
    complete,
    described,
    ratio_title,
    schedule_title,
)

REFERENCE = {"method": "vecaf", "schedule": "3loops"}


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> table.Table:
    """Return Table 1 of the metrics of its cells.

    rows: see ``table.build``. layout: title, rows (method, schedule and optionally label, ratio, printed), columns
    (dataset, dataset_title, ratio and optionally backbone), methods (name → title), notes, config_digest, readings
    (method → reading → value), cards (method → its selector in a line), and optionally schedules (name → meaning),
    reference (part of a row's key) and variants (method → the method it varies). Full-data finetuning and its variants
    have one cell per dataset, whatever the ratio of the column. Raises ConfigError for a layout that lacks a key
    and ArtifactError as ``table.build`` does. Source: Table 1 of the VeCAF paper.
    """
    return table.build(rows, layout_of(layout))


def layout_of(layout: Mapping[str, Any], exhibit: str = "table1") -> Layout:
    """Return the typed layout of Table 1, or of another exhibit that is a grid of methods by ratios."""
    settings = complete(layout, exhibit)
    methods = settings["methods"]
    reference = settings.get("reference") or REFERENCE
    whole = ("full", *(name for name, said in settings["variants"].items() if name != said["of"] == "full"))
    return described(
        settings,
        exhibit,
        stubs=("Method", "Schedule"),
        rows=tuple(_row(row, methods, whole) for row in settings["rows"]),
        columns=by_dataset_and_ratio(settings),
        column_title="Ratio",
        reference=reference,
        reference_title=" ".join(methods.get(value, schedule_title(value)) for value in reference.values()),
        outside_competition=whole,
    )


def _row(row: Mapping[str, Any], methods: Mapping[str, str], whole: Collection[str]) -> Row:
    match = {key: row[key] for key in ("method", "schedule", "ratio") if row.get(key) is not None}
    if row["method"] in whole:
        match.setdefault("ratio", WHOLE_POOL)
    label = row.get("label") or methods.get(row["method"], row["method"])
    own = ratio_title(match["ratio"]) if "ratio" in match else None
    return Row((label, schedule_title(row["schedule"])), match, row.get("printed") or {}, own)
