import copy
import math

import numpy as np
import pytest

from vecaf import artifacts, provenance
from vecaf.errors import ArtifactError
from vecaf.reporting import metrics

FILE = "cells/digits/metrics.json"


@pytest.fixture
def complete():
    with provenance.Stage("finetune") as stage:
        pass
    block = provenance.cell_provenance(
        parameters={"finetune": [{"recipe": "paper"}]},
        readings={"ods.objective": "eq7"},
        stages={"loop1/finetune": stage.record},
        seeds={"head": 7},
        weights={"final": "a" * 64},
        ids={"loop1": "b" * 64},
    )
    cell = {"dataset": "digits", "backbone": "tiny", "method": "vecaf", "ratio": "10pct", "schedule": "3loops"}
    return metrics.cell_metrics(
        cell | {"seed": 0},
        {"top1": 0.9, "mean_per_class": 0.89, "per_class": {"zero": 1.0, "one": None}, "n": 360},
        metrics.cost(60, [{"select": 0.5, "finetune": 2.0}, {"finetune": 3.0}], {"evaluate": 1.0}),
        block,
    )


def without(content, path):
    content = copy.deepcopy(content)
    *parents, last = path.split(".")
    place = content
    for parent in parents:
        place = place[parent]
    del place[last]
    return content


def test_what_is_complete_passes_and_survives_the_file(complete, tmp_path):
    metrics.check_metrics(complete, FILE)
    artifacts.write_json(tmp_path / "metrics.json", complete)
    again = artifacts.read_json(tmp_path / "metrics.json")
    metrics.check_metrics(again, FILE)
    assert again == complete


@pytest.mark.parametrize(
    "path",
    [
        *("schema_version", "cell", "cell.seed", "metrics.top1", "metrics.mean_per_class", "metrics.per_class"),
        *("metrics.n", "cost.batches", "cost.seconds", "cost.loops", "provenance", "provenance.digest"),
        *("provenance.parameters", "provenance.readings", "provenance.seeds", "provenance.weights", "provenance.ids"),
        *("provenance.stages", "provenance.versions", "provenance.git", "provenance.device", "provenance.threads"),
    ],
)
def test_a_missing_field_is_named_with_its_file(complete, path):
    with pytest.raises(ArtifactError) as error:
        metrics.check_metrics(without(complete, path), FILE)
    assert f"{FILE} is no complete metrics file: {path} is missing." in str(error.value)


@pytest.mark.parametrize(
    ("block", "change", "message"),
    [
        ("metrics", {"top1": 93.0}, "metrics.top1 is 93.0"),
        ("metrics", {"top1": float("nan")}, "metrics.top1 is nan"),
        ("metrics", {"n": 0}, "metrics.n is 0"),
        ("cell", {"loop": 3}, "cell.loop"),
        ("cost", {"seconds": {"finetune": 1.0, "select": 0.5}}, "seconds of finetune are less than those of its loops"),
        ("provenance", {"weights": {"final": "abc"}}, "provenance.weights.final is 'abc'"),
        ("provenance", {"ids": {}}, "provenance.ids"),
    ],
)
def test_what_cannot_be_true_is_refused(complete, block, change, message):
    complete[block] |= change
    with pytest.raises(ArtifactError, match=message):
        metrics.check_metrics(complete, FILE)


def test_a_file_of_an_older_schema_is_told_in_one_sentence(complete):
    older = {key: value for key, value in complete.items() if key != "cost"} | {"schema_version": 0}
    with pytest.raises(ArtifactError) as error:
        metrics.check_metrics(older, FILE)
    assert str(error.value).startswith(f"{FILE} was written under schema 0, this version reads 1; evaluate the cell")
    assert "cost" not in str(error.value)


def test_all_problems_are_told_together(complete):
    broken = without(without(complete, "metrics.n"), "provenance.ids")
    with pytest.raises(ArtifactError, match=r"metrics\.n is missing; provenance\.ids is missing"):
        metrics.check_metrics(broken, FILE)


def test_cost_adds_the_loops():
    cost = metrics.cost(60, [{"select": 0.5, "finetune": 2.0}, {"finetune": 3.0}], {"evaluate": 1.0, "finetune": 0.25})
    assert cost["seconds"] == {"evaluate": 1.0, "finetune": 5.25, "select": 0.5}
    assert [timing["loop"] for timing in cost["loops"]] == [1, 2]


