"""A table's numbers one to a line: beside the paper's, and beside what else was measured of the same cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vecaf.reporting.contrasts import fixed, signed
from vecaf.reporting.entries import NOT_PLANNED, Entry
from vecaf.reporting.layout import Layout, cell_path


@dataclass(frozen=True)
class Group:
    """The lines under one group heading; ``numeric`` is the position from which columns hold numbers.

    cells: of each line the folders that the cells behind it share, seeds aside; empty where lines are of no one cell.
    """

    heading: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    numeric: int
    cells: tuple[str | None, ...] = ()


def groups(entries: Iterable[Entry], layout: Layout) -> list[Group]:
    """Return a group for every heading under which the paper prints a number or another measure says something else.

    Lines stand column by column, as one reads down a column of the table; a row with a column of its own stands last.
    """
    found = []
    for title in dict.fromkeys(column.group for column in layout.columns):
        inside = [
            entry
            for entry in entries
            if layout.columns[entry.columns[0]].group == title and (entry.status != NOT_PLANNED or entry.printed)
        ]
        inside.sort(key=lambda entry: (layout.rows[entry.row].own_column is not None, entry.columns, entry.row))
        printed = any(entry.printed for entry in inside)
        beside = tuple(name for name in layout.beside if any(_differs(entry, name) for entry in inside))
        if printed or beside:
            lines = tuple(_line(entry, layout, printed, beside) for entry in inside)
            what = "Paper and measurement" if printed else ", ".join(layout.beside[name] for name in beside)
            heading = f"{what}: {title}".removesuffix(": ")
            cells = tuple(cell_path(entry.key) if entry.planned else None for entry in inside)
            found.append(Group(heading, _header(layout, printed, beside), lines, len(layout.stubs) + 1, cells))
    return found


def _differs(entry: Entry, name: str) -> bool:
    value = entry.beside.get(name)
    return value is not None and f"{value:.2f}" != f"{entry.mean:.2f}"


def _header(layout: Layout, printed: bool, beside: tuple[str, ...]) -> tuple[str, ...]:
    comparison = ("Paper", "Difference", "z", "Verdict") if printed else ()
    return (
        layout.column_title,
        *layout.stubs,
        "Measured",
        "n",
        *(layout.beside[name] for name in beside),
        *comparison,
    )


def _line(entry: Entry, layout: Layout, printed: bool, beside: tuple[str, ...]) -> tuple[str, ...]:
    row = layout.rows[entry.row]
    cells = [row.own_column or layout.columns[entry.columns[0]].title, *row.labels]
    cells += [entry.text(), str(entry.n) if entry.planned else ""]
    cells += [fixed(entry.beside.get(name)) for name in beside]
    if printed:
        cells += [*_paper(entry), entry.verdict]
    return tuple(cells)


def _paper(entry: Entry) -> tuple[str, str, str]:
    if entry.printed is None:
        return ("not reported" if entry.status == "not reported" else "—", "—", "—")
    error = "n/a" if entry.printed.stderr is None else f"{entry.printed.stderr:.2f}"
    printed = f"{entry.printed.value:.2f} ± {error}"
    if entry.comparison is None:
        return (printed, "—", "—")
    return (printed, signed(entry.comparison.difference), signed(entry.comparison.z, 1))
