"""Tables as LaTeX: floats for a document that loads booktabs and graphicx, for any engine (symbols are commands)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from vecaf.reporting.comparison import Group
from vecaf.reporting.entries import Entry
from vecaf.reporting.layout import Layout

if TYPE_CHECKING:
    from vecaf.reporting.listing import Listing
    from vecaf.reporting.table import Table

_COMMANDS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", "[": "{[}", "]": "{]}"},
    **{"±": r"$\pm$", "−": "$-$", "·": r"$\cdot$", "×": r"$\times$", "√": r"$\surd$", "²": "$^2$", "†": r"$^\dagger$"},
    **{"✓": r"$\surd$"},  # a check mark needs a package; this one every engine has
    **{"≡": r"$\equiv$", "≤": r"$\le$", "≥": r"$\ge$", "→": r"$\to$", "∞": r"$\infty$", "Σ": r"$\Sigma$"},
    **{"₁": "$_1$", "⁻¹": "$^{-1}$"},
    **{"α": r"$\alpha$", "η": r"$\eta$", "λ": r"$\lambda$", "τ": r"$\tau$", "μ": r"$\mu$", "θ": r"$\theta$"},
    **{"—": "---", "–": "--", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\dots{}", "⅓": "1/3", "⅔": "2/3"},
}
_PAGE = 150  # letters of a footnotesize line
# Nine columns of "93.57 ± 0.02" fit a page, nine of "not reported" may not: shrink only what is too wide.
_SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_SPECIAL = re.compile("|".join(re.escape(character) for character in _COMMANDS))


def escape(text: str) -> str:
    """Return a text in which every character that LaTeX would obey, or pdflatex not know, is a command."""
    return _SPECIAL.sub(lambda match: _COMMANDS[match[0]], text)


def render(table: Table) -> str:
    """Return one float for the measured table with its notes, and one for each part of the comparison."""
    layout = table.layout
    notes = [r"\par " + escape(note) for note in table.notes]
    measured = _float(layout.title, _measured(layout, table.entries), notes)
    compared = (_float(f"{layout.title}. {group.heading}", _compared(group), []) for group in table.comparison)
    return (
        "\n".join(["% \\usepackage{booktabs,graphicx}", *measured, *(line for part in compared for line in part)])
        + "\n"
    )


def render_listing(listing: Listing) -> str:
    """Return a float for each part of a listing, the notes under the last."""
    last = len(listing.groups) - 1
    lines = ["% \\usepackage{booktabs,graphicx}"]
    for number, group in enumerate(listing.groups):
        notes = [r"\par " + escape(note) for note in listing.notes] if number == last else []
        caption = f"{listing.title}. {group.heading}" if group.heading else listing.title
        lines += _float(caption, _compared(group), notes)
    return "\n".join(lines) + "\n"


def _float(caption: str, tabular: Iterator[str], notes: Sequence[str]) -> list[str]:
    opening = [r"\begin{table*}[p]", r"\centering", rf"\caption{{{escape(caption)}}}", r"\footnotesize"]
    below = [r"\par\medskip", r"\begin{minipage}{\linewidth}\scriptsize", *notes, r"\end{minipage}"] if notes else []
    return [*opening, r"\setlength{\tabcolsep}{3pt}", _SHRINK, *tabular, "}", *below, r"\end{table*}"]


def _measured(layout: Layout, entries: Sequence[Entry]) -> Iterator[str]:
    stubs = len(layout.stubs)
    yield rf"\begin{{tabular}}{{{'l' * stubs}{'c' * len(layout.columns)}}}"
    yield r"\toprule"
    yield from _headings(layout)
    yield r"\midrule"
    for number, row in enumerate(layout.rows):
        cells = [escape(label) for label in row.labels]
        for entry in (entry for entry in entries if entry.row == number):
            text = escape(entry.text())
            text = rf"\textbf{{{text}}}" if entry.best else text
            width = len(entry.columns)
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{text}}}" if width > 1 else text)
        yield _line(cells)
    yield r"\bottomrule"
    yield r"\end{tabular}%"


def _headings(layout: Layout) -> Iterator[str]:
    """Yield the group headings over rules that span their columns, then the columns' own titles."""
    cells, rules, first = [""] * len(layout.stubs), [], len(layout.stubs) + 1
    for title, members in groupby(layout.columns, key=lambda column: column.group):
        width = len(list(members))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(title)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    if any(column.group for column in layout.columns):
        yield _line(cells)
        yield " ".join(rules)
    yield _line(escape(title) for title in (*layout.stubs, *(column.title for column in layout.columns)))


def _compared(group: Group) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{{_words(group)}{'r' * (len(group.header) - group.numeric)}}}"
    yield r"\toprule"
    yield _line(escape(title) for title in group.header)
    for _, block in groupby(group.lines, key=lambda line: line[0]):
        yield r"\midrule"
        yield from (_line(escape(cell) for cell in line) for line in block)
    yield r"\bottomrule"
    yield r"\end{tabular}%"


def _words(group: Group) -> str:
    """Return the columns of words: as wide as they are, or, where a line would not fit a page, paragraphs."""
    columns = list(zip(*[line[: group.numeric] for line in (group.header, *group.lines)], strict=True))
    longest = [max(map(len, column)) for column in columns]
    if sum(longest) <= _PAGE:
        return "l" * group.numeric
    # In proportion to the square root, so that a short column is wide enough for its words.
    roots = [length**0.5 for length in longest]
    return "".join(rf"p{{{0.92 * root / sum(roots):.2f}\linewidth}}" for root in roots)


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
