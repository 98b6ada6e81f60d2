"""TypiClust: the most typical sample of each cluster, round after round."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pools import SEEDS, after_a_loop, choose, permuted, picked, planted

from vecaf import selection
from vecaf.errors import SelectionError
from vecaf.selection import typiclust


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
