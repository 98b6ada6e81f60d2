"""Out of distribution: a line of the paper is another model in each column, and the controls stand below one by one."""

import pytest
from collected import check_latex, collected, every_other, one_line, told
from test_table1 import line, lines

from vecaf.errors import ArtifactError
from vecaf.reporting import paper as printed
from vecaf.reporting import table3

DOMAINS = ("snow", "fog")


def as_printed(cell):
    """Return for each domain what the paper prints for the cell's family there, less at higher severities."""
    family, _, made_for = cell.method.rpartition("_") if cell.method[-4:] in ("snow", "_fog") else (cell.method, "", "")
    found = {"top1": 0.6, "mean_per_class": 0.6}
    for domain in DOMAINS:
        value = printed.printed_value(cell.dataset, cell.backbone, family, exhibit="table3", domain=domain).value / 100
        value -= 0.02 if made_for and made_for != domain else 0
        found |= {domain: value} | {
            f"{domain}_{severity}": value + 0.1 - 0.05 * (severity - 1) for severity in range(1, 6)
        }
    return found


def build(study, numbers=as_printed):
    return table3.build(collected(study, "table3", numbers), told(study, "table3"))


@pytest.fixture(scope="module")
def whole(paper):
    return build(paper)


def test_every_printed_value_meets_the_model_made_for_its_column(whole):
    reported = printed.reported("table3")
    assert len(reported) == 8
    made = {("vecaf", "snow"): "vecaf_snow", ("vecaf", "fog"): "vecaf_fog"}
    made |= {("clipstyler", domain): f"clipstyler_{domain}" for domain in DOMAINS}
    for row in reported.itertuples():
        method = made.get((row.method, row.domain), row.method)
        found = [entry for entry in lines(whole) if entry["paper"] and entry["metric"] == row.domain]
        found = [entry for entry in found if entry["method"] == method]
        assert len(found) == 1
        assert (float(found[0]["paper"]), float(found[0]["paper_se"])) == (row.value, row.stderr)
        assert (found[0]["verdict"], float(found[0]["mean"])) == ("reproduced", pytest.approx(row.value, abs=1e-3))


def test_rows_are_the_papers_four_and_every_model_alone(whole):
    table = [row for row in whole.to_markdown().splitlines() if row.startswith("|")]
    names = [row.split("|")[1].strip() for row in table[2:11]]
    assert names == [
        *("Full data", "CLIPstyler", "ActiveFT", "VeCAF"),
        *("CLIPstyler, snow", "CLIPstyler, fog", "VeCAF, snowy prompt", "VeCAF, foggy prompt", "VeCAF, no prompt"),
    ]
    assert [cell.strip() for cell in table[0].split("|")[2:5]] == ["snow", "fog", "clear"]


def test_a_model_on_the_other_domain_has_its_own_number_and_none_of_the_papers(whole):
    other = line(whole, method="vecaf_snow", metric="fog")
    assert (float(other["mean"]), other["paper"]) == (pytest.approx(47.71 - 2, abs=1e-3), "")


def test_clear_accuracy_stands_beside_and_no_family_has_one(whole):
    clear = {entry["row"]: entry["status"] for entry in lines(whole) if entry["metric"] == "top1"}
    assert clear.pop("VeCAF, no prompt") == "measured"
    assert clear.pop("CLIPstyler") == clear.pop("VeCAF") == "not planned"
    assert set(clear.values()) == {"measured"}


def test_severities_are_in_the_csv(whole):
    found = line(whole, method="full", metric="snow")
    values = [float(found[f"severity_{severity}"]) for severity in range(1, 6)]
    assert values == [pytest.approx(38.89 + 10 - 5 * step, abs=1e-3) for step in range(5)]


def test_a_cell_that_was_not_judged_on_a_domain_has_not_run_there(paper):
    built = build(paper, lambda cell: {"top1": 0.5, "mean_per_class": 0.5, "snow": 0.4, "fog": None})
    assert {entry["status"] for entry in lines(built) if entry["metric"] == "fog"} == {"not run"}
    assert {entry["status"] for entry in lines(built) if entry["metric"] == "snow"} == {"measured"}


def test_percent_instead_of_fractions_is_refused(paper):
    with pytest.raises(ArtifactError, match=r"snow is 40\.0; it must be a fraction"):
        build(paper, lambda cell: {"top1": 0.5, "mean_per_class": 0.5, "snow": 40.0, "fog": 0.4})


def test_unfinished_and_latex(paper, whole):
    assert "(2 of 3)" in one_line(build(paper, every_other(as_printed)))
    assert check_latex(whole.to_latex()) >= 2
