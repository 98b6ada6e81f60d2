"""The control selectors: uncertainty of the classifier, coverage of the embeddings, balance of the classes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pools import SEEDS, after_a_loop, make_inputs, permuted
from scipy import special

from vecaf import selection
from vecaf.errors import SelectionError
from vecaf.seeds import keyed_uniform
from vecaf.selection import k_center, typiclust, uncertainty

UNCERTAINTY = ["entropy", "margin", "least_confidence"]
uncertain = pytest.mark.parametrize("name", UNCERTAINTY)


def choose(name, inputs, k, seeds=SEEDS, **params):
    return selection.choose(selection.build(name, params), inputs, k, seeds)


def picked(name, inputs, k, seeds=SEEDS, **params):
    """Return what the selector itself returns: rows' ids in the order in which they were chosen."""
    return selection.build(name, params).select(inputs, k, seeds)[0]


def planted(values, **fields):
    """Return a pool of as many samples as there are rows of values, with ids 0, 1, …"""
    size = len(values)
    given = {"labels": np.zeros(size, dtype=np.int64), "device": "cpu", **fields}
    return selection.Inputs(ids=np.arange(size, dtype=np.int64), **given)


# Uncertainty


def naive(name, logits):
    """Return the uncertainty of each sample, written out from the probabilities."""
    p = np.sort(special.softmax(np.asarray(logits, dtype=np.float64), axis=1), axis=1)
    return {
        "entropy": special.entr(p).sum(axis=1),
        "margin": p[:, -2] - p[:, -1],
        "least_confidence": 1 - p[:, -1],
    }[name]


@uncertain
@pytest.mark.parametrize("seed", range(3))
def test_uncertainty_is_that_of_the_definition(name, seed):
    pool = make_inputs(seed=seed)
    wanted = naive(name, pool.logits)
    ids, found = choose(name, pool, 20)
    np.testing.assert_array_equal(ids, np.sort(pool.ids[np.argsort(-wanted)[:20]]))
    sign = -1 if name == "margin" else 1
    chosen = np.isin(pool.ids, ids)
    assert found[f"{name}_of_selected"] == pytest.approx(sign * wanted[chosen].mean(), rel=1e-9)
    assert found[f"{name}_of_pool"] == pytest.approx(sign * wanted.mean(), rel=1e-9)


def test_uncertainty_by_hand():
    """Three posteriors on which the measures disagree about the first sample."""
    p = np.array([[0.50, 0.49, 0.01], [0.45, 0.30, 0.25], [0.44, 0.40, 0.16]])
    pool = planted(p, logits=np.log(p))
    assert [picked(name, pool, 3).tolist() for name in UNCERTAINTY] == [[1, 2, 0], [0, 2, 1], [2, 1, 0]]


def test_margins_are_of_probabilities_and_not_of_logits():
    """Of two samples, the one whose best logits are closer has the larger margin where only two classes share it."""
    few = np.log(np.r_[0.55, 0.45, np.full(47, 1e-12)])  # 0.2 in logits, 0.1 in probability
    many = np.log(np.r_[0.04, 0.02, np.full(47, 0.02)])  # 0.7 in logits, 0.02 in probability
    assert picked("margin", planted([few, many], logits=np.array([few, many])), 1).tolist() == [1]


@uncertain
def test_uncertainty_skips_what_is_labelled(name, inputs):
    wanted = naive(name, inputs.logits)
    best = inputs.ids[np.argsort(-wanted)]
    ids, found = choose(name, replace(inputs, earlier=(np.sort(best[:10]),), loop=2), 7)
    np.testing.assert_array_equal(ids, np.sort(best[10:17]))
    assert abs(found[f"{name}_of_pool"]) == pytest.approx(abs(wanted.mean()))  # of the whole pool, labelled or not


@uncertain
def test_equal_uncertainty_goes_to_the_lowest_id(name, inputs):
    logits = np.zeros_like(inputs.logits)
    logits[:50, 0] = 3  # the first fifty are surer, all others equal
    order = np.random.default_rng(4).permutation(len(inputs))
    pool = permuted(replace(inputs, logits=logits), order)
    np.testing.assert_array_equal(choose(name, pool, 45)[0], [*inputs.ids[:5], *inputs.ids[50:]])


