"""Table 7: top-1 accuracy by the number of selection loops, at an equal total of batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vecaf.reporting import table, table1


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> table.Table:
    """Return Table 7 of the metrics of its cells: a row for every number of loops, which is a schedule.

    rows, layout and errors: see ``table1.build``. Source: Table 7 of the VeCAF paper.
    """
    return table.build(rows, table1.layout_of(layout, "table7"))
