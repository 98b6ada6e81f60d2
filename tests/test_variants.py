"""Every variant of the exhibits of readings: its name says what it changes, and no step differs in anything else."""

import json
from dataclasses import replace

import pytest

from vecaf import augmentation, config, readings
from vecaf.artifacts import canonical
from vecaf.config.merging import merge
from vecaf.grid import Cell
from vecaf.selection import ods
from vecaf.study import Study

# Of VeCAF on CIFAR-10, as its text and section 3 of the design say it.
DEFAULTS = {
    "ods.objective": "eq7",
    "ods.diversity": 0.1,
    "ods.ensemble": 5,
    "ods.debias": "best_member",
    "ods.center": False,
    "ods.iterations": 300,
    "ods.until_convergence": True,
    "ods.rows": None,
    "ods.learning_rate": 0.001,
    "ods.first_loop": "random_head",
    "cea.attention": "relative",
    "cea.step": 0.1,
    "cea.noise": 0.0,
    "cea.projection": "orthogonal",
    "cea.ridge_fit": "pool",
    "cea.scope": "pool",
    "cea.in_finetune": True,
    "cea": "on",
    "captioner": "blip2",
    "encoder": "clip_l",
    "loop.accumulate": False,
    "loop.optimizer_state": "carry",
    "recipe": "paper",
    "recipe.head_lr_multiplier": "default",
    "objective.form": "logsumexp",
    "objective.in_finetune": True,
    "activeft.objective": "released",
    "top_k_loss.first_loop": "random_head",
    "head": "default",
    "eval_transform": "squash224",
    "split_rule": "stratified_80_20",
}
ONE_MEMBER = {"ods.ensemble": 1, "ods.debias": "none"}
ONE_HOT = {"captioner": "class_name", "encoder": "one_hot"}
# What VeCAF and ActiveFT both make the other way.
PAIRED = {
    "accumulate": {"loop.accumulate": True},
    "reset": {"loop.optimizer_state": "reset"},
    "recipe_released": {"recipe": "released"},
    "head_20": {"recipe.head_lr_multiplier": 20.0},
    "cat": {},
    "cat_sum": {"objective.form": "sum"},
    "cat_selection": {"objective.in_finetune": False},
}
# method → what it makes the other way; those that no method stands above make nothing another way.
CHANGES = {
    **{f"{method}_{name}": changed for method in ("vecaf", "activeft") for name, changed in PAIRED.items()},
    "vecaf": {},
    "activeft": {},
    "top_k_loss": {},
    "vecaf_no_cea": {"cea": "none"},
    "vecaf_uniform": {"ods.objective": "uniform"},
    "vecaf_released": {
        **{"ods.objective": "released", "ods.diversity": 1.0, "ods.debias": "released"},
        "ods.until_convergence": False,
        **{"cea.attention": "unit", "cea.step": 1.2, "cea.noise": 0.001, "cea.projection": "identity"},
        "cea.in_finetune": False,
    },
    "vecaf_released_objective": {"ods.objective": "released", "ods.diversity": 1.0},
    "vecaf_lambda_0": {"ods.diversity": 0.0},
    "vecaf_lambda_1": {"ods.diversity": 1.0},
    "vecaf_centered": {"ods.center": True},
    "vecaf_centered_lambda_1": {"ods.center": True, "ods.diversity": 1.0},
    "vecaf_one_member": ONE_MEMBER,
    "vecaf_one_member_long": ONE_MEMBER | {"ods.iterations": 1500, "ods.until_convergence": False},
    "vecaf_one_member_fast": ONE_MEMBER | {"ods.learning_rate": 0.01},
    "vecaf_literal": {"ods.debias": "literal"},
    "vecaf_released_debias": {"ods.debias": "released"},
    "vecaf_matched_mean": {"ods.debias": "matched_mean"},
    "vecaf_matched": {"ods.debias": "matched"},
    "vecaf_100_steps": {"ods.iterations": 100, "ods.until_convergence": False},
    "vecaf_300_steps": {"ods.until_convergence": False},
    "vecaf_rows": {"ods.rows": 1000, "ods.until_convergence": False},
    "vecaf_first_uniform": {"ods.first_loop": "uniform"},
    "vecaf_first_class_mean": {"ods.first_loop": "class_mean"},
    "vecaf_attention_literal": {"cea.attention": "literal"},
    "vecaf_attention_unit": {"cea.attention": "unit"},
    "vecaf_step_03": {"cea.step": 0.3},
    "vecaf_step_1": {"cea.step": 1.0},
    "vecaf_step_released": {"cea.step": 1.2, "cea.noise": 0.001},
    "vecaf_identity": {"cea.projection": "identity"},
    "vecaf_pca": {"cea.projection": "pca"},
    "vecaf_ridge": {"cea.projection": "ridge"},
    "vecaf_ridge_selected": {"cea.projection": "ridge", "cea.ridge_fit": "selected", "cea.scope": "selected"},
    "vecaf_scope_selected": {"cea.scope": "selected"},
    "vecaf_not_in_finetune": {"cea.in_finetune": False},
    "vecaf_unnamed": {"captioner": "attributes_unnamed"},
    "vecaf_shuffled": {"captioner": "blip2_shuffled"},
    "vecaf_keyword": {"captioner": "blip2_keyword"},
    "vecaf_one_hot": ONE_HOT,
    "vecaf_ridge_unnamed": {"cea.projection": "ridge", "captioner": "attributes_unnamed"},
    "vecaf_ridge_shuffled": {"cea.projection": "ridge", "captioner": "blip2_shuffled"},
    "vecaf_ridge_one_hot": {"cea.projection": "ridge"} | ONE_HOT,
    "activeft_paper": {"activeft.objective": "paper"},
    "activeft_class_mean": {"head": "class_mean"},
    "top_k_loss_class_mean": {"top_k_loss.first_loop": "class_mean"},
}
# Parameters with one value each in the design.
UNCHANGED = {"ods.temperature", "ods.shrinkage", "cea.ridge_penalty"}


