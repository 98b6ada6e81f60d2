"""Table 1: top-1 accuracy of every method at a fixed finetuning budget, by dataset and ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vecaf.errors import ConfigError
from vecaf.reporting import table
from vecaf.reporting.layout import Column, Layout, Row, ratio_title, schedule_title

REFERENCE = {"method": "vecaf", "schedule": "3loops"}
WHOLE_POOL = "100pct"
_REQUIRED = ("title", "rows", "columns", "config_digest")


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> table.Table:
    """Return Table 1 of the metrics of its cells.

    rows: see ``table.build``. layout: title, rows (method, schedule and optionally label, ratio, printed), columns
    (dataset, dataset_title, ratio and optionally backbone), methods (name → title), notes, config_digest, readings
    (method → reading → value), cards (method → its selector in a line), and optionally schedules (name → meaning) and
    reference (part of a row's key). Full-data finetuning has one cell per dataset, whatever the ratio of the column.
    Raises ConfigError for a layout that lacks a key and ArtifactError as ``table.build`` does. Source: Table 1 of the
    VeCAF paper.
    """
    return table.build(rows, layout_of(layout))


def layout_of(layout: Mapping[str, Any], exhibit: str = "table1") -> Layout:
    """Return the typed layout of Table 1, or of another exhibit that is a grid of methods by ratios."""
    absent = [key for key in _REQUIRED if key not in layout]
    if absent:
        raise ConfigError(f"the layout of {exhibit} lacks {', '.join(absent)}; write the exhibit's layout again")
    methods = dict(layout.get("methods") or {})
    return Layout(
        title=layout["title"],
        exhibit=exhibit,
        stubs=("Method", "Schedule"),
        rows=tuple(_row(row, methods) for row in layout["rows"]),
        columns=tuple(_column(column) for column in layout["columns"]),
        column_title="Ratio",
        digest=layout["config_digest"],
        reference=layout.get("reference") or REFERENCE,
        outside_competition=("full",),
        methods=methods,
        readings=layout.get("readings") or {},
        cards=layout.get("cards") or {},
        schedules=layout.get("schedules") or {},
        notes=tuple(layout.get("notes") or ()),
    )


def _row(row: Mapping[str, Any], methods: Mapping[str, str]) -> Row:
    match = {key: row[key] for key in ("method", "schedule", "ratio") if row.get(key) is not None}
    if row["method"] == "full":
        match.setdefault("ratio", WHOLE_POOL)
    label = row.get("label") or methods.get(row["method"], row["method"])
    own = ratio_title(match["ratio"]) if "ratio" in match else None
    return Row((label, schedule_title(row["schedule"])), match, row.get("printed") or {}, own)


def _column(column: Mapping[str, Any]) -> Column:
    match = {key: column[key] for key in ("dataset", "ratio", "backbone") if column.get(key) is not None}
    return Column(column.get("dataset_title") or column["dataset"], ratio_title(column["ratio"]), match)
