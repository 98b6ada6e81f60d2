"""Extensions: controls beside the paper's methods, without which a ranking of table 1 says little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vecaf.reporting import table, table1


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> table.Table:
    """Return the table of the controls: methods and schedules by dataset and ratio, as in Table 1.

    rows, layout and errors: see ``table1.build``. The paper prints none of these numbers.
    """
    return table.build(rows, table1.layout_of(layout, "extensions"))
