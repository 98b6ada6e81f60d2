import pandas as pd
import pytest

from vecaf.reporting import paper


def test_every_table_is_there_with_its_cells():
    printed = paper.reported().dropna(subset="value")
    counts = printed.groupby("exhibit").size().to_dict()
    assert counts == {"table1": 76, "table2": 12, "table3": 8, "table4": 8, "table5": 24, "table6": 12, "table7": 4} | {
        "figure5": 2
    }
    assert len(paper.reported("table1")) == 84  # and eight places with “-”


def test_names_are_the_projects_own():
    table7 = paper.reported("table7")
    assert list(table7["schedule"]) == ["2loops", "3loops", "4loops", "5loops"]
    assert set(paper.reported("table1")["ratio"]) == {"1pct", "2pct", "4pct", "5pct", "10pct", "100pct"}
    assert paper.reported("figure5")["schedule"].isna().tolist() == [True, False]  # "multi" of unknown n is not guessed
    table6 = paper.reported("table6")
    assert table6["ods"].tolist()[0] is not pd.NA
    assert not table6["ods"].tolist()[0]
    assert table6["value"].dtype == "float64"
    assert paper.reported("table1")["loops"].dtype == "Int64"


@pytest.mark.parametrize(
    ("decimal", "token"), [("0.01", "1pct"), ("1.0", "100pct"), ("0.1", "10pct"), ("0.005", "0.5pct"), ("1", "100pct")]
)
def test_ratio_tokens_are_exact(decimal, token):
    assert paper.ratio_token(decimal) == token


def test_one_value():
    assert paper.printed_value("cifar10", "deit_b_dino", "vecaf", "3loops", "1pct") == (93.57, 0.02, None)
    assert paper.printed_value("imagenet", "deit_b_dino", "full", "single", "100pct") == (57.53, 0.01, None)
    value = paper.printed_value("imagenet", "xcit_l", "vecaf", "3loops", "1pct", exhibit="table5", encoder="gpt2_l")
    assert value.value == 61.78
    note = paper.printed_value("cifar10", "deit_b_dino", "vecaf", "3loops", "5pct", exhibit="table7").note
    assert note == "table 1 prints 96.24 for 3 loops"


def test_what_the_paper_leaves_out_is_none():
    assert paper.printed_value("imagenet", "deit_b_dino", "ta_vaal", "single", "1pct") is None
    assert paper.printed_value("digits", "vit_tiny", "vecaf", "3loops", "10pct") is None
    assert paper.printed_value("cifar10", "deit_s", "vecaf", "3loops", "1pct") is None


def test_an_ambiguous_question_is_refused():
    with pytest.raises(LookupError, match="4 values"):
        paper.printed_value("imagenet", "deit_s", "vecaf", "3loops", "1pct", exhibit="table5")


def test_a_reader_cannot_change_the_paper():
    mine = paper.reported("table1")
    mine["value"] = 0.0
    assert paper.reported("table1")["value"].max() == 96.24


def test_statements():
    statements = paper.statements()
    assert statements["id"].is_unique
    assert "beats_full_at_1pct" in set(statements["id"])