@uncertain
def test_it_does_not_matter_whether_logits_are_made_by_rows_or_read_in_chunks(name, monkeypatch):
    pool = make_inputs(size=300)
    whole = choose(name, pool, 40)
    lazy = replace(pool, logits=selection.Logits(pool.embeddings, *pool.head))
    by_rows = choose(name, lazy, 40)[0]
    np.testing.assert_array_equal(by_rows, choose(name, replace(pool, logits=lazy.logits[:]), 40)[0])
    for numbers in (1, 35, 500):  # of a chunk: one row of five logits, seven rows, a hundred
        monkeypatch.setattr(uncertainty, "CHUNK_NUMBERS", numbers)
        again = choose(name, pool, 40)
        np.testing.assert_array_equal(again[0], whole[0])
        assert again[1][f"{name}_of_pool"] == whole[1][f"{name}_of_pool"]
        np.testing.assert_array_equal(choose(name, lazy, 40)[0], by_rows)


@uncertain
@pytest.mark.filterwarnings("error")
def test_saturated_logits_are_finite(name):
    largest = float(np.finfo(np.float32).max)
    logits = np.float32(
        [[0, -largest, largest], [1e4, 0, 0], [0, 0, 0], [-largest] * 3, [largest, largest, 0], [9, 9, 0]]
    )
    _, found = choose(name, planted(logits, logits=logits), 3)
    assert np.isfinite([found[f"{name}_of_selected"], found[f"{name}_of_pool"]]).all()


@pytest.mark.parametrize("name", ["entropy", "least_confidence"])
def test_confident_samples_keep_their_order(name):
    """Probabilities that float64 rounds to one still differ in what they leave to the others."""
    gaps = np.float32([100, 60, 200, 45, 150])
    logits = np.zeros((5, 4), dtype=np.float32)
    logits[:, 2] = gaps
    assert picked(name, planted(logits, logits=logits), 5).tolist() == np.argsort(gaps).tolist()


def test_log_posterior_is_the_log_softmax(inputs):
    found = uncertainty.log_posterior(inputs.logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, special.log_softmax(inputs.logits.astype(np.float64), axis=1), rtol=1e-12)
    np.testing.assert_allclose(uncertainty.log_posterior(inputs.logits + 1e4), found, atol=1e-2)
    np.testing.assert_array_equal(uncertainty.log_posterior(np.zeros((2, 1))), 0)


def test_a_margin_needs_two_classes(inputs):
    with pytest.raises(SelectionError, match="the logits have only one"):
        choose("margin", replace(inputs, logits=inputs.logits[:, :1]), 3)


# k-center


def reference_k_center(z, centres, k):
    """Return k rows by the definition, from all pairwise distances in float64."""
    distances = np.linalg.norm(z[:, None].astype(np.float64) - z[None], axis=2)
    chosen = []
    for _ in range(k):
        nearest = distances[:, [*centres, *chosen]].min(axis=1)
        nearest[[*centres, *chosen]] = -1
        chosen.append(int(nearest.argmax()))
    return chosen, max(0, distances[:, [*centres, *chosen]].min(axis=1).max())


@pytest.mark.parametrize("k", [1, 2, 30, 90])
def test_k_center_is_the_farthest_first_traversal(k):
    pool = make_inputs(seed=k)
    ids, found = selection.build("k_center").select(pool, k, SEEDS)
    first = int(keyed_uniform(SEEDS["random_set"], pool.ids).argmin())
    rows, radius = reference_k_center(pool.embeddings, [first], k - 1)
    np.testing.assert_array_equal(ids, pool.ids[[first, *rows]])
    assert found["radius_after"] == pytest.approx(radius, abs=1e-5)
    assert found["radius_before"] is None


def test_k_center_starts_from_the_labelled(inputs):
    later = after_a_loop(inputs)
    centres = np.flatnonzero(np.isin(inputs.ids, later.labelled))
    ids, found = selection.build("k_center").select(later, 20, SEEDS)
    rows, radius = reference_k_center(inputs.embeddings, centres, 20)
    np.testing.assert_array_equal(ids, inputs.ids[rows])
    assert found["radius_after"] == pytest.approx(radius, rel=1e-5)
    assert found["radius_before"] == pytest.approx(reference_k_center(inputs.embeddings, centres, 0)[1], rel=1e-5)
    np.testing.assert_array_equal(ids, picked("k_center", later, 20, {"random_set": 5, "centroids": 6}))  # no draw


def test_k_center_by_hand():
    """On a line with the sample at 0 labelled: the far end, then the middle of the widest gap."""
    z = np.float32([[0], [1], [2], [5], [6], [10]])
    pool = planted(z, embeddings=z, earlier=(np.array([0]),), loop=2)
    ids, found = selection.build("k_center").select(pool, 3, SEEDS)
    assert ids.tolist() == [5, 3, 2]
    assert (found["radius_before"], found["radius_after"]) == (10, 1)


