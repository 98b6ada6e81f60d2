"""The table of readings as people and machines read it, line by line."""

import csv
import io

import pytest
from collected import check_latex, collected, contrasted, every_other, one_line

from vecaf import config
from vecaf.config.merging import merge
from vecaf.reporting import readings, tuning
from vecaf.study import Study

FACTS = {
    **{"loss_ratio": 1.5, "loss_z": -2.04, "overlap_top_loss": 0.25, "overlap_initial": 0.5, "overlap_previous": 0.1},
    **{"class_coverage": 0.98, "objective_gain": 6.26, "select_seconds": 12.3},
    **{"class_imbalance": 0.174, "recall_gap_latest": 0.257, "recall_gap_before": -0.266},
}
# Accuracy by seed is GAIN more than that of a default of 70, 72 and 74 %; one-hot labels gain as much as captions.
GAIN = {"vecaf": 0, "activeft": -0.03, "vecaf_no_cea": -0.02, "vecaf_one_hot": 0.001, "vecaf_shuffled": -0.01}
GAIN |= {"vecaf_one_member": 0.002, "vecaf_literal": -0.3}


def numbers(cell):
    if cell.dataset != "cifar10" or cell.method not in GAIN:
        return None
    value = 0.70 + 0.02 * cell.seed + GAIN[cell.method]
    return {"top1": value, "mean_per_class": value} | FACTS


def build(study, numbers=numbers, exhibit="readings"):
    return readings.build(collected(study, exhibit, numbers), contrasted(study, exhibit))


@pytest.fixture(scope="module")
def built(paper):
    return build(paper)


def lines(built):
    return list(csv.DictReader(io.StringIO(built.to_csv_text())))


def group(built, heading):
    return next(group for group in built.groups if group.heading == heading)