@pytest.fixture(scope="module")
def found(paper):
    return readings.contrasts(paper, "readings")


@pytest.fixture(scope="module")
def digits(laid_over):
    return Study(config.load(laid_over("config/digits.yaml", "config/readings_digits.yaml")))


@pytest.fixture(scope="module")
def tuning(laid_over):
    files = ("config/digits.yaml", "config/small_images.yaml", "config/tuning.yaml")
    return Study(config.load(laid_over(*files)))


def on_cifar10(found):
    return {spec["method"]: spec for spec in found if spec["dataset"] == "cifar10"}


def test_the_exhibit_shows_these_variants_and_no_other(found):
    assert set(on_cifar10(found)) == set(CHANGES)


@pytest.mark.parametrize("method", CHANGES)
def test_a_variant_changes_what_its_name_says_and_nothing_else(found, method):
    expected = {key: [DEFAULTS[key], value] for key, value in CHANGES[method].items()}
    assert on_cifar10(found)[method]["changes"] == expected


# --- against what the steps are told ----------------------------------------------------------------------------------

# Where a reading stands in the parameters of a cell's steps, list positions left out.
PLACES = {
    "ods": ["selection.params.{}"],
    "activeft": ["selection.params.{}"],
    "top_k_loss": ["selection.params.{}"],
    "cea": ["cea.{}", "finetune.cea.cea.{}"],
    "captioner": ["text.captioner."],
    "encoder": ["text.encoder."],
    "loop.accumulate": ["finetune.accumulate"],
    "loop.optimizer_state": ["finetune.training.optimizer_state"],
    "recipe": ["finetune.training.recipe"],
    "recipe.head_lr_multiplier": ["finetune.training.overrides.head_lr_multiplier"],
    "objective.form": ["score.objective.form", "head.objective.form", "finetune.objective.form"],
    "objective.in_finetune": ["finetune.objective"],
    "eval_transform": ["score.eval_transform", "finetune.eval_transform", "pool.dataset"],
    "split_rule": ["pool.split_rule", "pool.dataset"],
    "head": ["head.head"],
}