def test_k_center_ties_go_to_the_lowest_id():
    """Corners of a square, each held by many samples: one of each, the lowest, then the lowest ids left."""
    corners = np.float32([[1, 0], [0, 1], [-1, 0], [0, -1]])
    z = corners[np.arange(60) % 4] * 1e3 + 0.1  # far from zero, where ‖z‖² − 2zc + ‖c‖² would lose its digits
    pool, order = planted(z, embeddings=z, earlier=(np.array([0]),), loop=2), np.random.default_rng(8).permutation(60)
    assert picked("k_center", permuted(pool, order), 6).tolist() == [
        2,
        1,
        3,
        4,
        5,
        6,
    ]


def test_k_center_copies_no_float32(inputs, tmp_path):
    assert np.shares_memory(k_center._tensor(inputs).numpy(), inputs.embeddings)
    np.save(tmp_path / "z.npy", inputs.embeddings)
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    assert np.shares_memory(k_center._tensor(replace(inputs, embeddings=mapped)).numpy(), mapped)


# TypiClust


@pytest.mark.parametrize(("size", "neighbours"), [(40, 5), (12, 20), (2, 20)])
def test_mean_distance_to_the_nearest_others(size, neighbours):
    z = np.random.default_rng(size).normal(size=(size, 6)).astype(np.float32)
    distances = np.sort(np.linalg.norm(z[:, None].astype(np.float64) - z[None], axis=2), axis=1)
    wanted = distances[:, 1 : 1 + min(neighbours, size - 1)].mean(axis=1)
    np.testing.assert_allclose(typiclust.mean_distance(z, neighbours), wanted, atol=2e-6)


def test_mean_distance_of_duplicates_and_of_one():
    z = np.float32(np.random.default_rng(0).normal(size=(1, 30)).repeat(50, axis=0))
    np.testing.assert_array_equal(typiclust.mean_distance(z, 20), 0)
    np.testing.assert_array_equal(typiclust.mean_distance(z[:1], 20), [0])


def heaps(*sizes, width=6, seed=0):
    """Return tight heaps of samples around axes far apart, one after the other."""
    generator = np.random.default_rng(seed)
    axes = np.repeat(np.eye(width)[: len(sizes)], sizes, axis=0)
    return (axes + 0.02 * generator.normal(size=axes.shape)).astype(np.float32)


def by_typicality(z, *sizes, neighbours=20):
    """Return the rows of each heap, the most typical first, from all pairwise distances."""
    unit = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float64)
    for rows in np.split(np.arange(len(z)), np.cumsum(sizes)[:-1]):
        distances = np.sort(np.linalg.norm(unit[rows, None] - unit[rows], axis=2), axis=1)
        yield rows[np.argsort(distances[:, 1 : 1 + neighbours].mean(axis=1), kind="stable")]


def test_typiclust_takes_the_most_typical_of_each_heap():
    z = heaps(40, 25, 10)
    pool = planted(z, embeddings=z)
    ids, found = selection.build("typiclust").select(pool, 3, SEEDS)
    assert ids.tolist() == [rows[0] for rows in by_typicality(z, 40, 25, 10)]  # the largest first
    assert (found["clusters"], found["clusters_chosen_from"], found["small_clusters"]) == (3, 3, 0)


def test_typiclust_goes_round_the_clusters():
    z = heaps(40, 25, 10)
    large, middle, small = by_typicality(z, 40, 25, 10)
    wanted = [row for turn in zip(large, middle, small, strict=False) for row in turn]
    ids = picked("typiclust", planted(z, embeddings=z), 34, max_clusters=3)
    assert ids.tolist() == [*wanted, large[10], middle[10], large[11], middle[11]]


def test_typiclust_prefers_what_has_no_label():
    """With one label in the largest heap, the other two come first and then have caught up."""
    z = heaps(40, 25, 10)
    large, middle, small = by_typicality(z, 40, 25, 10)
    later = planted(z, embeddings=z, earlier=(np.sort(large[:1]),), loop=2)
    assert picked("typiclust", later, 2).tolist() == [middle[0], small[0]]
    assert picked("typiclust", later, 4, max_clusters=3).tolist() == [middle[0], small[0], large[1], middle[1]]


def test_typiclust_leaves_small_clusters_for_the_end():
    z = heaps(12, 9, 4)
    ids = picked("typiclust", planted(z, embeddings=z), 25, max_clusters=3)
    assert (ids[:21] < 21).all()
    np.testing.assert_array_equal(ids[21:], [*by_typicality(z, 12, 9, 4)][2])
    assert picked("typiclust", planted(z, embeddings=z), 3, min_size=4)[2] >= 21


def test_typiclust_ignores_lengths(inputs):
    scales = np.float32(2.0) ** np.random.default_rng(0).integers(-3, 4, size=(len(inputs), 1))
    scaled = replace(inputs, embeddings=inputs.embeddings * scales)
    np.testing.assert_array_equal(choose("typiclust", scaled, 13)[0], choose("typiclust", inputs, 13)[0])