def cells_of(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_each_place_has_its_readings_and_the_two_questions_where_they_were_asked(built):
    assert [(group.heading, len(group.lines)) for group in built.groups] == [
        ("CIFAR-10, 2 %, 3 loops", 58),
        ("What is selected: CIFAR-10, 2 %, 3 loops", len(GAIN)),
        ("What is left of CEA: CIFAR-10, 2 %, 3 loops", 19),
        ("What the ensemble brings: CIFAR-10, 2 %, 3 loops", 10),
        ("CIFAR-10, resize 256 and crop 224, 2 %, 3 loops", 2),
        ("Caltech-101, 5 %, 3 loops", 2),
        ("Caltech-101, 30 a class, 5 %, 3 loops", 2),
    ]
    assert all(len(line) == len(group.header) for group in built.groups for line in group.lines)


def test_the_default_stands_above_what_varies_it(built):
    names = [line[0] for line in group(built, "CIFAR-10, 2 %, 3 loops").lines]
    first = [names.index(name) for name in ("VeCAF", "ActiveFT", "Top-K loss", "VeCAF, cat (recall)")]
    assert first[0] == 0
    assert first == sorted(first)
    assert names[first[1] + 1] == "activeft: head = class_mean"
    assert names[first[2] + 1] == "top_k_loss: top_k_loss.first_loop = class_mean"
    assert names[first[3] + 1] == "vecaf_cat: objective.form = sum (recall)"
    assert len(set(names)) == len(names)


def test_a_line_by_hand(built):
    """70, 72, 74 % less one point; all differences alike, so that their interval is a point."""
    head, line = (
        next(line for line in group(built, "CIFAR-10, 2 %, 3 loops").lines if line[0] == name)
        for name in ("VeCAF", "captioner = blip2_shuffled")
    )
    assert line[:3] == ("captioner = blip2_shuffled", "71.00 ± 1.15", "3 of 3")
    assert line[3].startswith("−1.00 ")
    assert line[3].count("−1.00") == 3
    assert line[4].startswith("+2.00 ")
    assert head[3] == "—"
    assert head[4].startswith("+3.00 ")


def test_what_is_selected_is_told_of_what_has_run(built):
    found = {line[0]: line[1:] for line in group(built, "What is selected: CIFAR-10, 2 %, 3 loops").lines}
    assert next(iter(found)) == "VeCAF"
    assert "cea.projection = ridge" not in found
    line = found["captioner = blip2_shuffled"]
    assert line[:8] == ("1.50", "−2.0", "0.25", "0.50", "—", "—", "6.3", "0.98")
    assert line[8:] == ("0.17", "+25.7 ± 0.0", "−26.6 ± 0.0")


def test_a_gap_of_some_seeds_only_is_none(paper):
    """It would be of other cells than the accuracy beside it; zero is a gap like any other."""

    def some(cell):
        facts = {"recall_gap_latest": 0.1 * cell.seed, "recall_gap_before": None if cell.seed == 1 else 0.2}
        return None if (found := numbers(cell)) is None else found | facts

    line = group(build(paper, some), "What is selected: CIFAR-10, 2 %, 3 loops").lines[0]
    assert (line[0], *line[-2:]) == ("VeCAF", "+10.0 ± 5.8", "—")


def test_what_is_left_of_cea_is_measured_against_no_cea(built):
    left = group(built, "What is left of CEA: CIFAR-10, 2 %, 3 loops")
    found = {line[0]: line[1:] for line in left.lines}
    assert found["default"][:2] == ("72.00 ± 1.15", "3 of 3")
    assert found["default"][2].startswith("+2.00 ")
    assert found["captioner = class_name, encoder = one_hot"][2].startswith("+2.10 ")
    assert found["captioner = blip2_shuffled"][2].startswith("+1.00 ")
    assert found["cea.projection = ridge"] == ("not run", "0 of 3", "—")
    assert not [name for name in found if name.startswith(("ods.", "cea = "))]


def test_what_the_ensemble_brings_stands_with_spread_and_seconds(built):
    found = {line[0]: line[1:] for line in group(built, "What the ensemble brings: CIFAR-10, 2 %, 3 loops").lines}
    assert found["default"] == ("72.00 ± 1.15", "2.00", "—", "6.3", "12.3")
    assert found["ods.debias = none, ods.ensemble = 1"] == ("72.20 ± 1.15", "2.00", "—", "6.3", "12.3")
    assert found["ods.debias = literal"][0] == "42.00 ± 1.15"
    assert found["ods.debias = matched"] == ("not run", "—", "—", "—", "—")
    assert not [name for name in found if "diversity" in name or "cea" in name]


def test_the_csv_has_a_line_for_every_reading_and_full_numbers(built, paper):
    found = {(line["dataset"], line["method"]): line for line in lines(built)}
    assert len(found) == len(lines(built)) == 64
    line = found["cifar10", "vecaf_shuffled"]
    expected = {"base": "cifar10/vecaf", "reference": "activeft", "metric": "top1", "n": "3", "seeds": "0 1 2"}
    assert {name: line[name] for name in expected} == expected
    assert line["reading"] == "captioner = blip2_shuffled"
    assert float(line["mean"]) == pytest.approx(0.71)
    assert float(line["sd"]) == pytest.approx(0.02)
    assert float(line["minus_base"]) == float(line["minus_base_low"]) == pytest.approx(-0.01)
    assert float(line["minus_reference_high"]) == pytest.approx(0.02)
    assert {name: float(line[name]) for name in FACTS} == FACTS
    assert found["cifar10", "vecaf"]["reading"] == "default"
    assert found["cifar10", "vecaf"]["minus_base"] == ""
    assert found["cifar10_crop224", "vecaf"]["base"] == "cifar10/vecaf"
    assert found["cifar10", "vecaf_cat_sum"]["metric"] == "recall_argmax"
    unmeasured = found["cifar10", "vecaf_pca"]
    assert (unmeasured["mean"], unmeasured["n"], unmeasured["minus_base"], unmeasured["loss_z"]) == ("", "0", "", "")


def test_unmeasured_lines_are_counted_and_measured_ones_kept(paper):
    built = build(paper, every_other(lambda cell: {"top1": 0.5, "mean_per_class": 0.5, "recall_argmax": 0.5} | FACTS))
    main = group(built, "CIFAR-10, 2 %, 3 loops").lines
    assert {line[2] for line in main} == {"2 of 3", "0 of 3"}
    assert {line[1] for line in main if line[2] == "0 of 3"} == {"not run"}
    assert {line[1] for line in main if line[2] == "2 of 3"} == {"50.00 ± 0.00"}
    assert "64 of 64 lines have cells that are not measured." in one_line(built)
    assert "lines have cells that are not measured" not in one_line(
        build(paper, lambda cell: {"top1": 0.5, "mean_per_class": 0.5, "recall_argmax": 0.5})
    )


def test_a_study_where_nothing_is_measured_has_the_same_lines(paper, built):
    empty = build(paper, lambda cell: None)
    kept = [len(group.lines) for group in built.groups if not group.heading.startswith("What is selected")]
    assert [len(group.lines) for group in empty.groups] == kept
    assert {line[1] for group in empty.groups for line in group.lines} == {"not run"}
    assert {float(line["n"]) for line in lines(empty)} == {0}
    assert check_latex(empty.to_latex()) == len(empty.groups)


def test_stale_cells_are_not_measured(paper):
    rows = collected(paper, "readings", numbers)
    rows.loc[rows["method"].eq("vecaf_shuffled"), "status"] = "stale"
    built = readings.build(rows, contrasted(paper, "readings"))
    stale = next(line for line in built.groups[0].lines if line[0] == "captioner = blip2_shuffled")
    assert stale[1:5] == ("stale", "0 of 3", "—", "—")
    assert "3 of their cells were run under another configuration and are left out" in one_line(built)


def test_markdown_has_a_heading_a_table_and_notes(built, paper):
    text = built.to_markdown()
    assert text.startswith("# What each reading changes\n")
    assert text.count("\n## ") == len(built.groups) + 1
    assert text.count("\n## Notes\n") == 1
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(cells_of(line)) for line in block.splitlines()}) == 1
    assert f"Digest of the configuration: {paper.digests['readings']}." in one_line(built)


