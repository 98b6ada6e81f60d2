"""The log of deviations: complete, with the values of this configuration and the effects of the table of readings."""

import csv
import io
from collections import Counter

import pytest
from collected import check_latex, collected, contrasted, one_line

from vecaf import selection
from vecaf.reporting import contrasts, deviations

READINGS = [key for deviation in deviations.LOG for key in deviation.readings]


def numbers(cell):
    """Return accuracies that differ for every method, dataset and seed."""
    names = f"{cell.dataset}/{cell.method}"
    value = 0.5 + 0.001 * (sum(map(ord, names)) % 97) + 0.01 * cell.seed + 1e-4 * (len(names) % 5) * cell.seed**2
    return {"top1": value, "mean_per_class": value, "recall_argmax": value - 0.1 if "_cat" in cell.method else None}


@pytest.fixture(scope="module")
def layout(paper):
    return contrasted(paper, "deviations")


@pytest.fixture(scope="module")
def rows(paper):
    return collected(paper, "deviations", numbers)


@pytest.fixture(scope="module")
def records(rows, layout):
    return {record["reading"]: record for record in deviations.build(rows, layout).records}


def test_every_decision_has_the_papers_words_ours_and_a_reason(records):
    assert len(records) == len(deviations.LOG)
    assert all(isinstance(text, str) and text.strip() for record in records.values() for text in record.values())
    assert max(Counter(READINGS).values()) == 1  # an effect belongs to one decision


def test_every_default_of_vecaf_that_the_log_names_stands_there(records, layout):
    for deviation in deviations.LOG:
        said = records[deviation.readings[0]]["ours"].split(", ")
        known = [key for key in deviation.readings if key in layout["choices"]]
        chosen = [f"{key} = {contrasts.value_text(layout['choices'][key])}" for key in known]
        assert said == chosen
    assert records["split_rule"]["ours"] == "split_rule = stratified_80_20"  # Caltech-101's; CIFAR-10 has none
    assert records["ods.debias"]["ours"] == "ods.debias = best_member, ods.ensemble = 5, ods.shrinkage = 0.5"
    assert records["ods.iterations"]["ours"].endswith("ods.rows = none, ods.learning_rate = 0.001")
    assert records["cea.scope"]["ours"] == "cea.scope = pool, cea.in_finetune = true"
    assert records["loop.accumulate"]["ours"] == "loop.accumulate = false, loop.optimizer_state = carry"


def test_every_choice_of_vecaf_and_every_change_that_is_run_is_in_the_log(layout):
    """But for the selector, which is the method, other selectors' own parameters, and a method's larger budget."""
    changed = {key for spec in layout["contrasts"] for key in spec["changes"]}
    others = {key for key in layout["choices"] if key.partition(".")[0] in set(selection.names()) - {"ods"}}
    assert (changed | layout["choices"].keys()) - {"selector", "budget"} - others <= set(READINGS)


def test_effects_are_the_differences_of_the_contrasts(records, rows, layout):
    """Each decision has the contrasts that change nothing but it, in the order of the configuration."""
    found = contrasts.build(rows, layout)
    for deviation in deviations.LOG:
        inside = [item for item in found if item.spec["changes"] and set(item.spec["changes"]) <= {*deviation.readings}]
        said = records[deviation.readings[0]]["effect"].split("; ")
        if not inside:
            assert said == ["not measured by this study"]
            continue
        assert len(said) == len(inside)
        for text, item in zip(said, inside, strict=True):
            base = item.spec["base"][1]
            whose = "" if base == item.spec["root"] == "vecaf" else f"{base}: "
            recall = " of recall" if item.metric == "recall_argmax" else ""
            where = f" on {item.spec['dataset_title']}"
            assert text == f"{whose}{item.label}{where}: {contrasts.points(item.from_base)}{recall}"


