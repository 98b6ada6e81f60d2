"""Readings as numbers: paired differences, overlaps of ids, what people read of them, and the figure."""

import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from collected import check_latex, collected, one_line

from vecaf import readings as choices
from vecaf.artifacts import ids_hash
from vecaf.errors import ConfigError
from vecaf.reporting import contrasts, deviations, figure, readings, specification_curve, tuning

GAINS = {
    "vecaf_lambda_1": -0.02,
    "vecaf_no_cea": 0.01,
    "activeft": -0.03,
    "activeft_paper": -0.05,
    "vecaf_step_1": -0.6,
}


def accuracy(cell):
    """Return 0.80, 0.82, 0.84 by seed, moved by what the method's reading is worth, and by 0.001·seed for variants."""
    gain = GAINS.get(cell.method, 0.0)
    value = 0.80 + 0.02 * cell.seed + gain + (0.001 * cell.seed if gain else 0)
    recall = value if "_cat" in cell.method else None
    return {"top1": value, "mean_per_class": value, "recall_argmax": recall, "loss_ratio": 1.5, "select_seconds": 2.0}


def told(study):
    spec = study.config.exhibits["readings"]
    common = {"title": spec.title, "notes": ["a note of the study"], "config_digest": "abc", "exhibit": "readings"}
    return common | {
        "contrasts": choices.contrasts(study, "readings"),
        "choices": choices.defaults(study, "readings"),
    }


@pytest.fixture(scope="module")
def layout(paper):
    return told(paper)


@pytest.fixture(scope="module")
def rows(paper):
    return collected(paper, "readings", accuracy)


def of(found, method, dataset="cifar10"):
    return next(item for item in found if (item.spec["method"], item.spec["dataset"]) == (method, dataset))


def test_differences_are_paired_by_seed(rows, layout):
    found = contrasts.build(rows, layout)
    difference = of(found, "vecaf_lambda_1").from_base
    assert (difference.estimate, difference.n) == (pytest.approx(-0.019), 3)
    half = 4.302653 * 0.001 / np.sqrt(3)  # t of 2 degrees of freedom; the differences are −.020, −.019, −.018
    assert (difference.low, difference.high) == (pytest.approx(-0.019 - half), pytest.approx(-0.019 + half))
    assert of(found, "vecaf").from_base is None
    assert of(found, "vecaf").from_reference.estimate == pytest.approx(0.029)
    assert of(found, "activeft").from_reference is None


def test_seeds_of_one_side_only_are_left_out(paper, layout):
    left_out = {("vecaf_lambda_1", 0)}
    some = collected(paper, "readings", lambda cell: None if (cell.method, cell.seed) in left_out else accuracy(cell))
    found = of(contrasts.build(some, layout), "vecaf_lambda_1")
    assert (len(found.values), found.planned, found.from_base.n) == (2, 3, 2)


def test_one_class_against_all_others_is_judged_by_recall(rows, layout):
    found = of(contrasts.build(rows, layout), "vecaf_cat_sum")
    assert (found.metric, found.values[0]) == ("recall_argmax", 0.80)


def test_overlaps_of_ids_are_jaccard_indices_after_the_first_loop(paper, layout):
    sets = {
        ("vecaf", 0): [[0, 1], [1, 2, 3], [4, 5]],
        ("vecaf", 1): [[0, 1], [1, 2, 9], [6, 7]],
        ("vecaf_lambda_1", 0): [[8, 9], [1, 2, 4], [4, 5]],
        ("vecaf_lambda_1", 1): [[8, 9], [1, 2, 9], [6, 8]],
    }
    names = {key: [ids_hash(np.array(ids)) for ids in loops] for key, loops in sets.items()}

    def numbers(cell):
        key = (cell.method, cell.seed)
        return accuracy(cell) | {"ids": " ".join(names.get(key, []))} if cell.seed < 2 else None

    parts = {ids_hash(np.array(ids)): ids for loops in sets.values() for ids in loops}
    table = pd.concat([pd.DataFrame({"ids_hash": name, "id": ids}) for name, ids in parts.items()])
    found = contrasts.build(collected(paper, "readings", numbers), layout, table)
    assert of(found, "vecaf_lambda_1").shared_with_base == pytest.approx((2 / 4 + 1 + 1 + 1 / 3) / 4)
    assert of(found, "vecaf").between_seeds == pytest.approx((2 / 4 + 0) / 2)
    assert of(found, "vecaf").shared_with_base is None
    assert of(found, "vecaf_no_cea").between_seeds is None


def test_a_layout_without_contrasts_is_refused(rows):
    with pytest.raises(ConfigError, match="lacks contrasts"):
        contrasts.build(rows, {"title": "x"})


