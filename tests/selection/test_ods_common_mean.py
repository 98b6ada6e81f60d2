"""ODS where all embeddings share a strong mean, as those of real backbones do: losses still decide at the default λ."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from pools import quick

from vecaf import selection
from vecaf.selection import debiasing, engine, objectives
from vecaf.selection.base import random_ids

K = 60


def planted_pool(seed, factor=4.0):
    """Return 800 samples of eight clusters with a mean cosine of about .4; the last cluster's losses are multiplied."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(8), 100)
    common = 4.5 * np.eye(1, 24)
    clusters = 0.7 * generator.normal(size=(8, 24))
    embeddings = common + clusters[labels] + generator.normal(size=(800, 24))
    losses = generator.lognormal(sigma=0.3, size=800) * np.where(labels == 7, factor, 1.0)
    return selection.Inputs(
        np.arange(800),
        labels,
        embeddings=embeddings.astype(np.float32),
        losses=losses.astype(np.float32),
        loop=2,
        device="cpu",
    )


@cache
def chosen(seed, factor=4.0, **params):
    seeds = {"random_set": 0, "centroids": seed}
    return selection.choose(quick("ods", iterations=300, **params), planted_pool(seed, factor), K, seeds)[0]


def test_the_pool_has_the_common_mean_it_is_meant_to_have():
    z = engine.on_sphere(planted_pool(0).embeddings)
    assert 0.3 < (z @ z.T).mean().item() < 0.5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_hard_cluster_gains_share(seed):
    def share(factor):
        return (planted_pool(seed).labels[chosen(seed, factor)] == 7).mean()

    assert share(4.0) > share(1.0) + 0.05


def test_the_mean_loss_rises_above_random_with_equation_7_only():
    """By more than three standard deviations of random sets; the released weighting does not raise it."""

    def above_random(seed, **params):
        pool = planted_pool(seed)
        random = [pool.losses[random_ids(draw, pool.ids, K)].mean() for draw in range(200)]
        return (pool.losses[chosen(seed, **params)].mean() - np.mean(random)) / np.std(random)

    seeds = range(5)
    equation_7 = [above_random(seed) for seed in seeds]
    assert min(equation_7) > 2
    assert np.mean(equation_7) > 3
    assert np.mean([above_random(seed, objective="released", diversity=1.0) for seed in seeds]) < 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_a_strong_diversity_term_keeps_the_random_start(seed):
    def run(diversity):
        seeds = {"random_set": 0, "centroids": seed}
        return selection.choose(quick("ods", iterations=300, diversity=diversity), planted_pool(seed), K, seeds)[1]

    strong, default = run(1.0), run(0.1)
    assert strong["overlap_initial"] > 0.8
    assert "random in disguise" in strong["warnings"][0]
    assert default["overlap_initial"] < 0.75
    assert default["warnings"] == []


@pytest.mark.parametrize("numbers", [1, 1 << 10, 1 << 30])
def test_any_chunk_gives_the_same_ids(monkeypatch, numbers):
    pool, seeds = planted_pool(0), {"random_set": 0, "centroids": 0}
    wanted = selection.choose(quick("ods", ensemble=2, debias="matched"), pool, K, seeds)[0]
    monkeypatch.setattr(objectives, "CHUNK_NUMBERS", numbers)
    monkeypatch.setattr(objectives, "CHUNK_ROWS", 16)
    found = selection.choose(quick("ods", ensemble=2, debias="matched"), pool, K, seeds)[0]
    np.testing.assert_array_equal(found, wanted)


def test_matching_by_lists_serves_a_whole_selection(monkeypatch):
    monkeypatch.setattr(debiasing, "EXACT_MATCHING", 0)
    seeds = {"random_set": 0, "centroids": 0}
    for debias in ("matched", "matched_mean"):
        ids, found = selection.choose(quick("ods", debias=debias), planted_pool(0), K, seeds)
        assert len(np.unique(ids)) == K
        assert 0 < found["debiasing"]["matched_cosine"] <= 1


@pytest.mark.parametrize("size", [97, 1003])
def test_of_identical_samples_the_lowest_id_is_taken_first(size):
    generator = np.random.default_rng(size)
    twins = generator.permutation(np.repeat(np.arange(size), 2))
    z = engine.on_sphere(generator.normal(size=(size, 33)).astype(np.float32)[twins])
    c = engine.on_sphere(generator.normal(size=(40, 33)).astype(np.float32))
    taken = set()
    for row in engine.nearest_unique(z, c).tolist():
        assert row == min(set(np.flatnonzero(twins == twins[row])) - taken)
        taken.add(row)
