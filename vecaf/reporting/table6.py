"""Table 6: top-1 accuracy with and without ODS and CEA, and with ODS that does not see the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vecaf.reporting import table
from vecaf.reporting.layout import Layout, Row, by_dataset_and_ratio, complete, described

REFERENCE = {"ods": True, "cea": True}
WITH, WITHOUT, NO_LOSS = "✓", "-", "L ≡ 1"


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> table.Table:
    """Return Table 6 of the metrics of its cells.

    rows: see ``table.build``. layout: as of ``table1.build``; the readings of a method say which parts it has. Source:
    Table 6 of the VeCAF paper.
    """
    return table.build(rows, layout_of(layout))


def layout_of(layout: Mapping[str, Any]) -> Layout:
    """Return the typed layout of Table 6."""
    settings = complete(layout, "table6")
    rows = tuple(_row(row, settings) for row in settings["rows"])
    return described(
        settings,
        "table6",
        stubs=("ODS", "CEA", "Method"),
        rows=rows,
        columns=by_dataset_and_ratio(settings),
        column_title="Ratio",
        reference=REFERENCE,
        reference_title=next((row.labels[-1] for row in rows if REFERENCE.items() <= row.printed.items()), ""),
    )


def _row(row: Mapping[str, str], settings: Mapping[str, Any]) -> Row:
    """Return a row; ODS that does not see the loss has no line in the paper, nor has any third selector."""
    method = row["method"]
    readings = settings["readings"].get(method, {})
    has = {part: any(key.startswith(f"{part}.") for key in readings) for part in ("ods", "cea", "activeft")}
    blind = readings.get("ods.objective") == "uniform"
    labels = (NO_LOSS if blind else WITH if has["ods"] else WITHOUT, WITH if has["cea"] else WITHOUT)
    printed = {"method": "vecaf", "ods": has["ods"], "cea": has["cea"]}
    known = (has["ods"] and not blind) or has["activeft"]
    match = {"method": method, "schedule": row["schedule"]}
    return Row((*labels, settings["methods"].get(method, method)), match, printed if known else {})