def places(key):
    """Return the beginnings of what a reading may change in the parameters."""
    part, _, name = key.partition(".")
    if key == "cea":
        return ["cea", "finetune.cea", "text"]
    if key == "cea.in_finetune":
        return ["cea.in_finetune", "finetune.cea"]
    if name == "first_loop":
        return ["selection.params.first_loop", "head.head"]
    return [place.format(name) for place in PLACES.get(key) or PLACES[part]]


def flat(value, path=()):
    """Return every leaf of nested parameters, under its path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {where: leaf for key, part in items for where, leaf in flat(part, (*path, key)).items()}
    return {path: value}


def differing(study, spec, dataset, method):
    """Return the names of parameters in which a contrast's cell differs from that of another dataset or method."""
    own = Cell(*(spec[key] for key in ("dataset", "backbone", "method", "ratio", "schedule")), seed=0)
    mine, theirs = (flat(study.resolved(cell)) for cell in (own, replace(own, dataset=dataset, method=method)))
    paths = {path for path in mine.keys() | theirs.keys() if mine.get(path, "absent") != theirs.get(path, "absent")}
    return {".".join(key for key in path if isinstance(key, str)) for path in paths}


@pytest.mark.parametrize("study", ["paper", "digits"])
def test_no_step_is_told_anything_else_than_the_changes_name(study, request):
    study = request.getfixturevalue(study)
    for spec in readings.contrasts(study, "readings"):
        different = differing(study, spec, *spec["base"])
        allowed = [place for key in spec["changes"] for place in places(key)]
        assert not {name for name in different if not name.startswith(tuple(allowed))}, spec["method"]
        for key in spec["changes"]:
            assert any(name.startswith(tuple(places(key))) for name in different), (spec["method"], key)


def test_a_baseline_is_told_the_same_outside_selection_and_augmentation(found, paper):
    own = ("selection.", "cea", "text", "finetune.cea")
    for spec in found:
        if spec["reference"] is not None:
            different = differing(paper, spec, spec["dataset"], spec["reference"])
            assert not {name for name in different if not name.startswith(own)}, spec["method"]
    of = {spec["method"]: spec["reference"] for spec in found}
    assert of["vecaf_first_class_mean"] == of["top_k_loss_class_mean"] == "activeft_class_mean"
    compared = {spec["method"] for spec in found if spec["reference"] is None}
    assert compared == {method for method in CHANGES if method.startswith("activeft")}


def references(paper_raw, methods, more=None):
    """Return method → reference of an exhibit that shows these methods."""
    block = {"datasets": {"cifar10": ["2pct"]}, "methods": methods}
    raw = merge(paper_raw, {"methods": more or {}, "exhibits": {"readings": {"blocks": [block]}}})
    found = readings.contrasts(Study(config.load(raw)), "readings")
    return {spec["method"]: spec["reference"] for spec in found}


def test_of_several_baselines_with_the_same_choices_the_plain_one_is_meant(paper_raw):
    """Whatever they are called and in whichever order they stand."""
    more = {"a": {"extends": "activeft", "title": "A", "activeft": {"balance": 0.5}}}
    expected = {"a": None, "vecaf": "activeft", "activeft": None, "random": "activeft"}
    assert references(paper_raw, ["a", "vecaf", "activeft", "random"], more) == expected
    assert references(paper_raw, ["activeft", "a", "random", "vecaf"], more) == expected


