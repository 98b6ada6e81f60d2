"""Contrasts of cells whose numbers are few enough for paper: which seeds are paired, and which ids are compared."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from collected import collected, contrasted

from scripts import ids as ids_step
from vecaf import artifacts, config
from vecaf.config.merging import merge
from vecaf.reporting import contrasts
from vecaf.reporting.statistics import Difference
from vecaf.study import Study

T1, T2 = math.tan(0.475 * math.pi), 0.95 * math.sqrt(2 / (1 - 0.95**2))  # Student's 97.5 % points, in closed form


def top1(values):
    """Return the numbers of cells by method, one a seed, None where it has not run; all of CIFAR-10."""

    def of(cell):
        found = values.get(cell.method, ())[cell.seed :] if cell.dataset == "cifar10" else ()
        return {"top1": found[0], "mean_per_class": 0.1} if found and found[0] is not None else None

    return of


def build(study, numbers, ids=None, exhibit="readings"):
    """Return method → contrast of CIFAR-10."""
    found = contrasts.build(collected(study, exhibit, numbers), contrasted(study, exhibit), ids)
    return {contrast.spec["method"]: contrast for contrast in found if contrast.spec["dataset"] == "cifar10"}


def test_differences_are_those_of_shared_seeds_with_students_interval(paper):
    """t quantiles: tan(0.475 π) with one degree of freedom, and p = 1 − t/√(t² + 2) with two."""
    found = build(
        paper,
        top1(
            {
                "vecaf": [0.90, 0.92, 0.88],
                "activeft": [0.85, 0.90, 0.86],
                "vecaf_accumulate": [0.91, 0.90, None],
                "activeft_accumulate": [0.80, 0.84, 0.90],
                "vecaf_reset": [0.95],
                "activeft_reset": [None, 0.7, 0.7],
            }
        ),
    )
    default = found["vecaf"].from_reference  # 0.05, 0.02, 0.02: sd 0.03/√3, standard error 0.01, t = 3
    assert (default.estimate, default.n) == (pytest.approx(0.03), 3)
    assert (default.low, default.high) == (pytest.approx(0.03 - 0.01 * T2), pytest.approx(0.03 + 0.01 * T2))
    assert default.p == pytest.approx(1 - 3 / math.sqrt(11))
    union = found["vecaf_accumulate"]
    assert union.values == {0: 0.91, 1: 0.90}
    assert union.planned == 3
    assert union.from_base.estimate == pytest.approx(-0.005)  # 0.01 and −0.02: standard error 0.015
    assert union.from_base.high == pytest.approx(-0.005 + 0.015 * T1)
    assert union.from_reference.estimate == pytest.approx((0.11 + 0.06) / 2)  # the ActiveFT that accumulates, too
    assert found["vecaf_reset"].from_base == Difference(pytest.approx(0.05), None, None, None, 1)
    assert found["vecaf_reset"].from_reference == Difference(None, None, None, None, 0)
    assert found["activeft_accumulate"].from_base.estimate == pytest.approx((-0.05 - 0.06 + 0.04) / 3)
    assert found["activeft_accumulate"].from_reference is None


def test_what_has_not_run_has_no_difference(paper):
    found = build(paper, top1({"vecaf": [0.9, 0.9, 0.9]}))
    nothing = Difference(None, None, None, None, 0)
    assert found["vecaf_lambda_0"].values == {}
    assert found["vecaf_lambda_0"].planned == 3
    assert found["vecaf_lambda_0"].from_base == found["vecaf"].from_reference == nothing
    assert set(found["vecaf_lambda_0"].selection.values()) == {None}


def test_stale_cells_do_not_count(paper):
    rows = collected(paper, "readings", top1({"vecaf": [0.9, 0.8, 0.7], "activeft": [0.5, 0.5, 0.5]}))
    rows.loc[rows["method"].eq("vecaf") & rows["seed"].eq(1), "status"] = "stale"
    found = contrasts.build(rows, contrasted(paper, "readings"))[0]
    assert found.values == {0: 0.9, 2: 0.7}
    assert found.from_reference.estimate == pytest.approx(0.3)


def test_one_class_against_all_others_is_compared_by_recall_with_its_own_kind(paper):
    def numbers(cell):
        recall = {"vecaf_cat": 0.6, "vecaf_cat_sum": 0.5, "activeft_cat_sum": 0.2}.get(cell.method)
        missing = cell.method == "vecaf_cat" and cell.seed == 2  # judged, but without a test image of the class
        return {"top1": 0.9, "mean_per_class": 0.9, "recall_argmax": None if missing else recall}

    found = build(paper, numbers)
    assert found["vecaf_cat"].metric == "recall_argmax"
    assert found["vecaf_cat"].values == {0: 0.6, 1: 0.6}
    assert found["vecaf_cat_sum"].from_base.estimate == pytest.approx(-0.1)
    assert found["vecaf_cat_sum"].from_base.n == 2
    assert found["vecaf_cat_sum"].from_reference.estimate == pytest.approx(0.3)
    assert found["vecaf"].metric == "top1"


def test_facts_of_selections_are_means_over_the_seeds_that_have_run(paper):
    def numbers(cell):
        z = {0: 2.0, 1: 5.0}.get(cell.seed)
        return {"top1": 0.9, "mean_per_class": 0.9, "loss_z": z, "loss_ratio": 1.5} if cell.seed < 2 else None

    facts = build(paper, numbers)["vecaf"].selection
    assert (facts["loss_z"], facts["loss_ratio"], facts["class_coverage"]) == (3.5, 1.5, None)
    partly = build(paper, lambda cell: {"top1": 0.9, "mean_per_class": 0.9, "loss_z": {0: 2.0}.get(cell.seed)})
    assert partly["vecaf"].selection["loss_z"] is None  # a mean of some seeds would be of other cells than accuracy


def test_accuracies_and_facts_survive_the_file(paper, tmp_path):
    """Columns without any number come back from Parquet as something else than None."""
    rows = collected(paper, "readings", top1({"vecaf": [0.9, 0.8, None], "activeft": [0.5, 0.6, 0.7]}))
    artifacts.write_table(tmp_path / "rows.parquet", rows)
    layout = contrasted(paper, "readings")
    read = contrasts.build(artifacts.read_table(tmp_path / "rows.parquet"), layout)
    assert read == contrasts.build(rows, layout)


# --- ids --------------------------------------------------------------------------------------------------------------

SETS = {
    ("vecaf", 0): [[9, 8], [1, 2, 3], [4, 5]],
    ("vecaf", 1): [[9, 8], [3, 4], [4, 5]],
    ("vecaf_lambda_1", 0): [[9, 8], [3, 2, 1], [5, 6, 7]],  # loop 2 as the default's, in another order
    ("vecaf_lambda_1", 1): [[7, 6], [1], [4, 5, 6, 7]],
    ("vecaf_accumulate", 0): [[9, 8], [2], [5]],
    ("activeft", 0): [[1], [2], [3]],
}


@pytest.fixture
def chosen(tmp_path):
    """Write every selection as the select step does, and return the table that the ids step joins them to."""
    files = []
    for number, ids in enumerate(ids for loops in SETS.values() for ids in loops):
        files.append(tmp_path / f"{number}.parquet")
        artifacts.write_table(files[-1], pd.DataFrame({"id": ids}))
    ids_step.main(["--selections", *map(str, files), "--out", str(tmp_path / "ids.parquet")])
    return artifacts.read_table(tmp_path / "ids.parquet")


def selected(cell):
    """Return the numbers of a cell that has chosen something, with the hashes of its loops."""
    if cell.dataset != "cifar10" or (cell.method, cell.seed) not in SETS:
        return None
    hashes = [artifacts.ids_hash(np.array(ids)) for ids in SETS[cell.method, cell.seed]]
    return {"top1": 0.9, "mean_per_class": 0.9, "ids": " ".join(hashes)}


def test_ids_are_shared_by_seed_and_loop_after_the_first(paper, chosen):
    found = build(paper, selected, chosen)
    # Seed 0: {1,2,3} with itself, {4,5} with {5,6,7}; seed 1: {3,4} with {1}, {4,5} with {4,5,6,7}.
    assert found["vecaf_lambda_1"].shared_with_base == pytest.approx((1 + 1 / 4 + 0 + 2 / 4) / 4)
    # Of the seed that both have: {1,2,3} with {2}, {4,5} with {5}.
    assert found["vecaf_accumulate"].shared_with_base == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found["vecaf"].shared_with_base is None
    # Seeds 0 and 1: {1,2,3} with {3,4}, {4,5} with itself; never one loop with another.
    assert found["vecaf"].between_seeds == pytest.approx((1 / 4 + 1) / 2)
    assert found["vecaf_lambda_1"].between_seeds == pytest.approx((1 / 3 + 3 / 4) / 2)
    assert found["vecaf_accumulate"].between_seeds is None
    assert found["vecaf_lambda_0"].shared_with_base is None


def test_without_ids_no_overlap_is_known(paper, chosen):
    found = build(paper, selected)
    assert {contrast.shared_with_base for contrast in found.values()} == {None}
    unknown = build(paper, selected, chosen[chosen["ids_hash"] != artifacts.ids_hash(np.array([4, 5]))])
    assert unknown["vecaf"].between_seeds == pytest.approx(1 / 4)
    assert unknown["vecaf_lambda_1"].shared_with_base == pytest.approx((1 + 0) / 2)


def test_ids_of_another_dataset_are_of_other_images(paper, chosen):
    def numbers(cell):
        return selected(replace(cell, dataset="cifar10") if cell.dataset == "cifar10_crop224" else cell)

    found = contrasts.build(collected(paper, "readings", numbers), contrasted(paper, "readings"), chosen)
    crop = next(contrast for contrast in found if contrast.spec["dataset"] == "cifar10_crop224")
    assert crop.spec["base"] == ["cifar10", "vecaf"]
    assert crop.shared_with_base is None
    assert crop.between_seeds == pytest.approx((1 / 4 + 1) / 2)


def test_of_a_single_selection_that_one_is_compared(paper_raw, chosen):
    block = {"datasets": {"cifar10": ["2pct"]}, "methods": ["vecaf", "vecaf_lambda_1"], "schedules": ["single"]}
    study = Study(config.load(merge(paper_raw, {"exhibits": {"readings": {"blocks": [block]}}})))

    def numbers(cell):
        found = selected(cell)
        return found and found | {"ids": found["ids"].split()[0]}

    found = build(study, numbers, chosen)
    assert found["vecaf_lambda_1"].shared_with_base == pytest.approx((1 + 0) / 2)
    assert found["vecaf"].between_seeds == 1


@pytest.mark.parametrize(("a", "b", "share"), [({1, 2}, {2, 3}, 1 / 3), ({1}, {1}, 1), ({1}, {2}, 0)])
def test_the_jaccard_index(a, b, share):
    assert contrasts.jaccard(frozenset(a), frozenset(b)) == contrasts.jaccard(frozenset(b), frozenset(a)) == share


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "true"), (False, "false"), (0.1, "0.1"), (1500, "1500"), ("eq7", "eq7"), ("none", "none")],
)
def test_values_of_readings_in_words(value, text):
    assert contrasts.value_text(value) == text


def test_accuracies_and_differences_in_words():
    assert contrasts.percent([0.8, 0.82, 0.84]) == "82.00 ± 1.15"  # 2/√3
    assert contrasts.percent([0.8]) == "80.00 ± n/a"
    assert contrasts.percent([]) == "not run"
    assert contrasts.points(None) == contrasts.points(Difference(None, None, None, None, 0)) == "—"
    assert contrasts.points(Difference(-0.0123, None, None, None, 1)) == "−1.23"
    assert contrasts.points(Difference(0.00001, None, None, None, 1)) == "0.00"
    written = contrasts.points(Difference(-0.012, -0.031, 0.007, 0.1, 3))
    assert written.startswith("−1.20 ")
    assert "−3.10" in written
    assert "0.70" in written
    assert [contrasts.fixed(value) for value in (None, -0.004, -1.5, 2.345)] == ["—", "0.00", "−1.50", "2.35"]


def test_a_contrast_is_named_by_its_changes_or_by_its_method(paper):
    found = build(paper, lambda cell: None)
    assert found["vecaf"].label == "VeCAF"
    assert found["vecaf_rows"].label == "ods.rows = 1000, ods.until_convergence = false"
    assert found["vecaf_not_in_finetune"].label == "cea.in_finetune = false"
    assert found["vecaf_no_cea"].label == "cea = none"
    assert found["vecaf_step_released"].label == "cea.noise = 0.001, cea.step = 1.2"
    assert [name for name, contrast in found.items() if contrast.is_base] == [
        *("vecaf", "activeft", "top_k_loss", "vecaf_cat", "activeft_cat"),
    ]
    assert len({contrast.label for name, contrast in found.items() if name.startswith("vecaf")}) == sum(
        name.startswith("vecaf") for name in found
    )