def test_typiclust_ties_go_to_the_lowest_id():
    z = np.repeat(np.eye(3, dtype=np.float32), [8, 7, 6], axis=0)
    pool, order = planted(z, embeddings=z), np.random.default_rng(1).permutation(21)
    assert picked("typiclust", permuted(pool, order), 7, max_clusters=3).tolist() == [0, 8, 15, 1, 9, 16, 2]


def test_typiclust_has_at_most_as_many_clusters_as_it_may(inputs):
    assert choose("typiclust", inputs, 40, max_clusters=7)[1]["clusters"] == 7
    assert choose("typiclust", after_a_loop(inputs), 6)[1]["clusters"] == 15 + 6
    with pytest.raises(SelectionError, match="max_clusters"):
        selection.build("typiclust", {"max_clusters": 0})


def test_the_start_of_k_means_is_spread_out():
    """Each of six heaps holds one start, whatever the seed, where six random samples would often miss one."""
    import torch

    sizes = [30, 30, 30, 30, 30, 5]
    unit = torch.nn.functional.normalize(torch.from_numpy(heaps(*sizes)), dim=1)
    heap = np.repeat(np.arange(6), sizes)
    for seed in range(20):
        rows = typiclust._spread(unit, np.arange(155), 6, seed)
        assert sorted(heap[rows]) == list(range(6))


def test_the_start_of_k_means_draws_by_squared_distance():
    """Two starts among five samples: of two candidates drawn by d² to the first start, the better one."""
    import torch

    angles, times = np.array([0.0, 0.3, 0.8, 1.2, 2.1]), 2000
    z = torch.from_numpy(np.c_[np.cos(angles), np.sin(angles)].astype(np.float32))
    squared = 2 - 2 * np.cos(angles[:, None] - angles)
    share, starts = np.zeros((5, 5)), np.zeros((5, 5))
    for first in range(5):
        left, weight = np.minimum(squared, squared[first]).sum(axis=1), squared[first]
        for a, b in itertools.permutations(set(range(5)) - {first}, 2):
            share[first, min(a, b, key=left.__getitem__)] += weight[a] * weight[b] / (weight.sum() - weight[a])
        share[first] /= weight.sum()
    for seed in range(times):
        starts[tuple(typiclust._spread(z, np.arange(5), 2, seed))] += 1
    firsts = starts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(firsts, times / 5, atol=4 * np.sqrt(times * 0.2 * 0.8))
    np.testing.assert_allclose(starts / firsts, share, atol=4 * np.sqrt(0.25 / firsts.min()))
    assert (starts[share == 0] == 0).all()


# Class balance


def test_class_balanced_counts(inputs):
    for k in (1, 5, 13, 40):
        counts = np.bincount(inputs.labels[np.isin(inputs.ids, choose("class_balanced", inputs, k)[0])], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_class_balanced_exhausts_small_classes():
    labels = np.repeat([4, 0, 9], [2, 30, 20])
    pool = planted(labels, labels=labels)
    for k, wanted in ((3, [1, 1, 1]), (10, [4, 2, 4]), (22, [10, 2, 10]), (52, [30, 2, 20])):
        ids, _ = choose("class_balanced", pool, k)
        assert [int((labels[ids] == label).sum()) for label in (0, 4, 9)] == wanted


def test_class_balanced_by_hand(inputs):
    """The smallest draws of each class; of those that come next, the smallest make up the number."""
    draws = keyed_uniform(SEEDS["random_set"], inputs.ids)
    classes = [np.flatnonzero(inputs.labels == label) for label in range(5)]
    turns = np.stack([rows[np.argsort(draws[rows])[:5]] for rows in classes], axis=1)  # rank within the class × class
    wanted = [*turns[:4].ravel(), *turns[4][np.argsort(draws[turns[4]])[:2]]]
    np.testing.assert_array_equal(choose("class_balanced", inputs, 22)[0], np.sort(inputs.ids[wanted]))


def test_class_balanced_draws_by_id_and_loop(inputs):
    """A larger K holds the smaller one; the labelled may come again; another stream is another set."""
    small, large = choose("class_balanced", inputs, 10)[0], choose("class_balanced", inputs, 30)[0]
    assert np.isin(small, large).all()
    np.testing.assert_array_equal(choose("class_balanced", replace(inputs, earlier=(small,), loop=2), 10)[0], small)
    np.testing.assert_array_equal(choose("class_balanced", inputs, 10, SEEDS | {"centroids": 1})[0], small)
    assert not np.array_equal(choose("class_balanced", inputs, 10, SEEDS | {"random_set": 1})[0], small)