def test_one_class_against_all_others_is_checked_and_carried(complete):
    shares = {"recall_argmax": 0.9, "recall_half": 0.8, "binary_accuracy": 0.97, "balanced_accuracy": 0.89}
    assert [metrics.table_row(complete)[name] for name in metrics.ONE_VS_ALL] == [None] * 4
    complete["metrics"]["one_vs_all"] = {"target": "zero", **shares}
    metrics.check_metrics(complete, FILE)
    row = metrics.table_row(complete)
    assert {name: row[name] for name in metrics.ONE_VS_ALL} == shares
    assert row["top1"] == 0.9
    with pytest.raises(ArtifactError, match=r"metrics\.one_vs_all\.recall_half is missing"):
        metrics.check_metrics(without(complete, "metrics.one_vs_all.recall_half"), FILE)
    complete["metrics"]["one_vs_all"]["binary_accuracy"] = 97.0
    with pytest.raises(ArtifactError, match=r"binary_accuracy is 97\.0"):
        metrics.check_metrics(complete, FILE)


def test_table_row(complete):
    row = metrics.table_row(complete, origin="published")
    assert row["top1"] == 0.9
    assert (row["dataset"], row["seed"], row["status"], row["origin"]) == ("digits", 0, "measured", "published")
    assert row["digest"] == complete["provenance"]["digest"]


# --- what the selections of a cell are like ---------------------------------------------------------------------------


def diagnostics(**changed):
    """Return what one selection logs, in round numbers."""
    logged = {
        "loss_ratio": 1.5,
        "loss_z": 4.0,
        "overlap_top_loss": 0.25,
        "overlap_initial": 0.5,
        "overlap_previous": 0.125,
        "classes_covered": 8,
        "classes_expected": 6.4,
        "objective_of_selected": -3.0,
        "objective_of_random_mean": -2.0,
        "objective_of_random_sd": 0.25,
        "seconds": 2.0,
        "mislabelled_share": 0.25,
        "class_histogram": [3, 0, 1],
        "warnings": ["not a number"],
    }
    return logged | changed


def test_facts_are_means_over_the_loops_after_the_first():
    first = diagnostics(loss_ratio=100.0, overlap_previous=None, seconds=1e6, objective_of_random_sd=None)
    later = diagnostics(loss_ratio=2.5, loss_z=-1.0, classes_covered=4, objective_of_selected=-1.0, seconds=3.0)
    later["class_histogram"] = [0, 1, 3]
    facts = metrics.selection_facts([first, diagnostics(), later], [0.5, 0.25, 1.0, None])
    assert facts == {
        "loss_ratio": 2.0,
        "loss_z": 1.5,
        "overlap_top_loss": 0.25,
        "overlap_initial": 0.5,
        "overlap_previous": 0.125,
        "class_coverage": pytest.approx((8 / 6.4 + 4 / 6.4) / 2),
        "objective_gain": pytest.approx((1 / 0.25 - 1 / 0.25) / 2),
        "select_seconds": 2.5,
        "mislabelled_share": 0.25,
        "class_imbalance": (0.75 - 0.25 + 2 * 0.25) / 2,  # three of four images are of one class, two classes have none
        "recall_gap_latest": 1.0 - 0.5,  # the second class has an equal share, the fourth no test image
        "recall_gap_before": 0.5 - 0.25,
    }
    assert tuple(facts) == metrics.SELECTION


RECALLS = [0.5, 0.25, 1.0]  # of three classes


def test_gaps_by_hand():
    assert metrics.recall_gap([0.9, 0.8, 0.1, 0.3], [6, 4, 1, 1]) == pytest.approx(0.85 - 0.2)
    assert metrics.recall_gap([0.9, 0.8, 0.1, 0.3], [6, 6]) == pytest.approx(0.85 - 0.2)  # the last two have no image
    assert metrics.recall_gap([0.9, 0.8], [3, 3]) is None
    assert metrics.recall_gap([0.9, None], [4, 2]) is None
    assert metrics.recall_gap([], []) is None


@pytest.mark.parametrize(("histogram", "distance"), [([5, 5], 0.0), ([10], 0.5), ([9, 1], 0.4), ([1, 9], 0.4)])
def test_imbalance_by_hand(histogram, distance):
    assert metrics.class_imbalance(histogram, 2) == pytest.approx(distance)


