"""Debiasing an ensemble: what must hold in every reading, and each formula by a second route."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from vecaf.selection import debiasing

EVERY = ["best_member", "none", "literal", "released", "matched_mean", "matched"]


def ensemble(size, k, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [normalize(torch.randn(k, width, generator=generator), dim=1) for _ in range(size)]


@pytest.mark.parametrize("how", EVERY)
@pytest.mark.parametrize("shrinkage", [0.0, 0.5, 1.0])
def test_identical_members_stay_what_they_are(how, shrinkage):
    member = ensemble(1, 7, 5)[0]
    _, centroids, _ = debiasing.combine([member] * 5, [1.0] * 5, how, shrinkage)
    torch.testing.assert_close(centroids, member, rtol=0, atol=1e-6)


@pytest.mark.parametrize("how", EVERY)
def test_centroids_are_directions(how):
    _, centroids, log = debiasing.combine(ensemble(5, 30, 6), [3.0, 1.0, 2.0, 5.0, 4.0], how, 0.5)
    assert centroids.dtype == torch.float32
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(30))
    assert log["debias"] == how


def test_the_literal_step_by_a_loop():
    members = ensemble(5, 12, 4)
    theta = np.stack([member.double().numpy() for member in members])
    mu = theta.mean(axis=0)
    sigma = sum(np.outer(row, row) for member in theta for row in member - mu) / (5 * 12)
    wanted = np.stack([one - np.linalg.inv(sigma) @ (one - m) for one, m in zip(theta[0], mu, strict=True)])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    _, centroids, log = debiasing.combine(members, [0.0] * 5, "literal", 0.5)
    np.testing.assert_allclose(centroids.numpy(), wanted, atol=1e-5)
    assert log["condition"] == pytest.approx(np.linalg.cond(sigma), rel=1e-6)


def test_the_released_step_by_a_loop():
    members = ensemble(5, 12, 4)
    theta = np.stack([member.double().numpy() for member in members[1:]])
    mu = theta.mean(axis=0)
    sigma = np.mean([one.T @ one for one in theta], axis=0) - mu.T @ mu
    deviation = theta[0] - mu
    wanted = theta[0] + deviation * (deviation @ np.linalg.inv(sigma))
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    base, centroids, log = debiasing.combine(members, [0.0] * 5, "released", 0.5)
    np.testing.assert_allclose(centroids.numpy(), wanted, atol=1e-5)
    assert base == 1
    assert log["condition"] == pytest.approx(np.linalg.cond(sigma), rel=1e-6)


def test_a_covariance_of_low_rank_has_no_condition_number_to_trust():
    _, centroids, log = debiasing.combine(ensemble(2, 3, 40), [0.0, 0.0], "literal", 0.5)
    assert torch.isfinite(centroids).all()
    assert log["condition"] is None or log["condition"] > 1e12


def test_matching_is_the_best_of_all_pairings():
    one, other = ensemble(2, 6, 4)
    total = (one @ other.T).numpy()
    best = max(itertools.permutations(range(6)), key=lambda p: sum(total[row, column] for row, column in enumerate(p)))
    assert debiasing.match(one, other).tolist() == list(best)


@pytest.mark.parametrize("candidates", [2, 32])
def test_matching_by_lists_pairs_every_centroid_once(monkeypatch, candidates):
    monkeypatch.setattr(debiasing, "EXACT_MATCHING", 10)
    monkeypatch.setattr(debiasing, "CANDIDATES", candidates)
    one, other = ensemble(2, 60, 5)
    pairs = debiasing.match(one, other)
    assert sorted(pairs.tolist()) == list(range(60))
    monkeypatch.setattr(debiasing, "EXACT_MATCHING", 100)
    best = debiasing.match(one, other)
    listed, exact, none = ((one * other[p]).sum().item() for p in (pairs, best, torch.arange(60)))
    assert none < 0.8 * exact < listed <= exact + 1e-4


@pytest.mark.parametrize("limit", [10, 5000])
def test_matching_undoes_a_permutation(monkeypatch, limit):
    monkeypatch.setattr(debiasing, "EXACT_MATCHING", limit)
    one = ensemble(1, 40, 8)[0]
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    pairs = debiasing.match(one, one[order])
    torch.testing.assert_close(one[order][pairs], one)


def test_the_matched_mean_averages_matched_centroids():
    one = ensemble(1, 20, 8)[0]
    order = np.random.default_rng(0)
    noisy = [one] + [normalize(one + 0.01 * n, dim=1)[order.permutation(20)] for n in ensemble(4, 20, 8, 1)]
    _, centroids, log = debiasing.combine(noisy, [0.0] * 5, "matched_mean", 0.5)
    assert (centroids * one).sum(dim=1).min() > 0.999
    assert log["matched_cosine"] > 0.999
    unmatched = normalize(torch.stack(noisy).mean(dim=0), dim=1)
    assert (unmatched * one).sum(dim=1).mean() < 0.9


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
def test_the_matched_step_by_a_loop(rho):
    """The covariance is scaled to a mean eigenvalue of one, then mixed with the identity."""
    one = ensemble(1, 15, 4)[0]
    members = [one] + [normalize(one + 0.3 * noise, dim=1) for noise in ensemble(4, 15, 4, 1)]
    pairs = [debiasing.match(one, member) for member in members]
    theta = np.stack([member[p].double().numpy() for member, p in zip(members, pairs, strict=True)])
    mu = theta.mean(axis=0)
    sigma = sum(np.outer(row, row) for member in theta for row in member - mu) / (5 * 15)
    shrunk = (1 - rho) * sigma / (np.trace(sigma) / 4) + rho * np.eye(4)
    wanted = theta[0] - (theta[0] - mu) @ np.linalg.inv(shrunk)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    _, centroids, log = debiasing.combine(members, [0.0] * 5, "matched", rho)
    np.testing.assert_allclose(centroids.numpy(), wanted, atol=1e-5)
    assert log["condition"] == pytest.approx(np.linalg.cond(shrunk), rel=1e-6)


def test_full_shrinkage_is_the_matched_mean():
    members = ensemble(5, 20, 6)
    mean, shrunk, partly = (
        debiasing.combine(members, [0.0] * 5, how, rho)[1]
        for how, rho in (("matched_mean", 0.5), ("matched", 1.0), ("matched", 0.1))
    )
    torch.testing.assert_close(mean, shrunk, rtol=0, atol=1e-6)
    assert (mean - partly).abs().max() > 1e-3
