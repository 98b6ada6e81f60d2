"""Variance split: mean squares by hand, a simulation whose components are known, and the table."""

import numpy as np
import pandas as pd
import pytest

from vecaf import config
from vecaf.config.merging import merge
from vecaf.errors import ConfigError
from vecaf.reporting import variance
from vecaf.study import Study

OVERLAY = {
    "shows": ["variance"],
    "methods": {
        f"{name}_t{seed}": {"extends": name, "title": f"{name} {seed}", "training_seed": seed}
        for name in ("random", "vecaf")
        for seed in (0, 1, 2)
    },
    "exhibits": {
        "variance": {
            "title": "Selection or training",
            "kind": "table",
            "blocks": [
                {"datasets": {"digits": ["5pct"]}, "methods": ["random", "vecaf"], "seeds": [0, 1, 2]},
                *(
                    {
                        "datasets": {"digits": ["5pct"]},
                        "methods": [f"random_t{seed}", f"vecaf_t{seed}"],
                        "seeds": [other for other in (0, 1, 2) if other != seed],
                    }
                    for seed in (0, 1, 2)
                ),
            ],
        }
    },
}
EFFECTS = {"random": np.array([0.0, 0.0, 0.0]), "vecaf": np.array([-0.03, 0.0, 0.03])}
TRAINED = np.array([-0.01, 0.0, 0.01])
NOISE = 0.002 * np.array([[1, -1, 0], [-1, 0, 1], [0, 1, -1]])


@pytest.fixture(scope="module")
def study(demo_raw):
    return Study(config.load(merge(demo_raw, OVERLAY)))


def measured(study, status="measured"):
    rows = []
    for cell in study.shown("variance"):
        base = cell.method.partition("_")[0]
        trained = study.training_seed(cell)
        top1 = 0.8 + EFFECTS[base][cell.seed] + TRAINED[trained] + NOISE[cell.seed, trained]
        rows.append({**vars(cell), "top1": top1, "status": status})
    return pd.DataFrame(rows)


def test_components_of_a_design_without_noise_are_its_effects():
    grid = 50 + np.array([[-3.0], [0.0], [3.0]]) + np.array([[-1.0, 0.0, 1.0]])
    selection, training, rest, p = variance.components(grid)
    assert (selection, training) == (pytest.approx(3.0), pytest.approx(1.0))
    assert rest == pytest.approx(0.0, abs=1e-6)
    assert p is None or p < 1e-6


def test_components_are_unbiased_where_none_is_cut_off():
    rng = np.random.default_rng(0)
    squares = []
    for _ in range(2000):
        grid = 2 * rng.normal(size=(4, 1)) + 1.5 * rng.normal(size=(1, 5)) + rng.normal(size=(4, 5))
        squares.append(np.square(variance.components(grid)[:3]))
    assert np.mean(squares, axis=0) == pytest.approx([4.0, 2.25, 1.0], rel=0.1)


def test_methods_are_compared_under_the_seeds_that_they_share(study):
    rows = measured(study)
    kept = rows["method"].str.startswith("vecaf") | ((rows["method"] != "random_t0") & (rows["seed"] != 0))
    some = rows.assign(status=np.where(kept, "measured", "not run"))
    pair = variance.build(some, study.layout("variance")).groups[1].lines[0]
    shared = [(seed, trained) for seed in (1, 2) for trained in (1, 2)]
    expected = np.mean([100 * (EFFECTS["random"][s] - EFFECTS["vecaf"][s]) for s, _ in shared])
    assert pair[1:] == (f"{expected:+.2f}".replace("-", "−"), "0 of 4")
    left = some[kept]
    assert variance.build(left, study.layout("variance")).groups[1].lines[0] == pair


def test_a_selection_without_effect_has_a_uniform_p():
    rng = np.random.default_rng(1)
    p = [variance.components(rng.normal(size=(1, 3)) + rng.normal(size=(3, 3)))[3] for _ in range(1000)]
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.03)


def test_own_cells_are_the_diagonal_and_variants_the_rest(study):
    random, vecaf = variance.cross(measured(study), study.layout("variance"))
    assert random.accuracy.shape == vecaf.accuracy.shape == (3, 3)
    assert vecaf.accuracy.loc[0, 2] == pytest.approx(100 * (0.8 - 0.03 + 0.01))
    assert vecaf.accuracy.loc[1, 1] == pytest.approx(80)
    assert vecaf.selection == pytest.approx(3.0, abs=0.05)
    assert vecaf.training == pytest.approx(1.0, abs=0.05)
    assert random.selection == 0.0
    assert vecaf.p < 0.001 < 0.5 < random.p


def test_the_table_says_who_is_ahead_in_how_many_pairs(study):
    text = variance.build(measured(study), study.layout("variance")).to_markdown()
    assert "3 × 3" in text
    assert "Random − VeCAF" in text
    assert "sd of selection" in text
    assert "the methods' means have a standard deviation of 0.00 points" in text


def test_what_is_not_measured_is_no_number(study):
    rows = measured(study)
    rows.loc[rows["method"] == "vecaf_t1", "status"] = "not run"
    random, vecaf = variance.cross(rows, study.layout("variance"))
    assert random.rest is not None
    assert (vecaf.selection, vecaf.p) == (None, None)
    assert len(vecaf.measured) == 7
    assert "7 of 3 × 3" in variance.build(rows, study.layout("variance")).to_markdown()


def test_an_exhibit_that_crosses_no_seeds_is_refused(demo_raw):
    plain = {
        "exhibits": {
            "variance": {**OVERLAY["exhibits"]["variance"], "blocks": OVERLAY["exhibits"]["variance"]["blocks"][:1]}
        }
    }
    with pytest.raises(ConfigError, match=r"exhibits\.variance: .*training_seed"):
        config.load(merge(demo_raw, OVERLAY | plain))


def test_the_training_seed_changes_how_a_cell_is_finetuned_and_nothing_before(study):
    cells = {cell.method: cell for cell in study.shown("variance") if cell.seed == 0}
    own, other = cells["vecaf"], cells["vecaf_t1"]
    assert study.selection_params(own, 1) == study.selection_params(other, 1)
    assert study.first_selection(own) == study.first_selection(other)
    assert study.score_params(own) == study.score_params(other)
    mine, theirs = (study.finetune_params(cell, 1)["seeds"] for cell in (own, other))
    assert {name for name in mine if mine[name] != theirs[name]} == {"batches", "augmentation"}
    as_seed_1 = next(cell for cell in study.shown("variance") if cell.method == "vecaf" and cell.seed == 1)
    assert study.finetune_params(as_seed_1, 1)["seeds"] == theirs
    assert study.digest(own) != study.digest(other)