def test_a_contrast_of_several_decisions_is_evidence_for_none(records, layout):
    of = {key: number for number, deviation in enumerate(deviations.LOG) for key in deviation.readings}
    several = {spec["method"] for spec in layout["contrasts"] if len({of[key] for key in spec["changes"]}) > 1}
    assert several == {
        *("vecaf_released", "vecaf_released_objective", "vecaf_centered_lambda_1", "vecaf_one_member_long"),
        *("vecaf_one_member_fast", "vecaf_ridge_selected"),
        *("vecaf_ridge_unnamed", "vecaf_ridge_shuffled", "vecaf_ridge_one_hot"),
    }
    measured = [record["effect"] for record in records.values() if "not measured" not in record["effect"]]
    said = sum(len(effect.split("; ")) for effect in measured)
    varying = sum(bool(spec["changes"]) for spec in layout["contrasts"])
    assert said == varying - len(several)


def test_effects_by_hand(records):
    """η = 0.3 is `cifar10/vecaf_step_03`: sums of characters do the arithmetic of `numbers`."""

    def value(name, seed):
        return 50 + 0.1 * (sum(map(ord, name)) % 97) + seed + 0.01 * (len(name) % 5) * seed**2

    means = [sum(value(name, seed) for seed in (0, 1, 2)) / 3 for name in ("cifar10/vecaf_step_03", "cifar10/vecaf")]
    effect = f"{means[0] - means[1]:+.2f}".replace("-", "−")
    assert f"cea.step = 0.3 on CIFAR-10: {effect} " in records["cea.step"]["effect"]


def test_on_one_dataset_its_name_is_not_said(rows, layout):
    specs = [spec for spec in layout["contrasts"] if spec["dataset"] == "cifar10"]
    built = deviations.build(rows[rows["dataset"] == "cifar10"], layout | {"contrasts": specs})
    effect = {record["reading"]: record["effect"] for record in built.records}
    assert effect["ods.center"].startswith("ods.center = true: ")
    assert effect["split_rule"] == "not measured by this study"
    assert "on CIFAR-10" not in str(built.records)


def test_an_unfinished_study_says_only_what_is_measured(paper, layout):
    def some(cell):
        return numbers(cell) if cell.method in ("vecaf", "vecaf_step_1", "vecaf_lambda_0") and cell.seed == 1 else None

    effect = {r["reading"]: r["effect"] for r in deviations.build(collected(paper, "deviations", some), layout).records}
    assert "cea.step = 1.0" in effect["cea.step"]
    assert "cea.step = 0.3" not in effect["cea.step"]
    assert "ods.diversity = 0.0" in effect["ods.diversity"]
    assert effect["recipe"] == "not measured by this study"
    assert " to " not in effect["cea.step"]  # one seed has no interval


def test_what_nothing_measured_leaves_is_the_log_itself(paper, layout, records):
    built = deviations.build(collected(paper, "deviations", lambda cell: None), layout)
    assert {record["effect"] for record in built.records} == {"not measured by this study"}
    assert [record["ours"] for record in built.records] == [record["ours"] for record in records.values()]
    assert check_latex(built.to_latex()) == 1


def test_an_exhibit_without_vecaf_still_has_a_log(rows, layout):
    built = deviations.build(rows, layout | {"choices": {}})
    assert {record["ours"] for record in built.records} == {"not chosen here: no method or dataset of this study asks"}


def test_written_for_people_and_machines(rows, layout, paper):
    built = deviations.build(rows, layout)
    lines = list(csv.DictReader(io.StringIO(built.to_csv_text())))
    assert list(lines[0]) == ["reading", "paper", "ours", "why", "effect"]
    assert [line["paper"] for line in lines] == [deviation.paper for deviation in deviations.LOG]
    text = built.to_markdown()
    assert text.startswith("# Where this study differs from the paper\n")
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(lines) + 2  # with the heading and its rule
    assert f"Digest of the configuration: {paper.digests['deviations']}." in one_line(built)
    tex = built.to_latex()
    assert check_latex(tex) == 1
    assert r"$\theta$* = $\theta$$_1$ $-$ $\Sigma$$^{-1}$($\theta$$_1$ $-$ $\mu$) over an ensemble" in tex
    assert r"\caption{Where this study differs from the paper}" in tex
    assert built.summary() == f"{len(deviations.LOG)} lines"
