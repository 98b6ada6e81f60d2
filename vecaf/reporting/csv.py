"""Records as CSV: one line a record."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def render(records: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return one line a record; None is empty, floats have six significant digits. columns: by default the first's."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or [*records[0]] if records else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in record.items()} for record in records)
    return text.getvalue()


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
