"""Tables as Markdown that reads as well unrendered: pipes in line, notes wrapped."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vecaf.reporting.entries import Entry
from vecaf.reporting.layout import Layout

if TYPE_CHECKING:
    from vecaf.reporting.listing import Listing
    from vecaf.reporting.table import Table

WIDTH = 120
WIDEST = 48  # a longer text sticks out of its column instead of padding every other line
# An underscore inside a word is left alone: no renderer takes it for emphasis, and names stay readable as text.
_SPECIAL = re.compile(r"[\\|*`<\[]|(?<!\w)_|_(?!\w)")


def escape(text: str) -> str:
    return _SPECIAL.sub(lambda match: "\\" + match[0], text)


def render(table: Table) -> str:
    """Return the whole document: title, measured table, comparison, notes; ends with a newline."""
    parts = [f"# {escape(table.layout.title)}", _measured(table.layout, table.entries)]
    for group in table.comparison:
        parts.append(f"## {escape(group.heading)}")
        lines = [[escape(cell) for cell in line] for line in group.lines]
        parts.append(_grid(group.header, lines, group.numeric))
    parts.append("## Notes")
    parts.append("\n".join(_item(note) for note in table.notes))
    return "\n\n".join(parts) + "\n"


def render_listing(listing: Listing) -> str:
    """Return the whole document of a listing: title, its parts, notes; ends with a newline."""
    parts = [f"# {escape(listing.title)}"]
    for group in listing.groups:
        parts += [f"## {escape(group.heading)}"] if group.heading else []
        parts.append(_grid(group.header, [[escape(cell) for cell in line] for line in group.lines], group.numeric))
    parts += ["## Notes", "\n".join(_item(note) for note in listing.notes)] if listing.notes else []
    return "\n\n".join(parts) + "\n"


def _measured(layout: Layout, entries: Sequence[Entry]) -> str:
    groups = {column.group for column in layout.columns}
    above = groups.pop() if len(groups) == 1 and len(layout.columns) > 1 else ""  # once is enough for all columns
    titles = [column.title if above else f"{column.group} {column.title}".strip() for column in layout.columns]
    header = [*layout.stubs, *titles]
    lines = [[escape(label) for label in row.labels] + [""] * len(layout.columns) for row in layout.rows]
    for entry in entries:
        for column in entry.columns:  # Markdown has no spanning cells: the value is repeated
            text = escape(entry.text())
            lines[entry.row][len(layout.stubs) + column] = f"**{text}**" if column in entry.best else text
    grid = _grid(header, lines, len(layout.stubs))
    return f"{escape(above)}:\n\n{grid}" if above else grid


def _grid(header: Sequence[str], lines: Sequence[Sequence[str]], numeric: int) -> str:
    """Return a pipe table, padded; columns from ``numeric`` on are set flush right."""
    header = [escape(title) for title in header]
    widths = [min(WIDEST, max(3, *(len(line[i]) for line in [header, *lines]))) for i in range(len(header))]

    def padded(line: Sequence[str]) -> str:
        cells = (
            text.rjust(width) if i >= numeric else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |"

    rule = ("-" * (width - 1) + ":" if i >= numeric else "-" * width for i, width in enumerate(widths))
    return "\n".join([padded(header), f"| {' | '.join(rule)} |", *(padded(line) for line in lines)])


def _item(note: str) -> str:
    return textwrap.fill(
        escape(note),
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
