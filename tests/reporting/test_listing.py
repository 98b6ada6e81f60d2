"""Lists of lines: CSV, Markdown and LaTeX of the same content."""

import pytest
from collected import check_latex

from vecaf.reporting.comparison import Group
from vecaf.reporting.listing import Listing

RECORDS = ({"reading": "a, b", "n": 3, "low": None, "p": 1 / 3}, {"reading": "c", "n": 0, "low": -2e-9, "p": 1.0})


@pytest.fixture
def listing():
    groups = (
        Group("First", ("Reading", "n"), (("a_b|c", "3"), ("*d*", "4")), 1),
        Group("Second & last", ("Name", "x", "y"), (("λ = 0.1", "−1.20", "50 %"),), 1),
    )
    return Listing("A title", groups, ("One note with _emphasis_.", "Another: 95 %."), RECORDS)


def test_csv_has_full_numbers_and_no_none(listing):
    assert listing.to_csv_text() == 'reading,n,low,p\n"a, b",3,,0.333333\nc,0,-2e-09,1\n'
    assert listing.summary() == "2 lines"
    assert Listing("A", (), (), ()).to_csv_text() == "\n"


def test_markdown_has_a_heading_for_each_part_and_the_notes_last(listing):
    text = listing.to_markdown()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        *("# A title", "## First", "## Second & last", "## Notes"),
    ]
    assert text.endswith("- Another: 95 %.\n")
    assert r"a_b\|c" in text
    assert r"\*d\*" in text


def test_markdown_without_headings_or_notes_is_a_title_and_a_table():
    text = Listing("T", (Group("", ("A", "B"), (("x", "y"),), 2),), (), ()).to_markdown()
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# T"]
    assert sum(line.startswith("|") for line in text.splitlines()) == 3


def test_latex_has_a_float_for_each_part(listing):
    tex = listing.to_latex()
    assert check_latex(tex) == 2
    assert [line for line in tex.splitlines() if line.startswith(r"\caption")] == [
        r"\caption{A title. First}",
        r"\caption{A title. Second \& last}",
    ]
    assert r"a\_b$|$c & 3 \\" in tex
    assert r"$\lambda$ = 0.1 & $-$1.20 & 50 \% \\" in tex
    assert tex.index("One note") > tex.rindex(r"\end{tabular}")
    assert tex.count("minipage") == 2
    assert r"\caption{T}" in Listing("T", (Group("", ("A",), (("x",),), 1),), (), ()).to_latex()