def test_the_table_says_what_each_choice_does_and_what_is_left_of_cea(rows, layout):
    built = readings.build(rows, layout)
    text = one_line(built)
    assert "ods.diversity = 1.0 | 80.10 ± 1.21 | 3 of 3 | −1.90 (−2.15 to −1.65)" in text
    assert "## CIFAR-10, 2 %, 3 loops" in built.to_markdown()
    left = built.to_markdown().split("## What is left of CEA: CIFAR-10, 2 %, 3 loops")[1].split("##")[0]
    assert [line.split("|")[1].strip() for line in left.splitlines() if "captioner" in line][:1] == [
        "captioner = attributes_unnamed"
    ]
    assert "−1.10 (−1.35 to −0.85)" in left  # the default minus no CEA: differences −.010, −.011, −.012
    assert "a note of the study" in text
    assert check_latex(built.to_latex()) == len(built.groups)
    csv = pd.read_csv(__import__("io").StringIO(built.to_csv_text()))
    assert len(csv) == len(layout["contrasts"])
    assert csv.set_index("reading").loc["ods.diversity = 1.0", "minus_base"] == pytest.approx(-0.019)
    assert tuning.build is readings.build


def test_nothing_measured_is_said_and_not_guessed(paper, layout):
    nothing = collected(paper, "readings", lambda cell: None)
    text = one_line(readings.build(nothing, layout))
    assert "not run | 0 of 3 | —" in text
    assert f"{len(layout['contrasts'])} of {len(layout['contrasts'])} lines have cells that are not measured" in text
    assert "not measured by this study" in one_line(deviations.build(nothing, layout))
    assert specification_curve.build(nothing, layout).records == ()


def test_the_log_of_deviations_has_defaults_and_effects_of_one_decision_each(rows, layout):
    built = {record["reading"]: record for record in deviations.build(rows, layout).records}
    assert built["ods.diversity"]["ours"] == "ods.diversity = 0.1"
    assert "ods.diversity = 1.0 on CIFAR-10: −1.90 (−2.15 to −1.65)" in built["ods.diversity"]["effect"]
    assert "vecaf_released" not in str(built)
    several = [name for name, record in built.items() if "cea.attention = unit, cea.step" in record["effect"]]
    assert several == []  # the released method changes many decisions at once and is evidence for none
    assert all(record["paper"] and record["why"] for record in built.values())


def test_every_reading_of_the_log_is_one_of_the_study(layout):
    known = set(layout["choices"]) | {key for spec in layout["contrasts"] for key in spec["changes"]}
    known |= {"recipe.learning_rate", "recipe.batch_size"}  # of small studies
    assert {key for deviation in deviations.LOG for key in deviation.readings} <= known


def test_the_curve_is_sorted_and_activefts_own_reading_is_one_of_it(rows, layout):
    specs = specification_curve.specifications(contrasts.build(rows, layout))
    estimates = [spec.difference.estimate for spec in specs]
    assert estimates == sorted(estimates)
    own = next(spec for spec in specs if spec.label == "activeft.objective = paper")
    assert (own.reference, own.difference.estimate) == ("activeft_paper", pytest.approx(0.049))
    assert {spec.family for spec in specs} == set(specification_curve.FAMILIES)
    assert sum(spec.label == "default" for spec in specs) == 2  # CIFAR-10, and Caltech-101 for the split rule


def test_the_figure_draws_every_record(rows, layout):
    built = specification_curve.build(rows, layout)
    axes = built.canvas.axes[0]
    points = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert len(points) == len(built.records) == len(axes.get_yticklabels())
    edge = axes.get_xlim()[1] / 1.05
    values = [100 * record["difference"] for record in built.records]
    drawn = [float(line.get_xdata()[0]) for line in points]
    assert drawn == pytest.approx([max(-edge, min(edge, value)) for value in values])
    outside = [value for value in values if abs(value) > edge]
    assert [text.get_text() for text in axes.texts] == [contrasts.signed(value, 0) for value in outside]
    assert outside
    assert "n = 3 seeds" in built.caption


def test_files_are_the_same_bytes_in_another_process(tmp_path):
    code = """
import sys
from pathlib import Path
from vecaf.reporting import figure
canvas, axes = figure.canvas(3, 2)
axes.plot([0, 1], [1, 2], label="a")
canvas.legend(loc="outside lower center")
figure.Figure(canvas, ({"a": 1.0, "b": None},), "caption").save(Path(sys.argv[1] + ".png"), Path(sys.argv[1] + ".pdf"))
"""
    hashes = []
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
        files = [tmp_path / f"{name}.{ending}" for ending in ("png", "pdf")]
        hashes.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert hashes[0] == hashes[1]


def test_a_figures_csv_is_plain():
    made = figure.Figure(None, ({"a": 0.123456789, "b": None, "c": "x"},), "")
    assert made.to_csv_text() == "a,b,c\n0.123457,,x\n"
    assert figure.Figure(None, (), "").to_csv_text() == "\n"
