"""Tables as parts of the report: sortable, the paper's numbers under ours, each number a link to its cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from vecaf.reporting.comparison import Group
from vecaf.reporting.entries import NOT_PLANNED, Entry
from vecaf.reporting.layout import cell_path

if TYPE_CHECKING:
    from vecaf.reporting.listing import Listing
    from vecaf.reporting.table import Table

_NUMBER = re.compile(r"[<>]?\s*([+−-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)")
_LONG = 60  # letters from which a text is no number and wraps


def render(table: Table) -> str:
    """Return the measured table, the comparison with the paper, and the notes."""
    parts = [_measured(table), *(_group(group) for group in table.comparison), _notes(table.notes)]
    return "\n".join(part for part in parts if part) + "\n"


def render_listing(listing: Listing) -> str:
    """Return the parts of a listing and its notes."""
    parts = [*(_group(group) for group in listing.groups), _notes(listing.notes)]
    return "\n".join(part for part in parts if part) + "\n"


def _measured(table: Table) -> str:
    layout = table.layout
    spans: list[list] = []
    for column in layout.columns:
        if spans and spans[-1][0] == column.group:
            spans[-1][1] += 1
        else:
            spans.append([column.group, 1])
    above = ""
    if any(group for group, _ in spans):
        groups = "".join(f'<th colspan="{span}" scope="colgroup">{escape(group)}</th>' for group, span in spans)
        above = f'<tr class="groups"><td colspan="{len(layout.stubs)}"></td>{groups}</tr>'
    titles = [*layout.stubs, *(column.title or "\N{NO-BREAK SPACE}" for column in layout.columns)]
    lines = [[f"<td>{escape(label)}</td>" for label in row.labels] for row in layout.rows]
    for entry in table.entries:
        # A cell that spans columns is repeated, so that every column can be sorted.
        lines[entry.row] += [_entry(entry, column in entry.best) for column in entry.columns]
    return _table(above + _heads(titles, len(layout.stubs)), ("".join(line) for line in lines), "measured")


def _entry(entry: Entry, best: bool) -> str:
    text = escape(entry.text())
    if entry.mean is not None:
        text = _linked(f"<b>{text}</b>" if best else text, cell_path(entry.key))
    elif entry.status not in (NOT_PLANNED, "not reported"):
        text = _linked(text, cell_path(entry.key))
    if entry.printed is not None:
        text += f'<small title="printed in the paper">paper {entry.printed.value:.2f}</small>'
    order = "" if entry.mean is None else f' data-order="{entry.mean:.6g}"'
    return f'<td class="number"{order}>{text}</td>'


def _group(group: Group) -> str:
    lines = []
    for number, line in enumerate(group.lines):
        name = group.cells[number] if group.cells else None
        cells = []
        for position, text in enumerate(line):
            shown = escape(text)
            if name is not None and position == group.numeric and text not in ("", "—"):
                shown = _linked(shown, name)
            cells.append(f"<td{_kind(text, position >= group.numeric)}>{shown}</td>")
        lines.append("".join(cells))
    heading = f"<h4>{escape(group.heading)}</h4>\n" if group.heading else ""
    return heading + _table(_heads(group.header, group.numeric), lines, "compared")


def _kind(text: str, numeric: bool) -> str:
    """Return the attributes of a place: how it is set, and by what it is sorted."""
    found = _NUMBER.match(text)
    order = f' data-order="{found[1].replace("−", "-").replace(",", "")}"' if found and numeric else ""
    return (' class="number"' if numeric else ' class="long"' if len(text) > _LONG else "") + order


def _heads(titles: Sequence[str], numeric: int) -> str:
    heads = (
        f'<th scope="col"{" class=number" if position >= numeric else ""}>{escape(title)}</th>'
        for position, title in enumerate(titles)
    )
    return f"<tr>{''.join(heads)}</tr>"


def _table(head: str, lines: Iterable[str], kind: str) -> str:
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}">\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>'
        "</table></div>"
    )


def _linked(text: str, cells: str) -> str:
    return f'<a class="source" href="#cell/{escape(cells)}">{text}</a>'


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<details><summary>Notes ({len(notes)})</summary><ul>\n{items}\n</ul></details>"
