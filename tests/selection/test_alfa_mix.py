"""ALFA-Mix: the closed form against mixtures that are made one by one, then what is chosen among the candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pools import SEEDS, after_a_loop, make_inputs

from vecaf import selection
from vecaf.errors import SelectionError
from vecaf.selection import alfa_mix
from vecaf.selection.alfa_mix import caps_needed, class_anchors, fill, loss_gradient, one_per_cluster
from vecaf.selection.base import subpool

CAPS = np.arange(1, 33) / 32  # the step of the released command line, 0.03125


def later(size=300, labelled=40, **pool):
    """Return a pool in loop 2 with a head that knows its classes, so that some samples need a larger cap."""
    return after_a_loop(make_inputs(size=size, **{"width": 16, "classes": 7, "spread": 1.0} | pool), count=labelled)


@pytest.fixture
def inputs():
    return later()


@pytest.fixture
def geometry(inputs):
    return geometry_of(inputs)


def unlabelled(inputs):
    return np.flatnonzero(~np.isin(inputs.ids, inputs.labelled))


def geometry_of(inputs):
    """Return z (M, d), weight, bias and anchors of a pool in double precision."""
    labelled = np.flatnonzero(np.isin(inputs.ids, inputs.labelled))
    weight, bias = (part.astype(np.float64) for part in inputs.head)
    anchors = class_anchors(inputs.embeddings, inputs.labels, labelled, len(weight))
    return inputs.embeddings[unlabelled(inputs)].astype(np.float64), weight, bias, anchors


def choose(inputs, k=20, seeds=SEEDS, **params):
    return selection.choose(selection.build("alfa_mix", params), inputs, k, seeds)


def autograd(z, weight, bias):
    import torch

    z, weight, bias = torch.tensor(z, requires_grad=True), torch.tensor(weight), torch.tensor(bias)
    logits = torch.nn.functional.linear(z, weight, bias)
    loss = torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1), reduction="sum")
    return torch.autograd.grad(loss, z)[0].numpy()


def mixed_by_hand(z, weight, bias, anchors, cap):
    """Return who changes class when mixed with any of the anchors, (M,) bool: every mixture made, every head asked.

    The weights α of a mixture (1 − α) z + α z* are the released ones, entry by entry, their guard against Δ = 0, too.
    """
    predicted, gradient = (z @ weight.T + bias).argmax(axis=1), autograd(z, weight, bias)
    unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    changed = np.zeros(len(z), dtype=bool)
    for anchor in anchors:
        delta = anchor - z
        alpha = cap / z.shape[1] ** 0.5 * np.linalg.norm(delta, axis=1, keepdims=True) * unit / (delta + 1e-8)
        mixed = (1 - alpha) * z + alpha * anchor
        changed |= (mixed @ weight.T + bias).argmax(axis=1) != predicted
    return changed


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_candidates_are_those_of_the_mixtures(seed):
    z, *rest = geometry_of(later(seed=seed))
    caps, flat = caps_needed(z, *rest)
    shares = []
    for cap in CAPS:
        np.testing.assert_array_equal(caps < cap, mixed_by_hand(z, *rest, cap))
        shares.append((caps < cap).mean())
    assert not flat.any()
    assert 0 < shares[0] < 0.5 < shares[-1]
    assert (np.diff(shares) >= 0).all()


def test_the_gradient_is_that_of_autograd(geometry):
    z, weight, bias, _ = geometry
    predicted, gradient = loss_gradient(z @ weight.T + bias, weight)
    np.testing.assert_array_equal(predicted, (z @ weight.T + bias).argmax(axis=1))
    np.testing.assert_allclose(gradient, autograd(z, weight, bias), rtol=0, atol=1e-12)


def test_a_tie_of_the_head_is_for_the_lowest_class_and_the_slightest_step_ends_it():
    weight, bias = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), np.zeros(3)
    z, anchors = np.zeros((1, 2)), np.array([[3.0, 4.0]])
    assert loss_gradient(z @ weight.T + bias, weight)[0] == 0
    assert caps_needed(z, weight, bias, anchors)[0] == 0
    assert mixed_by_hand(z, weight, bias, anchors, 0.01).all()


def test_a_constant_on_all_logits_changes_nothing(geometry):
    z, weight, bias, anchors = geometry
    caps, shifted = caps_needed(z, weight, bias, anchors)[0], caps_needed(z, weight, bias + 50, anchors)[0]
    np.testing.assert_allclose(shifted, caps, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e8])
def test_saturated_logits_are_never_candidates_and_never_nan(scale, geometry):
    z, weight, bias, anchors = geometry
    with np.errstate(all="raise", under="ignore"):
        caps, flat = caps_needed(z, weight * scale, bias * scale, anchors)
    assert flat.any()
    assert not np.isnan(caps).any()
    assert np.isinf(caps[flat]).all()


def test_anchors_farther_away_make_more_candidates(geometry):
    z, weight, bias, anchors = geometry
    both = np.concatenate([anchors, -anchors])  # then doubling them moves the farthest one away, whatever z is
    near, far = (caps_needed(z, weight, bias, points)[0] for points in (both, 2 * both))
    assert (far < near).all()
    assert (far < 0.2).sum() > (near < 0.2).sum()


def test_an_anchor_at_the_sample_itself_moves_nothing(geometry):
    z, weight, bias, _ = geometry
    assert np.isinf(caps_needed(z[:1], weight, bias, z[:1])[0]).all()


def test_anchors_are_class_means_and_the_common_mean_where_a_class_is_absent():
    embeddings = np.array([[2, 0], [4, 0], [0, 8], [100, 100]], dtype=np.float16)
    anchors = class_anchors(embeddings, np.array([1, 1, 3, 0]), np.array([0, 1, 2]), 5)
    common = [2, 8 / 3]
    np.testing.assert_array_equal(anchors, [common, [3, 0], common, [0, 8], common])


@pytest.mark.parametrize("step", [0.03125, 0.1, 0.2, 0.3, 1.0])
def test_the_cap_stops_at_the_first_step_with_more_than_k(step):
    caps = np.array([0.95, 0.05, 0.15, 0.35, np.inf, 0.55])
    for k in range(1, 7):
        steps = [step * turn for turn in range(1, 40) if step * turn < 1 + 1e-9]
        wanted = next((cap for cap in steps if (caps < cap).sum() > k), steps[-1])
        cap, rows = alfa_mix.candidates_below(caps, step, k)
        assert cap == pytest.approx(wanted)
        np.testing.assert_array_equal(rows, np.flatnonzero(caps < wanted))


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_each_cluster_gives_its_member_nearest_to_the_mean(init):
    generator = np.random.default_rng(0)
    z = np.repeat(np.eye(4), 25, axis=0) + 0.05 * generator.normal(size=(100, 4))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    wanted = [
        25 * group + ((z[part] - z[part].mean(axis=0)) ** 2).sum(axis=1).argmin()
        for group, part in enumerate(np.split(np.arange(100), 4))
    ]
    # Not from every start does k-means find the four groups.
    assert wanted in [np.sort(one_per_cluster(z, 4, init, seed)).tolist() for seed in range(8)]


def test_of_two_equally_near_members_the_lower_row_is_taken():
    generator = np.random.default_rng(0)
    pairs = np.repeat(np.eye(12), 2, axis=0) + 0.01 * generator.normal(size=(24, 12))
    pairs /= np.linalg.norm(pairs, axis=1, keepdims=True)
    np.testing.assert_array_equal(np.sort(one_per_cluster(pairs, 12, "k-means++", 0)), np.arange(0, 24, 2))


def test_empty_clusters_are_refilled():
    z = np.repeat(np.eye(3), [10, 5, 1], axis=0)
    rows = one_per_cluster(z, 8, "k-means++", 0)
    assert len(np.unique(rows)) == 8
    assert {0, 10, 15} <= set(rows)


@pytest.mark.parametrize("params", [{}, {"kmeans_init": "random"}, {"cap_step": 0.03125}])
def test_where_enough_change_class_they_alone_are_chosen(inputs, params):
    ids, found = choose(inputs, **params)
    candidates = inputs.ids[unlabelled(inputs)][caps_needed(*geometry_of(inputs))[0] < found["cap"]]
    assert 20 < found["candidates"] == len(candidates)
    assert found["subpool"] == 260  # all that are unlabelled
    assert found["filled"] == found["zero_gradient"] == 0
    assert found["warnings"] == []
    assert np.isin(ids, candidates).all()


def test_only_a_sub_pool_is_looked_at(inputs):
    ids, found = choose(inputs, subpool=3.0)
    rows = subpool(inputs, unlabelled(inputs), 60, SEEDS["random_set"])
    caps = caps_needed(inputs.embeddings[rows], *geometry_of(inputs)[1:])[0]
    assert found["subpool"] == 60
    assert 20 < found["candidates"] == (caps < found["cap"]).sum()
    assert np.isin(ids, inputs.ids[rows]).all()


def test_the_directions_of_only_so_many_candidates_are_clustered(inputs, monkeypatch):
    few, found = choose(inputs, max_candidates=1.0)  # as many as are chosen: nothing to cluster
    assert len(few) == 20
    assert found["filled"] == 0
    clustered = []

    def watching(z, k, init, seed):
        clustered.append(np.linalg.norm(z, axis=1))
        return np.arange(k)

    monkeypatch.setattr(alfa_mix, "one_per_cluster", watching)
    ids, found = choose(inputs, max_candidates=1.5)
    np.testing.assert_allclose(clustered, [np.ones(30)])
    assert found["candidates"] > 30
    assert len(np.unique(ids)) == 20


def test_the_seed_is_that_of_the_random_set(inputs):
    ids, _ = choose(inputs)
    np.testing.assert_array_equal(choose(inputs, seeds={"random_set": 11, "centroids": 99})[0], ids)
    assert not np.array_equal(choose(inputs, seeds={"random_set": 12, "centroids": 12})[0], ids)


def test_the_selection_is_spread_over_the_candidates():
    """Samples of the middle of clusters represent the candidates better than random ones do."""
    inputs = later(size=600, spread=0.5)
    ids, found = choose(inputs)
    caps, _ = caps_needed(*geometry_of(inputs))
    candidates = unlabelled(inputs)[caps < found["cap"]]
    z = inputs.embeddings / np.linalg.norm(inputs.embeddings, axis=1, keepdims=True)

    def cost(rows):
        return (1 - (z[candidates] @ z[rows].T).max(axis=1)).mean()

    generator = np.random.default_rng(0)
    by_chance = [cost(generator.permutation(candidates)[:20]) for _ in range(20)]
    assert cost(np.flatnonzero(np.isin(inputs.ids, ids))) < min(by_chance)


def test_all_candidates_are_taken_and_the_rest_is_drawn(inputs):
    ids, found = choose(inputs, 255)
    caps, _ = caps_needed(*geometry_of(inputs))
    candidates = inputs.ids[unlabelled(inputs)][caps < 1]
    assert len(candidates) == found["candidates"] < 255
    assert np.isin(candidates, ids).all()
    assert not np.isin(ids, inputs.labelled).any()
    assert found["cap"] == 1
    assert found["filled"] == 255 - len(candidates)
    assert f"{found['filled']} of 255 were drawn at random" in found["warnings"][0]
    assert "duplicates_replaced" not in found


def test_saturated_heads_leave_a_random_selection(inputs):
    saturated = replace(inputs, head=tuple(part * np.float32(1e6) for part in inputs.head))
    ids, found = choose(saturated)
    assert found["zero_gradient"] > 0.9
    assert found["filled"] + found["candidates"] == len(ids) == 20


def test_without_labels_all_is_random(inputs):
    first = replace(inputs, earlier=(), loop=1)
    ids, found = choose(first)
    assert (found["cap"], found["candidates"], found["filled"]) == (None, 0, 20)
    assert "all 20 samples were drawn at random" in found["warnings"][0]
    np.testing.assert_array_equal(choose(replace(first, embeddings=first.embeddings * 2))[0], ids)


def test_draws_with_replacement_are_made_distinct_and_counted():
    ids = np.arange(0, 150, 3)
    duplicates = []
    for seed in range(200):
        drawn, count = fill(ids, 50, seed, with_replacement=True)
        np.testing.assert_array_equal(np.sort(drawn), ids)
        duplicates.append(count)
    # 50 draws of 50 hit 50 · (1 − 0.98^50) = 31.8 of them.
    assert np.mean(duplicates) == pytest.approx(18.2, abs=0.5)
    assert fill(ids, 50, 0, with_replacement=False)[1] == 0
    assert fill(ids, 0, 0, with_replacement=True)[1] == 0


def test_the_released_fill_is_logged(inputs):
    first = replace(inputs, earlier=(), loop=1)
    ids, found = choose(first, 200, fill="with_replacement")
    assert len(np.unique(ids)) == 200
    assert found["filled"] == 200
    assert 30 < found["duplicates_replaced"] < 90  # of 200 draws among 300 some 54 hit an earlier one
    enough = choose(inputs, fill="with_replacement")[1]
    assert enough["filled"] == enough["duplicates_replaced"] == 0


@pytest.mark.parametrize("rows", [7, 100])
def test_chunks_do_not_matter(inputs, rows, monkeypatch):
    whole = choose(inputs)
    monkeypatch.setattr(alfa_mix, "ROWS", rows)
    parts = choose(inputs)
    np.testing.assert_array_equal(parts[0], whole[0])
    assert {**parts[1], "seconds": 0} == {**whole[1], "seconds": 0}


def test_threads_do_not_matter():
    from threadpoolctl import threadpool_limits

    inputs = later(size=3000, spread=2.0)
    found = []
    for threads in (1, 2, 2, 4):
        with threadpool_limits(threads):
            found.append(choose(inputs, 150))
    assert found[0][1]["candidates"] > 300
    for ids, _ in found[1:]:
        np.testing.assert_array_equal(ids, found[0][0])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_embeddings_that_are_all_alike(inputs, value):
    """Anchors are where the samples are: nothing can be mixed."""
    found = choose(replace(inputs, embeddings=np.full_like(inputs.embeddings, value)))[1]
    assert (found["candidates"], found["filled"]) == (0, 20)


def test_duplicates_among_the_candidates(inputs):
    caps, _ = caps_needed(*geometry_of(inputs))
    rows, embeddings = unlabelled(inputs), inputs.embeddings.copy()
    embeddings[rows] = embeddings[rows[caps.argmin()]]
    ids, found = choose(replace(inputs, embeddings=embeddings))
    assert found["candidates"] == 260
    assert len(np.unique(ids)) == 20


@pytest.mark.parametrize(
    "params", [{"cap_step": 0.0}, {"cap_step": 1.5}, {"subpool": 0.5}, {"kmeans_init": "first"}, {"fill": "none"}]
)
def test_parameters_out_of_range(inputs, params):
    with pytest.raises(SelectionError, match=f"parameters of alfa_mix: {next(iter(params))}"):
        choose(inputs, **params)
