"""Tables of the study: one builder for every exhibit that is a grid of accuracies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vecaf.reporting import csv, html, latex, markdown
from vecaf.reporting.comparison import Group, groups
from vecaf.reporting.entries import Entry, entries
from vecaf.reporting.layout import KEYS, Layout
from vecaf.reporting.notes import notes

# What the layout puts beside the main number stands between these.
CSV_MEASURED = ("row", "column", *KEYS, "metric", "unit", "mean", "se", "sd", "n", "seeds", "planned")
CSV_COMPARED = (
    *("paper", "paper_se", "paper_note", "difference", "z", "verdict", "best", "status", "reason", "origin", "digests"),
)


@dataclass(frozen=True)
class Table:
    """A finished table: its layout, its entries, its comparison with the paper and its notes."""

    layout: Layout
    entries: tuple[Entry, ...]
    comparison: tuple[Group, ...]
    notes: tuple[str, ...]

    def to_csv_text(self) -> str:
        """Return one line per row and column (one for a cell that spans columns), accuracies in percent."""
        columns = (*CSV_MEASURED, *(_column(*item) for item in self.layout.beside.items()), *CSV_COMPARED)
        return csv.render(list(self._lines()), columns)

    def to_markdown(self) -> str:
        """Return the measured table, the comparison with the paper, and the notes."""
        return markdown.render(self)

    def to_latex(self) -> str:
        """Return the same as floats for a document that loads booktabs and graphicx."""
        return latex.render(self)

    def to_html(self) -> str:
        """Return the same as a part of the report."""
        return html.render(self)

    def summary(self) -> str:
        """Return in words how much of it is measured."""
        measured = sum(entry.mean is not None for entry in self.entries)
        return f"{measured} of {len(self.entries)} entries measured"

    def _lines(self) -> Iterator[dict[str, Any]]:
        for entry in self.entries:
            columns = [self.layout.columns[position] for position in entry.columns]
            comparison, printed = entry.comparison, entry.printed
            yield {
                "row": " ".join(label for label in self.layout.rows[entry.row].labels if label),
                "column": "; ".join(f"{column.group} {column.title}".strip() for column in columns),
                **{key: entry.key.get(key, "") for key in KEYS},
                "metric": self.layout.shown(entry.columns[0]),
                "unit": "percent",
                "mean": _number(entry.mean),
                "se": _number(entry.se),
                "sd": _number(entry.sd),
                "n": entry.n,
                "seeds": " ".join(str(seed) for seed in entry.seeds),
                "planned": entry.planned,
                **{_column(*item): _number(entry.beside.get(item[0])) for item in self.layout.beside.items()},
                "paper": _number(printed and printed.value),
                "paper_se": _number(printed and printed.stderr),
                "paper_note": (printed and printed.note) or "",
                "difference": _number(comparison and comparison.difference),
                "z": _number(comparison and comparison.z),
                "verdict": entry.verdict,
                "best": "yes" if entry.best else "no",
                "status": entry.status,
                "reason": "; ".join(entry.reasons),
                "origin": " ".join(entry.origins),
                "digests": " ".join(entry.digests),
            }


def build(rows: pd.DataFrame, layout: Layout) -> Table:
    """Return the table of an exhibit.

    rows: columns ``entries.COLUMNS`` and the numbers that the layout names, one row per cell and seed; numbers are
    fractions in [0, 1]. Their order does not matter. Raises ArtifactError naming the cell for rows that contradict
    each other.
    """
    found = entries(rows, layout)
    return Table(layout, tuple(found), tuple(groups(found, layout)), tuple(notes(rows, found, layout)))


def _column(name: str, title: str) -> str:
    """Return the CSV column of a number that stands beside: its name, or its title where each column has another."""
    return title.lower().replace(" ", "_") if "{" in name else name


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
