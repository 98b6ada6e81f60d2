"""Tables that are lists: lines of text under headings, with one record a line for the CSV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecaf.reporting import csv, html, latex, markdown
from vecaf.reporting.comparison import Group


@dataclass(frozen=True)
class Listing:
    """A finished list. groups: what people read; records: the same for machines, all with the same keys."""

    title: str
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]

    def to_csv_text(self) -> str:
        """Return one line a record; None is empty, floats have six significant digits."""
        return csv.render(self.records)

    def to_markdown(self) -> str:
        return markdown.render_listing(self)

    def to_latex(self) -> str:
        """Return floats for a document that loads booktabs and graphicx."""
        return latex.render_listing(self)

    def to_html(self) -> str:
        """Return the same as a part of the report."""
        return html.render_listing(self)

    def summary(self) -> str:
        """Return in words how much it holds."""
        return f"{len(self.records)} lines"