def test_imbalance_of_random_sets_is_what_its_docstring_says():
    drawn = np.random.default_rng(0).multinomial(250, [0.1] * 10, size=2000)
    found = np.mean([metrics.class_imbalance(histogram.tolist(), 10) for histogram in drawn])
    assert found == pytest.approx(math.sqrt(10 / (2 * math.pi * 250)), rel=0.1)


def test_recalls_are_in_the_order_of_labels_which_json_does_not_keep(complete):
    """zero, one: labels 0, 1; sorted names are the other way round, and only class folders are known to be sorted."""
    assert metrics.class_recalls(complete) == []
    told = complete["metrics"] | {"classes": ["zero", "one"]}
    assert metrics.class_recalls(complete | {"metrics": told}) == [1, None]
    complete["provenance"]["parameters"]["pool"] = {"source": "image_folder"}
    assert metrics.class_recalls(complete) == [None, 1]


def test_classes_are_those_of_the_recalls(complete):
    complete["metrics"]["classes"] = ["zero", "two"]
    with pytest.raises(ArtifactError, match="classes are not those of per_class"):
        metrics.check_metrics(complete, "a file")


def test_facts_of_a_single_selection_are_its_own():
    facts = metrics.selection_facts([diagnostics(overlap_previous=None)])
    assert (facts["loss_ratio"], facts["class_coverage"], facts["objective_gain"]) == (1.5, 1.25, 4.0)
    assert facts["overlap_previous"] is None


@pytest.mark.parametrize(
    ("missing", "fact"),
    [
        ({"loss_z": None}, "loss_z"),
        ({"classes_expected": None}, "class_coverage"),
        ({"objective_of_random_sd": None}, "objective_gain"),
        ({"objective_of_random_sd": 0.0}, "objective_gain"),
        ({"seconds": None}, "select_seconds"),
    ],
)
def test_a_number_that_one_loop_lacks_is_unknown_for_the_cell(missing, fact):
    facts = metrics.selection_facts([diagnostics(), diagnostics(), diagnostics(**missing)], RECALLS)
    assert [name for name, value in facts.items() if value is None] == [fact]
    first = metrics.selection_facts([diagnostics(**missing), diagnostics()], RECALLS)
    assert all(value is not None for value in first.values())


def test_selectors_that_log_nothing_and_cells_without_a_log_have_no_facts():
    nothing = dict.fromkeys(metrics.SELECTION)
    assert metrics.selection_facts([]) == nothing
    assert metrics.selection_facts([{}, {}]) == nothing


@pytest.mark.parametrize("said", [None, [], [{"k": 3}], [{"k": 3, "pool_size": 9}, {}]])
def test_a_cell_that_does_not_say_how_much_was_selected_is_evaluated_again(complete, said):
    complete["provenance"]["selection"] = [{"k": 3, "pool_size": 9}]
    assert metrics.selections_of(complete, FILE) == [{"k": 3, "pool_size": 9}]
    complete["provenance"]["selection"] = said
    with pytest.raises(ArtifactError, match=f"{FILE} does not say how much was selected; evaluate the cell again"):
        metrics.selections_of(complete, FILE)


def test_a_row_carries_the_facts_and_the_ids_of_every_loop_in_order(complete):
    """Ten loops and more: their names do not sort as text."""
    assert {name: metrics.table_row(complete)[name] for name in metrics.SELECTION} == dict.fromkeys(metrics.SELECTION)
    hashes = {f"loop{loop}": f"{loop:x}" * 64 for loop in range(1, 10)}
    hashes |= {"loop10": "e" * 64, "loop11": "f" * 64}
    complete["provenance"]["ids"] = dict(sorted(hashes.items()))  # as in the file
    complete["provenance"]["selection"] = [diagnostics(loss_z=float(loop)) for loop in range(1, 12)]
    metrics.check_metrics(complete, FILE)
    row = metrics.table_row(complete)
    assert [name[0] for name in row["ids"].split()] == [*"123456789", "e", "f"]
    assert row["loss_z"] == sum(range(2, 12)) / 10
    assert row["overlap_initial"] == 0.5
    assert list(row)[-3:] == ["origin", "digest", "published_top1"]