def test_activeft_with_cea_is_no_baseline_of_cea(paper_raw):
    assert references(paper_raw, ["activeft_cea", "vecaf"]) == {"activeft_cea": None, "vecaf": None}
    assert references(paper_raw, ["activeft_cea", "vecaf", "activeft"])["vecaf"] == "activeft"


def test_a_baseline_that_makes_a_shared_choice_the_other_way_is_none(paper_raw):
    shown = references(paper_raw, ["vecaf", "vecaf_reset", "activeft_reset", "vecaf_cat", "activeft_accumulate"])
    assert shown == {
        "vecaf": None,
        "vecaf_reset": "activeft_reset",
        "activeft_reset": None,
        "vecaf_cat": None,
        "activeft_accumulate": None,
    }


# --- completeness -----------------------------------------------------------------------------------------------------


def test_every_parameter_of_ods_and_cea_is_made_the_other_way(found):
    known = {f"ods.{name}" for name in ods.Params.model_fields}
    known |= {f"cea.{name}" for name in augmentation.Readings.model_fields}
    changed = {key for spec in found for key in spec["changes"]}
    assert known - changed == UNCHANGED


def test_defaults_are_those_of_the_design(paper):
    chosen = readings.defaults(paper, "readings")
    shown = {key: value for key, value in DEFAULTS.items() if key in chosen}
    assert {key: chosen[key] for key in shown} == shown
    assert DEFAULTS.keys() - shown.keys() == {"cea", "head", "recipe.head_lr_multiplier"}


# --- variants of datasets ---------------------------------------------------------------------------------------------


def test_only_variants_of_a_dataset_vary_another(found):
    """Each in one choice, and for VeCAF and ActiveFT alike."""
    elsewhere = [spec for spec in found if spec["dataset"] != spec["base"][0]]
    assert {(spec["dataset"], *spec["base"], spec["reference"]) for spec in elsewhere} == {
        (variant, origin, method, reference)
        for variant, origin in (("cifar10_crop224", "cifar10"), ("caltech101_30", "caltech101"))
        for method, reference in (("vecaf", "activeft"), ("activeft", None))
    }
    changed = {
        "cifar10_crop224": {"eval_transform": ["squash224", "resize256_crop224"]},
        "caltech101_30": {"split_rule": ["stratified_80_20", "30_per_class"]},
    }
    for spec in elsewhere:
        assert spec["method"] == spec["base"][1]
        assert spec["changes"] == changed[spec["dataset"]]


def test_a_method_that_the_origin_does_not_show_varies_a_method_of_its_own_dataset(paper_raw):
    more = [{"datasets": {"caltech101_30": ["5pct"]}, "methods": ["vecaf", "vecaf_lambda_0"]}]
    study = Study(config.load(merge(paper_raw, {"exhibits": {"readings": {"blocks": more}}})))
    bases = {spec["method"]: spec["base"] for spec in readings.contrasts(study, "readings")}
    assert bases == {"vecaf": ["caltech101_30", "vecaf"], "vecaf_lambda_0": ["caltech101_30", "vecaf"]}


# --- studies of one's own ---------------------------------------------------------------------------------------------


def test_the_digits_make_every_reading_the_other_way_that_the_paper_has(found, digits):
    """But for BLIP-2 told the class and the split of Caltech-101, and with `eight` for `cat`."""
    specs = readings.contrasts(digits, "readings")
    shown = {spec["method"].replace("eight", "cat") for spec in specs}
    assert shown == {method for method in CHANGES if method != "vecaf_keyword"} | {"random"}
    theirs = {key for spec in found for key in spec["changes"]}
    assert {key for spec in specs for key in spec["changes"]} == theirs - {"split_rule"}
    assert digits.exhibits() == ["readings", "deviations", "specification_curve"]


