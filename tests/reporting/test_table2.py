"""One class against all others: which cell stands where, which of four measures, and what the paper prints there."""

import statistics
from itertools import product

import pytest
from collected import check_latex, collected, every_other, one_line, told
from test_table1 import line, lines

from vecaf.errors import ArtifactError, ConfigError
from vecaf.reporting import paper as printed
from vecaf.reporting import table2

CLASSES = ("airplane", "bird", "cat", "deer")
METHODS = ("activeft", "top_k_loss", "vecaf")


def as_printed(cell):
    method, _, target = cell.method.rpartition("_")
    key = {"exhibit": "table2", "metric": "one_vs_all", "target_class": target}
    recall = printed.printed_value(cell.dataset, cell.backbone, method, cell.schedule, cell.ratio, **key).value / 100
    shares = {"recall_argmax": recall, "recall_half": recall - 0.05, "binary_accuracy": 0.97}
    return {"top1": 0.3, "mean_per_class": 0.3, "balanced_accuracy": 0.875 + cell.seed / 1000} | shares


def build(study, numbers=as_printed):
    return table2.build(collected(study, "table2", numbers), told(study, "table2"))


@pytest.fixture(scope="module")
def whole(paper):
    return build(paper)


def test_every_printed_value_meets_the_cell_of_its_method_and_class(whole):
    reported = printed.reported("table2")
    assert len(lines(whole)) == len(reported) == 12
    for row in reported.itertuples():
        found = line(whole, method=f"{row.method}_{row.target_class}")
        assert (float(found["paper"]), float(found["paper_se"])) == (row.value, row.stderr)
        assert (found["metric"], float(found["mean"])) == ("recall_argmax", pytest.approx(row.value))
        assert (found["verdict"], found["planned"]) == ("reproduced", "3")
        assert found["column"] == f"CIFAR-10, 2 % {row.target_class.capitalize()}"


def test_best_of_the_papers_own_table_is_vecaf_for_every_class(whole):
    best = [row["method"] for row in lines(whole) if row["best"] == "yes"]
    assert best == [f"vecaf_{name}" for name in CLASSES]


def test_the_other_measures_stand_beside_the_recall(whole):
    row = line(whole, method="vecaf_cat")
    others = [row[name] for name in ("recall_half", "binary_accuracy", "balanced_accuracy")]
    assert others == ["81.4100", "97.0000", "87.6000"]
    assert "mean_per_class" not in row
    text = whole.to_markdown()
    assert "| Method     |         Airplane |             Bird |" in text
    assert "| Recall, p > .5 | Binary accuracy | Balanced accuracy |" in text
    assert "| 81.41 |" in one_line(whole)
    assert "30.00" not in text  # top-1 is no number of this table


def test_notes_say_what_the_numbers_are_and_why(whole):
    text = one_line(whole)
    assert "Numbers are recall of the target class, by argmax over all classes, in percent" in text
    assert "90 % of that on CIFAR-10, and eleven of the twelve printed values are lower" in text
    assert "cites the paper of TA-VAAL for it" in text
    assert "neither a schedule nor a learning rate for the baselines" in text
    assert "backbone DINO-S" in text
    assert text.count("Readings of") == 3  # once a method, not once a class
    assert (
        text.index("Readings of ActiveFT:") < text.index("Readings of Top-K loss:") < text.index("Readings of VeCAF:")
    )
    assert text.count("objective = {form: logsumexp, in_finetune: true, one_vs_all: the column's class}") == 3


def test_what_the_notes_say_of_the_printed_values_is_arithmetic():
    reported = printed.reported("table2")
    assert (reported["value"] < 90).sum() == 11
    recalls = {f"{step / 30:.2f}" for step in range(3001)}  # three recalls over 1,000 images, in percent
    assert sum(f"{value:.2f}" not in recalls for value in reported["value"]) == 7
    tenths = product((0.0, 0.1, 0.2, 0.3), repeat=3)
    errors = {round(statistics.stdev(values) / 3**0.5, 2) for values in tenths}
    assert sorted(errors)[:3] == [0, 0.03, 0.06]
    assert sum(error not in errors for error in reported["stderr"]) == 9


def test_missing_cells_and_seeds(paper):
    built = build(paper, every_other(as_printed))
    assert [row["status"] for row in lines(built)] == ["measured", "not run"] * 6
    missing = line(built, method="vecaf_bird")
    assert (missing["mean"], missing["recall_half"], missing["paper"]) == ("", "", "88.8000")
    assert "91.24 ± 0.00 (2 of 3)" in built.to_markdown()
    assert "not run" in built.to_latex()


def test_a_direction_is_told_against_vecaf_of_the_same_class(paper):
    recalls = {"vecaf_cat": 0.95, "activeft_cat": 0.90, "top_k_loss_cat": 0.96}  # paper: 86.41, 83.00, 75.72
    built = build(paper, lambda cell: as_printed(cell) | {"recall_argmax": recalls.get(cell.method, 0.5)})
    verdicts = [line(built, method=f"{name}_cat")["verdict"] for name in METHODS]
    assert verdicts == ["same direction", "not reproduced", "same direction"]


def test_a_cell_evaluated_without_the_measures_is_named(paper):
    with pytest.raises(ArtifactError, match=r"activeft_airplane.*recall_argmax is None.*Evaluate the cell again"):
        build(paper, lambda cell: 0.9)


def test_what_the_table_has_no_room_for_is_refused(paper):
    layout = paper.layout("table2")
    layout["columns"] = [*layout["columns"], layout["columns"][0] | {"ratio": "5pct"}]
    with pytest.raises(ConfigError, match=r"shows 2 values of ratio \(2pct, 5pct\)"):
        table2.layout_of(layout)
    layout = paper.layout("table2")
    layout["variants"]["vecaf_cat"]["target_class"] = None
    with pytest.raises(ConfigError, match="vecaf_cat, whose objective has no target class"):
        table2.layout_of(layout)


def test_latex(whole):
    tex = whole.to_latex()
    assert check_latex(tex) == 2
    assert r"\multicolumn{4}{c}{CIFAR-10, 2 \%}" in tex
    assert r"VeCAF & \textbf{91.24 $\pm$ 0.00}" in tex
