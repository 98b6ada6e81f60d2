"""The number of loops: a row a schedule, judged against three loops."""

import pytest
from collected import check_latex, collected, every_other, one_line, told
from test_table1 import line, lines

from vecaf.reporting import paper as printed
from vecaf.reporting import table7

LOOPS = ("2loops", "3loops", "4loops", "5loops")


def as_printed(cell):
    key = {"exhibit": "table7", "ratio": cell.ratio}
    return printed.printed_value(cell.dataset, cell.backbone, cell.method, cell.schedule, **key).value / 100


def build(study, numbers=as_printed):
    return table7.build(collected(study, "table7", numbers), told(study, "table7"))


@pytest.fixture(scope="module")
def whole(paper):
    return build(paper)


def test_every_printed_value_meets_its_schedule(whole):
    reported = printed.reported("table7")
    assert [row["schedule"] for row in lines(whole)] == list(LOOPS) == list(reported["schedule"])
    for row in reported.itertuples():
        found = line(whole, schedule=row.schedule)
        assert (float(found["paper"]), float(found["paper_se"])) == (row.value, row.stderr)
        assert (found["verdict"], found["row"]) == ("reproduced", f"VeCAF {row.loops} loops")
    assert [row["schedule"] for row in lines(whole) if row["best"] == "yes"] == ["5loops"]


def test_notes_say_that_table_1_prints_another_number(whole):
    text = one_line(whole)
    assert "Table 1 prints 96.24 ± 0.02 for VeCAF in three loops" in text
    one = printed.printed_value("cifar10", "deit_b_dino", "vecaf", "3loops", "5pct")
    three, five = (
        printed.printed_value("cifar10", "deit_b_dino", "vecaf", schedule, exhibit="table7")
        for schedule in ("3loops", "5loops")
    )
    assert (one.value, one.stderr, three.value, five.value) == (96.24, 0.02, 96.01, 96.24)
    assert "5 loops: 5 times own selection for 1/5 of the batches." in text
    assert "CIFAR-10: 750 batches a cell" in text


def test_a_direction_is_told_against_three_loops(paper):
    shares = {"2loops": 0.92, "3loops": 0.90, "4loops": 0.91, "5loops": 0.93}
    built = build(paper, lambda cell: shares[cell.schedule])
    verdicts = [line(built, schedule=schedule)["verdict"] for schedule in LOOPS]
    assert verdicts == ["not reproduced", "same direction", "same direction", "same direction"]


def test_missing_cells_and_seeds(paper):
    built = build(paper, every_other(as_printed))
    assert [row["status"] for row in lines(built)] == ["measured", "not run"] * 2
    assert "95.89 ± 0.00 (2 of 3)" in built.to_markdown()
    assert line(built, schedule="5loops")["paper"] == "96.2400"


def test_latex(whole):
    assert check_latex(whole.to_latex()) == 2
    assert r"VeCAF & 5 loops & \textbf{96.24 $\pm$ 0.00} \\" in whole.to_latex()