def test_captions_of_the_digits_are_controlled_as_those_of_the_paper(digits):
    specs = {spec["method"]: spec["changes"] for spec in readings.contrasts(digits, "readings")}
    assert specs["vecaf_shuffled"] == {"captioner": ["attributes", "attributes_shuffled"]}
    assert specs["vecaf_one_hot"] == {"captioner": ["attributes", "class_name"], "encoder": ["tfidf", "one_hot"]}
    # Text as wide as the images is another encoder there: a change that the table names.
    assert specs["vecaf_identity"] == {
        "cea.projection": ["orthogonal", "identity"],
        "encoder": ["tfidf", "tfidf_96"],
    }


def test_tuning_is_judged_on_tuning_splits_with_seeds_of_its_own(tuning, paper, digits):
    assert tuning.exhibits() == ["tuning"]
    cells = tuning.cells()
    assert {tuning.dataset(cell.dataset).judged_on for cell in cells} == {"tuning"}
    reported = {cell.seed for study in (paper, digits) for cell in study.cells()}
    assert not {cell.seed for cell in cells} & reported


def test_tuning_varies_random_sets_in_the_recipe_and_vecaf_in_the_rest(tuning):
    bases = {spec["method"]: spec["base"][1] for spec in readings.contrasts(tuning, "tuning")}
    assert bases.keys() > {"random_lr_01", "random_head_20", "vecaf_lambda_03", "vecaf_one_member"}
    assert all(base == ("random" if method.startswith("random") else "vecaf") for method, base in bases.items())
    assert {spec["reference"] for spec in readings.contrasts(tuning, "tuning")} == {None}


def test_what_a_method_sets_of_the_recipe_is_named_with_the_datasets_value_before_it(tuning):
    specs = {(spec["dataset"], spec["method"]): spec["changes"] for spec in readings.contrasts(tuning, "tuning")}
    assert specs["digits_tuning", "random_lr_01"] == {"recipe.learning_rate": [0.003, 0.01]}
    assert specs["cifar10_tuning", "random_head_20"] == {
        "recipe.learning_rate": [0.003, 0.0005],
        "recipe.head_lr_multiplier": ["default", 20.0],
    }


# --- changes ----------------------------------------------------------------------------------------------------------


def test_changes_go_from_the_first_to_the_second():
    cea = {"selector": "ods", "a": 1, "captioner": "c", "encoder": "e", "prompt": "none", "cea.step": 0.1}
    without = {"selector": "ods", "a": 2}
    assert readings.changes(cea, cea) == {}
    assert readings.changes(cea, without) == {"cea": ["on", "none"], "a": [1, 2]}
    assert readings.changes(without, cea) == {"cea": ["none", "on"], "a": [2, 1]}
    assert readings.changes(cea, cea | {"prompt": "snow"}) == {"prompt": ["none", "snow"]}
    assert readings.changes(without, without | {"recipe.momentum": 0.0}) == {"recipe.momentum": ["default", 0.0]}
    assert readings.changes(without | {"recipe.momentum": 0.0}, without) == {"recipe.momentum": [0.0, "default"]}
    assert readings.changes(cea, without | {"selector": "random"}) == {"selector": ["ods", "random"]}


@pytest.mark.parametrize("exhibit", ["readings", "deviations", "specification_curve"])
def test_contrasts_are_plain_json_with_a_line_for_every_cell_of_any_seed(paper, exhibit):
    specs = readings.contrasts(paper, exhibit)
    assert json.loads(canonical(specs)) == specs
    keys = [tuple(spec[key] for key in ("dataset", "backbone", "method", "ratio", "schedule")) for spec in specs]
    assert len(set(keys)) == len(keys) == len(paper.cells(exhibit)) / 3
    assert {spec["target"] for spec in specs if "_cat" in spec["method"]} == {"cat"}
    assert {spec["root"] for spec in specs} == {"vecaf", "activeft", "top_k_loss"}
    assert {spec["dataset_title"] for spec in specs} == {
        *("CIFAR-10", "CIFAR-10, resize 256 and crop 224", "Caltech-101", "Caltech-101, 30 a class"),
    }
