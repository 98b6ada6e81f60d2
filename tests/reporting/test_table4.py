"""Table 4 as planned from the paper's configuration: its own arithmetic found again, and what it leaves out."""

import pandas as pd
import pytest
from collected import collected, one_line, told

from vecaf.flops import profile
from vecaf.reporting import costs, table4


@pytest.fixture(scope="module")
def planned(paper):
    profiles = [
        {"part": part, "name": name, **profile(paper.profile_params(part, name))}
        for part, name in paper.profiles("table4")
    ]
    rows = collected(paper, "table4", lambda cell: None)
    layout = told(paper, "table4") | {"plans": paper.plans("table4")}
    return table4.build(rows, layout, pd.DataFrame(columns=costs.COLUMNS), profiles)


@pytest.fixture(scope="module")
def records(planned):
    return pd.DataFrame(planned.records).set_index(["method", "part"])


def test_the_papers_numbers_are_its_arithmetic_on_the_counted_backbone(records):
    whole = records[records["loop"].isna()]
    printed = whole.dropna(subset="paper_g")
    assert len(printed) == 6
    assert printed["redone_g"].to_numpy() == pytest.approx(printed["paper_g"].to_numpy(), rel=0.04)


def test_parts_add_up_in_both_units(records):
    whole = records[records["loop"].isna()]
    for unit in ("papers_unit_g", "total_g"):
        sums = whole.loc["vecaf", unit]
        assert sums[["cea", "selection", "finetune"]].sum() == pytest.approx(sums[costs.COUNTED])
        assert sums[list(costs.PARTS)].sum() == pytest.approx(sums[costs.ALL])


def test_the_reduction_shrinks_once_the_pool_is_scored_and_captioned(planned):
    text = one_line(planned)
    assert "| VeCAF: MACs that the paper counts | 3.17 | 3.19 | 2.13 | 0.73 |" in text
    assert "| VeCAF: these and scoring the pool | 2.27 | 2.28 | 1.57 | 0.57 |" in text
    assert "its reduction of 3.17 becomes 2.27" in text
    assert "6 of 6 cells are not run: no mean holds them." in text
