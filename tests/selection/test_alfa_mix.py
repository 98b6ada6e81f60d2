"""ALFA-Mix: the closed form against mixtures that are made one by one, then what is chosen among the candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pools import SEEDS, after_a_loop, make_inputs, permuted

from vecaf import selection
from vecaf.errors import SelectionError
from vecaf.selection import alfa_mix
from vecaf.selection.alfa_mix import caps_needed, class_anchors, fill, loss_gradient, one_per_cluster

CAPS = np.arange(1, 33) / 32  # the step of the released command line, 0.03125


def later(size=300, labelled=40, **pool):
    """Return a pool in loop 2 with a head that knows its classes, so that some samples need a larger cap."""
    return after_a_loop(make_inputs(size=size, **{"width": 16, "classes": 7, "spread": 1.0} | pool), count=labelled)


def unlabelled(inputs):
    return np.flatnonzero(~np.isin(inputs.ids, inputs.labelled))


def geometry(inputs):
    """Return z (M, d), weight, bias and anchors of a pool in double precision."""
    labelled = np.flatnonzero(np.isin(inputs.ids, inputs.labelled))
    weight, bias = (part.astype(np.float64) for part in inputs.head)
    anchors = class_anchors(inputs.embeddings, inputs.labels, labelled, len(weight))
    return inputs.embeddings[unlabelled(inputs)].astype(np.float64), weight, bias, anchors


def choose(inputs, k=20, seeds=SEEDS, **params):
    return selection.choose(selection.build("alfa_mix", params), inputs, k, seeds)


def autograd(z, weight, bias, reduction):
    import torch

    z, weight, bias = torch.tensor(z, requires_grad=True), torch.tensor(weight), torch.tensor(bias)
    logits = torch.nn.functional.linear(z, weight, bias)
    loss = torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1), reduction=reduction)
    return torch.autograd.grad(loss, z)[0].numpy()


def mixtures(z, anchor, gradient, cap, guard=1e-8):
    """Return z mixed with one anchor by the released weights, entry by entry, and α; guard: against Δ = 0."""
    delta = anchor - z
    lengths = np.linalg.norm(delta, axis=1, keepdims=True) / np.linalg.norm(gradient, axis=1, keepdims=True)
    alpha = cap / z.shape[1] ** 0.5 * lengths * gradient / (delta + guard)
    return (1 - alpha) * z + alpha * anchor, alpha


def mixed_by_hand(z, weight, bias, anchors, cap, reduction="mean"):
    """Return who changes class when mixed with any of the anchors, (M,) bool: every mixture made, every head asked."""
    predicted, gradient = (z @ weight.T + bias).argmax(axis=1), autograd(z, weight, bias, reduction)
    changed = np.zeros(len(z), dtype=bool)
    for anchor in anchors:
        mixed, _ = mixtures(z, anchor, gradient, cap)
        changed |= (mixed @ weight.T + bias).argmax(axis=1) != predicted
    return changed


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_candidates_are_those_of_the_mixtures(seed, reduction):
    z, *rest = geometry(later(seed=seed))
    caps, flat = caps_needed(z, *rest)
    shares = []
    for cap in CAPS:
        np.testing.assert_array_equal(caps < cap, mixed_by_hand(z, *rest, cap, reduction))
        shares.append((caps < cap).mean())
    assert not flat.any()
    assert 0 < shares[0] < 0.5 < shares[-1]
    assert (np.diff(shares) >= 0).all()


def test_a_mixture_is_a_step_along_the_gradient():
    z, weight, bias, anchors = geometry(later())
    gradient = autograd(z, weight, bias, "sum")
    unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    for anchor in anchors:
        steps = 0.2 / z.shape[1] ** 0.5 * np.linalg.norm(anchor - z, axis=1, keepdims=True) * unit
        mixed, alpha = mixtures(z, anchor, gradient, 0.2, guard=0)
        np.testing.assert_allclose(mixed - z, steps, rtol=0, atol=1e-9)
        assert np.abs(alpha).max() > 1  # the released weights are not clamped
        # The released guard makes an entry of the step differ by 1e-8/Δ of itself.
        guarded, _ = mixtures(z, anchor, gradient, 0.2)
        assert (np.abs(guarded - z - steps) <= 1e-9 + 2e-8 * np.abs(steps / (anchor - z))).all()


def test_the_gradient_is_that_of_autograd():
    z, weight, bias, _ = geometry(later())
    predicted, gradient = loss_gradient(z @ weight.T + bias, weight)
    np.testing.assert_array_equal(predicted, (z @ weight.T + bias).argmax(axis=1))
    np.testing.assert_allclose(gradient, autograd(z, weight, bias, "sum"), rtol=0, atol=1e-12)


def test_ties_of_the_head_go_to_the_lowest_class():
    weight, bias = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), np.zeros(3)
    z, anchors = np.zeros((1, 2)), np.array([[3.0, 4.0]])
    caps, _ = caps_needed(z, weight, bias, anchors)
    assert caps[0] == 0  # the slightest step takes it to another class
    assert mixed_by_hand(z, weight, bias, anchors, 0.01).all()


def test_a_constant_on_all_logits_changes_nothing():
    z, weight, bias, anchors = geometry(later())
    caps, shifted = caps_needed(z, weight, bias, anchors)[0], caps_needed(z, weight, bias + 50, anchors)[0]
    np.testing.assert_allclose(shifted, caps, rtol=1e-9)
    for cap in CAPS:
        np.testing.assert_array_equal(shifted < cap, caps < cap)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e8])
def test_saturated_logits_are_never_candidates_and_never_nan(scale):
    z, weight, bias, anchors = geometry(later())
    with np.errstate(all="raise", under="ignore"):
        caps, flat = caps_needed(z, weight * scale, bias * scale, anchors)
    assert flat.any()
    assert not np.isnan(caps).any()
    assert np.isinf(caps[flat]).all()


def test_anchors_farther_away_make_more_candidates():
    z, weight, bias, anchors = geometry(later())
    both = np.concatenate([anchors, -anchors])  # then doubling them moves the farthest one away, whatever z is
    near, far = (caps_needed(z, weight, bias, points)[0] for points in (both, 2 * both))
    assert (far < near).all()
    assert (far < 0.2).sum() > (near < 0.2).sum()


def test_an_anchor_at_the_sample_itself_moves_nothing():
    z, weight, bias, _ = geometry(later())
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


@pytest.mark.parametrize("params", [{}, {"subpool": 3.0}, {"kmeans_init": "random"}, {"cap_step": 0.03125}])
def test_the_selection(params):
    inputs = later()
    ids, found = choose(inputs, **params)
    caps, _ = caps_needed(*geometry(inputs))
    candidates = inputs.ids[unlabelled(inputs)][caps < found["cap"]]
    assert found["filled"] == 0
    assert found["warnings"] == []
    assert found["subpool"] == (60 if "subpool" in params else 260)
    assert 20 < found["candidates"] <= len(candidates)
    assert found["zero_gradient"] == 0
    assert np.isin(ids, candidates).all()
    np.testing.assert_array_equal(choose(inputs, **params)[0], ids)


def test_only_so_many_candidates_are_clustered():
    inputs = later()
    clustered = []

    def watching(z, k, init, seed):
        clustered.append(len(z))
        return np.arange(k)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alfa_mix, "one_per_cluster", watching)
        ids, found = choose(inputs, max_candidates=1.5)
    assert clustered == [30]
    assert found["candidates"] > 30
    assert len(np.unique(ids)) == 20
    few, found = choose(inputs, max_candidates=1.0)  # as many as are chosen: nothing to cluster
    assert len(few) == 20
    assert found["filled"] == 0


def test_the_seed_is_that_of_the_random_set():
    inputs = later()
    ids, _ = choose(inputs)
    np.testing.assert_array_equal(choose(inputs, seeds={"random_set": 11, "centroids": 99})[0], ids)
    assert not np.array_equal(choose(inputs, seeds={"random_set": 12, "centroids": 12})[0], ids)


def test_the_selection_is_spread_over_the_candidates():
    """Samples of the middle of clusters represent the candidates better than random ones do."""
    inputs = later(size=600, spread=0.5)
    ids, found = choose(inputs)
    caps, _ = caps_needed(*geometry(inputs))
    candidates = unlabelled(inputs)[caps < found["cap"]]
    z = inputs.embeddings / np.linalg.norm(inputs.embeddings, axis=1, keepdims=True)

    def cost(rows):
        return (1 - (z[candidates] @ z[rows].T).max(axis=1)).mean()

    generator = np.random.default_rng(0)
    by_chance = [cost(generator.permutation(candidates)[:20]) for _ in range(20)]
    assert cost(np.flatnonzero(np.isin(inputs.ids, ids))) < min(by_chance)


def test_all_candidates_are_taken_and_the_rest_is_drawn():
    inputs = later()
    ids, found = choose(inputs, 255)
    caps, _ = caps_needed(*geometry(inputs))
    candidates = inputs.ids[unlabelled(inputs)][caps < 1]
    assert len(candidates) == found["candidates"] < 255
    assert np.isin(candidates, ids).all()
    assert not np.isin(ids, inputs.labelled).any()
    assert found["cap"] == 1
    assert found["filled"] == 255 - len(candidates)
    assert f"{found['filled']} of 255 were drawn at random" in found["warnings"][0]
    assert "duplicates_replaced" not in found


def test_saturated_heads_leave_a_random_selection():
    inputs = later()
    saturated = replace(inputs, head=tuple(part * np.float32(1e6) for part in inputs.head))
    ids, found = choose(saturated)
    assert found["zero_gradient"] > 0.9
    assert found["filled"] + found["candidates"] == len(ids) == 20


def test_without_labels_all_is_random():
    first = replace(later(), earlier=(), loop=1)
    ids, found = choose(first)
    assert (found["cap"], found["candidates"], found["filled"]) == (None, 0, 20)
    assert "all 20 samples were drawn at random" in found["warnings"][0]
    np.testing.assert_array_equal(choose(replace(first, embeddings=first.embeddings * 2))[0], ids)
    np.testing.assert_array_equal(choose(first, 300)[0], first.ids)


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


def test_the_released_fill_is_logged():
    first = replace(later(), earlier=(), loop=1)
    ids, found = choose(first, 200, fill="with_replacement")
    assert len(np.unique(ids)) == 200
    assert found["filled"] == 200
    assert 30 < found["duplicates_replaced"] < 90
    enough = choose(later(), fill="with_replacement")[1]
    assert enough["filled"] == enough["duplicates_replaced"] == 0


@pytest.mark.parametrize("rows", [7, 100])
def test_chunks_do_not_matter(rows, monkeypatch):
    inputs = later()
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


def test_the_order_of_rows_and_their_precision_do_not_matter(tmp_path):
    inputs = later()
    half = inputs.embeddings.astype(np.float16)
    np.save(tmp_path / "embeddings.npy", half)
    exact = replace(inputs, embeddings=half.astype(np.float32))
    ids, found = choose(exact)
    assert found["candidates"] > 20
    mapped = replace(inputs, embeddings=np.load(tmp_path / "embeddings.npy", mmap_mode="r"))
    np.testing.assert_array_equal(choose(mapped)[0], ids)
    order = np.random.default_rng(4).permutation(len(inputs))
    for turned in (permuted(exact, order), permuted(mapped, order)):
        np.testing.assert_array_equal(choose(turned)[0], ids)


def test_global_random_states_are_neither_used_nor_moved():
    import torch

    inputs = later()
    ids, found = choose(inputs)
    assert found["candidates"] > 20
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before, torch_before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    np.testing.assert_array_equal(choose(inputs)[0], ids)
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_one_sample_and_all_that_are_left():
    inputs = later()
    assert len(choose(inputs, 1)[0]) == 1
    np.testing.assert_array_equal(choose(inputs, 260)[0], inputs.ids[unlabelled(inputs)])
    with pytest.raises(SelectionError, match="260 of 300 samples are left, K = 261"):
        choose(inputs, 261)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_embeddings_that_are_all_alike(value):
    """Anchors are where the samples are: nothing can be mixed."""
    inputs = later()
    found = choose(replace(inputs, embeddings=np.full_like(inputs.embeddings, value)))[1]
    assert (found["candidates"], found["filled"]) == (0, 20)


def test_duplicates_among_the_candidates():
    inputs = later()
    caps, _ = caps_needed(*geometry(inputs))
    rows, embeddings = unlabelled(inputs), inputs.embeddings.copy()
    embeddings[rows] = embeddings[rows[caps.argmin()]]
    ids, found = choose(replace(inputs, embeddings=embeddings))
    assert found["candidates"] == 260
    assert len(np.unique(ids)) == 20


@pytest.mark.parametrize(
    "params", [{"cap_step": 0.0}, {"cap_step": 1.5}, {"subpool": 0.5}, {"kmeans_init": "first"}, {"fill": "none"}]
)
def test_parameters_out_of_range(params):
    with pytest.raises(SelectionError, match=f"parameters of alfa_mix: {next(iter(params))}"):
        choose(later(), **params)