def test_latex_has_a_float_for_each_part_and_the_notes_below_the_last(built):
    tex = built.to_latex()
    assert check_latex(tex) == len(built.groups)
    assert tex.count(r"\begin{minipage}") == 1
    assert tex.index(r"\begin{minipage}") > tex.rindex(r"\end{tabular}")
    assert r"\caption{What each reading changes. CIFAR-10, 2 \%, 3 loops}" in tex
    assert r"captioner = blip2\_shuffled" in tex
    assert r"$-$2.0" in tex


@pytest.mark.parametrize("varied", [["vecaf_no_cea", "vecaf_lambda_1"], ["vecaf_step_03", "vecaf_one_hot"]])
def test_a_study_without_cea_or_without_none_asks_not_what_is_left_of_it(paper_raw, varied):
    block = {"datasets": {"cifar10": ["1pct", "2pct"]}, "methods": ["vecaf", *varied]}
    study = Study(config.load(merge(paper_raw, {"exhibits": {"readings": {"blocks": [block]}}})))
    built = build(study, numbers)
    places = ("CIFAR-10, 1 %, 3 loops", "CIFAR-10, 2 %, 3 loops")
    assert [group.heading for group in built.groups] == [
        f"{what}{place}" for place in places for what in ("", "What is selected: ")
    ]
    assert {line[4] for place in places for line in group(built, place).lines} == {"—"}  # no ActiveFT to compare with


def test_ratios_are_compared_with_their_own_default(paper_raw):
    block = {"datasets": {"cifar10": ["1pct", "2pct"]}, "methods": ["vecaf", "vecaf_no_cea", "activeft"]}
    study = Study(config.load(merge(paper_raw, {"exhibits": {"readings": {"blocks": [block]}}})))

    def larger(cell):
        value = numbers(cell)["top1"] + (0.1 if (cell.ratio, cell.method) == ("2pct", "vecaf") else 0)
        return {"top1": value, "mean_per_class": value}

    found = {(line["ratio"], line["method"]): line for line in lines(build(study, larger))}
    assert float(found["1pct", "vecaf_no_cea"]["minus_base"]) == pytest.approx(-0.02)
    assert float(found["2pct", "vecaf_no_cea"]["minus_base"]) == pytest.approx(-0.12)
    assert float(found["2pct", "vecaf"]["minus_reference"]) == pytest.approx(0.13)


def test_tuning_is_the_same_table_of_its_own_exhibit(laid_over):
    files = ("config/digits.yaml", "config/small_images.yaml", "config/tuning.yaml")
    study = Study(config.load(laid_over(*files)))
    rows = collected(study, "tuning", lambda cell: 0.5 + 0.001 * cell.seed)
    built = tuning.build(rows, contrasted(study, "tuning"))
    headings = [group.heading for group in built.groups if not group.heading.startswith("What")]
    assert headings == [
        "CIFAR-10, tuning split, 2 %, 3 loops",
        "Caltech-101, tuning split, 5 %, 3 loops",
        "Digits, tuning split, 5 %, 3 loops",
    ]
    line = next(line for line in built.groups[0].lines if line[0].startswith("random: recipe.learning_rate = 0.01"))
    assert line[1:3] == ("60.05 ± 0.05", "2 of 2")
