"""Equation 7 as a selector: what losses do to the ids, and what each reading of the text changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pools import SEEDS, make_inputs, permuted, quick

from vecaf import selection
from vecaf.errors import SelectionError
from vecaf.selection.ods import over_class_means


def ods(inputs, k=20, seeds=SEEDS, **params):
    return selection.choose(quick("ods", **params), inputs, k, seeds)


def hard_cluster(seed=0, factor=1.0):
    """Return 600 samples in ten overlapping clusters; the losses of the last cluster are multiplied.

    They overlap because a centroid serves the samples next to it: between clusters far apart none would move over.
    """
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(10), 60)
    centers = generator.normal(size=(10, 16))
    embeddings = (centers[labels] + 2.0 * generator.normal(size=(600, 16))).astype(np.float32)
    losses = generator.lognormal(sigma=0.5, size=600)
    losses[labels == 9] *= factor
    return selection.Inputs(
        np.arange(600), labels, embeddings=embeddings, losses=losses.astype(np.float32), device="cpu"
    )


@pytest.mark.parametrize("loss", [1.0, 3.7, 1e-30, 1e30])
@pytest.mark.parametrize("debias", ["best_member", "matched_mean"])
def test_uniform_losses_are_the_unweighted_form_bit_for_bit(inputs, loss, debias):
    alike = replace(inputs, losses=np.full_like(inputs.losses, loss))
    ids, found = ods(alike, debias=debias)
    wanted_ids, wanted = ods(inputs, objective="uniform", debias=debias)
    np.testing.assert_array_equal(ids, wanted_ids)
    for key in ("member_objectives", "iterations", "debiasing", "objective_after", "objective_of_random_mean"):
        assert found[key] == wanted[key]


def test_only_the_ratio_of_losses_matters(inputs):
    ids, found = ods(inputs)
    scaled_ids, scaled = ods(replace(inputs, losses=inputs.losses * 64))  # a power of two: exact
    np.testing.assert_array_equal(ids, scaled_ids)
    assert scaled["member_objectives"] == found["member_objectives"]


def test_within_classes_a_hard_class_is_like_any_other(inputs):
    """A power of two is exact, so not one id may differ; hard samples of a class are preferred still."""
    harder = replace(inputs, losses=np.where(inputs.labels == 4, 64, 1).astype(np.float32) * inputs.losses)
    plain, hard = (ods(pool, objective="within_class", iterations=400)[0] for pool in (inputs, harder))
    np.testing.assert_array_equal(plain, hard)
    for objective in ("uniform", "eq7"):
        assert not np.array_equal(plain, ods(inputs, objective=objective, iterations=400)[0])


def test_within_classes_labels_go_with_their_losses(inputs):
    order = np.random.default_rng(5).permutation(len(inputs))
    found = ods(permuted(inputs, order), objective="within_class")[0]
    np.testing.assert_array_equal(np.sort(found), np.sort(ods(inputs, objective="within_class")[0]))


def test_within_classes_a_negative_loss_is_named_as_it_came(inputs):
    losses = inputs.losses.copy()
    losses[3] = -2.5
    with pytest.raises(SelectionError, match=f"the loss of id {inputs.ids[3]} is -2.5;"):
        ods(replace(inputs, losses=losses), objective="within_class")


def test_losses_over_class_means_by_hand():
    losses, labels = np.array([1.0, 3.0, 0.0, 8.0, 0.0]), np.array([0, 0, 1, 3, 1])
    np.testing.assert_array_equal(over_class_means(losses, labels), [0.5, 1.5, 0.0, 1.0, 0.0])


def test_losses_decide(inputs):
    """The test above would be empty if losses had no effect."""
    assert not np.array_equal(ods(inputs, iterations=100)[0], ods(inputs, objective="uniform", iterations=100)[0])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_cluster_of_hard_samples_gains_share_at_the_default_diversity(seed):
    seeds = {"random_set": 0, "centroids": seed}

    def share(factor):
        inputs = hard_cluster(seed, factor)
        return (inputs.labels[ods(inputs, 40, seeds, iterations=300)[0]] == 9).mean()

    assert share(8.0) >= share(1.0) + 0.15


def test_mean_loss_of_the_selection_rises_with_equation_7_alone():
    """Principle 1 of section 3.1 holds at the default λ; the released weighting gains nothing over ActiveFT."""
    forms = {"eq7": {}, "uniform": {"objective": "uniform"}, "released": {"objective": "released", "diversity": 1.0}}
    ratios = {name: [] for name in (*forms, "activeft")}
    for seed in range(3):
        seeds, inputs = {"random_set": 0, "centroids": seed}, hard_cluster(seed, 6.0)
        for name, params in forms.items():
            ratios[name].append(ods(inputs, 40, seeds, iterations=300, **params)[1]["loss_ratio"])
        activeft = selection.choose(selection.build("activeft"), inputs, 40, seeds)[1]
        ratios["activeft"].append(activeft["loss_ratio"])
    assert min(ratios["eq7"]) > 1.5 > 1.2 > max(ratios["uniform"])
    assert np.mean(ratios["released"]) < np.mean(ratios["activeft"]) + 0.02


def test_the_first_loop_may_ignore_its_losses(inputs):
    uniform = ods(inputs, objective="uniform")[0]
    np.testing.assert_array_equal(ods(inputs, first_loop="uniform", iterations=12)[0], uniform)
    second = replace(inputs, loop=2)
    np.testing.assert_array_equal(ods(second, first_loop="uniform")[0], ods(inputs)[0])


def test_without_debiasing_member_one_stands_alone(inputs):
    one, several = (ods(inputs, debias="none", ensemble=size) for size in (1, 3))
    np.testing.assert_array_equal(one[0], several[0])
    assert len(several[1]["member_objectives"]) == 3
    assert several[1]["debiasing"]["ids_unlike_member_1"] == 0


def test_the_best_member_is_the_one_of_the_lowest_objective(inputs):
    ids, found = ods(inputs, ensemble=5)
    log, objectives = found["debiasing"], found["member_objectives"]
    assert log["member"] == int(np.argmin(objectives)) + 1
    assert found["objective_after"] == min(objectives) == log["objective_of_centroids"]
    alone = ods(inputs, debias="none")[0]
    assert log["ids_unlike_member_1"] == len(np.setdiff1d(ids, alone))


@pytest.mark.parametrize("debias", ["literal", "released", "matched_mean", "matched"])
def test_debiasing_reports_what_it_did(inputs, debias):
    log = ods(inputs, ensemble=4, debias=debias)[1]["debiasing"]
    assert -1 <= log["cosine_to_member"] <= 1
    assert log["member"] == (2 if debias == "released" else 1)
    assert 0 <= log["ids_unlike_member_1"] <= 20
    assert np.isfinite(log["objective_of_centroids"])
    if debias in ("literal", "released", "matched"):
        assert log["condition"] is None or log["condition"] >= 1


def test_centring_changes_the_sphere(inputs):
    away = replace(inputs, embeddings=inputs.embeddings + 4)  # a mean that all samples share
    plain, centred = (ods(away, center=center, iterations=100)[1]["member_objectives"] for center in (False, True))
    np.testing.assert_allclose(centred, ods(inputs, center=True, iterations=100)[1]["member_objectives"], rtol=1e-3)
    assert abs(plain[0] - centred[0]) > 0.1


def test_a_sample_of_rows_is_drawn_by_id(inputs):
    order = np.random.default_rng(1).permutation(len(inputs))
    sampled = {"rows": 30, "until_convergence": False}
    ids, found = ods(inputs, **sampled)
    np.testing.assert_array_equal(ods(permuted(inputs, order), **sampled)[0], ids)
    assert found["member_objectives"] != ods(inputs, until_convergence=False)[1]["member_objectives"]


def test_convergence_and_a_fixed_number_of_iterations(inputs):
    fast = {"learning_rate": 1e-2, "iterations": 600}
    assert max(ods(inputs, **fast)[1]["iterations"]) < 600
    assert ods(inputs, **fast, until_convergence=False)[1]["iterations"] == [600, 600]


@pytest.mark.parametrize("debias", ["best_member", "literal", "matched_mean", "matched"])
def test_a_single_centroid_in_every_debiasing(inputs, debias):
    ids, found = ods(inputs, k=1, debias=debias)
    assert len(ids) == 1
    assert np.isfinite(found["objective_of_selected"])


def test_losses_that_give_no_distribution(inputs):
    with pytest.raises(SelectionError, match="every loss is zero"):
        ods(replace(inputs, losses=np.zeros_like(inputs.losses)))
    negative = inputs.losses.copy()
    negative[3] = -0.5
    with pytest.raises(SelectionError, match=r"loss of id 7 is -0\.5"):
        ods(replace(inputs, losses=negative))


@pytest.mark.parametrize("objective", ["eq7", "released"])
def test_some_losses_may_be_zero(inputs, objective):
    losses = inputs.losses.copy()
    losses[:60] = 0
    ids, found = ods(replace(inputs, losses=losses), objective=objective)
    assert len(ids) == 20
    assert np.isfinite(found["objective_after"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"objective": "released", "diversity": 0.0}, "above 0"),
        ({"debias": "released", "ensemble": 2}, "ensemble ≥ 3"),
        ({"debias": "matched", "ensemble": 1}, "at least 2"),
        ({"rows": 30}, "until_convergence: false"),
        ({"temperature": 0.0}, "temperature"),
        ({"diversity": "0.1"}, "diversity"),
    ],
)
def test_parameters_that_contradict_each_other(params, message):
    with pytest.raises(SelectionError, match=message):
        selection.build("ods", params)


def test_a_strong_diversity_term_is_random_in_disguise():
    """Centroids that are pushed apart stay at their random start: the selection says so in words."""
    generator = np.random.default_rng(0)
    pool = make_inputs(size=400, width=48)
    pool = replace(pool, embeddings=generator.normal(size=(400, 48)).astype(np.float32))
    _, found = ods(pool, 20, diversity=1.0, ensemble=1, iterations=60)
    assert found["overlap_initial"] > 0.8
    assert any("random in disguise" in warning for warning in found["warnings"])
