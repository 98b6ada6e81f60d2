"""Values and gradients of the objectives against the naive forms, which hold N×K and are differentiated by autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize, softplus

from vecaf.selection import assignment, objectives

TAU = 0.07


def draw(rows, width, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, width, generator=generator, dtype=dtype), dim=1)


@pytest.fixture
def z():
    return draw(60, 6, 0)


@pytest.fixture
def c():
    return draw(9, 6, 1)


@pytest.fixture
def weights():
    return torch.rand(60, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1


def naive_contrastive(c, z, w, balance, detach=True):
    """−mean log(w p / (w p + b S)), p the largest of a row of exp(z·cᵀ/τ), as the released codes form it."""
    p, k = (torch.exp(z @ c.T / TAU)).max(dim=1)
    s = torch.exp((c.detach() if detach else c) @ c.T / TAU).sum(dim=0)
    return -(torch.log(w * p) - torch.log(w * p + s[k] * balance)).mean()


def naive_equation_7(c, z, p, diversity):
    nearest = (z @ c.T).max(dim=1).values / TAU
    pairs = (c @ c.T / TAU).exp()
    others = pairs.sum(dim=1) - pairs.diagonal()
    return -(p * nearest).sum() + diversity * others.log().mean()


def by_autograd(function, c, *rest, **options):
    leaf = c.clone().requires_grad_()
    value = function(leaf, *rest, **options)
    value.backward()
    return value.detach(), leaf.grad


def along_the_sphere(gradient, c):
    return gradient - (gradient * c).sum(dim=1, keepdim=True) * c


def check(found, wanted, c):
    """Objectives are functions of directions, so what points along a centroid does not count."""
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(along_the_sphere(found[1], c), along_the_sphere(wanted[1], c), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("balance", [1.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_contrastive_equals_the_naive_form(z, c, weights, balance, weighted):
    w = weights if weighted else torch.ones_like(weights)
    found = objectives.contrastive(TAU, balance)(c, z, assignment.brute_force(z, c), w)
    check(found, by_autograd(naive_contrastive, c, z, w, balance), c)


@pytest.mark.parametrize("diversity", [0.0, 0.1, 1.0])
def test_equation_7_equals_the_naive_form(z, c, weights, diversity):
    p = weights / weights.sum()
    found = objectives.separate_terms(TAU, diversity)(c, z, assignment.brute_force(z, c), p)
    check(found, by_autograd(naive_equation_7, c, z, p, diversity), c)


def test_single_precision_stays_within_a_millionth(z, c):
    """The form that runs is float32; its value and gradient are those of double precision."""
    wanted = by_autograd(naive_contrastive, c, z, torch.ones(60, dtype=z.dtype), 1.0)
    found = objectives.contrastive(TAU, 1.0)(c.float(), z.float(), assignment.brute_force(z, c), torch.ones(60))
    assert abs(found[0] - wanted[0]) / wanted[0] < 1e-6
    difference = along_the_sphere(found[1].double(), c) - along_the_sphere(wanted[1], c)
    assert difference.norm() / wanted[1].norm() < 2e-6


def test_value_at_the_start_by_numpy(z, c):
    z_, c_ = z.numpy(), c.numpy()
    similarities = np.exp(z_ @ c_.T / TAU)
    p, k = similarities.max(axis=1), similarities.argmax(axis=1)
    s = np.exp(c_ @ c_.T / TAU).sum(axis=0)
    found, _ = objectives.contrastive(TAU, 1.0)(c, z, assignment.brute_force(z, c), torch.ones(60, dtype=z.dtype))
    np.testing.assert_allclose(found.item(), -np.log(p / (p + s[k])).mean(), rtol=1e-12)


def test_detaching_one_side_halves_the_repulsion(c):
    """S = Σ_kj exp(c_k·c_j/τ) is symmetric, so the gradient through one factor is half of that through both."""
    log_sums, one_side = objectives.repulsion(c, TAU, include_self=True, both_sides=False)
    detached = log_sums.exp()[:, None] * one_side
    _, both = by_autograd(lambda leaf: torch.exp(leaf @ leaf.T / TAU).sum(), c)
    torch.testing.assert_close(detached, 0.5 * both, rtol=1e-9, atol=0)
    cosine = torch.nn.functional.cosine_similarity(detached.flatten(), both.flatten(), dim=0)
    assert cosine.item() == pytest.approx(1, abs=1e-12)


def test_detaching_changes_the_gradient_of_the_objective(z, c):
    """The check above would be empty if the two forms could not be told apart."""
    ones = torch.ones(60, dtype=z.dtype)
    _, detached = by_autograd(naive_contrastive, c, z, ones, 1.0)
    _, both = by_autograd(naive_contrastive, c, z, ones, 1.0, detach=False)
    found = objectives.contrastive(TAU, 1.0)(c, z, assignment.brute_force(z, c), ones)[1]
    near, far = ((along_the_sphere(other - found, c)).norm() for other in (detached, both))
    assert near < 1e-10 < 1e-6 < far


@pytest.mark.parametrize("diversity", [0.0, 1.0])
def test_one_centroid_has_no_diversity_term(z, diversity):
    c, p = draw(1, 6, 3), torch.full((60,), 1 / 60, dtype=torch.float64)
    value, gradient = objectives.separate_terms(TAU, diversity)(c, z, assignment.brute_force(z, c), p)
    assert value.item() == pytest.approx(-(z @ c[0]).mean().item() / TAU)
    assert torch.isfinite(gradient).all()


def test_a_larger_loss_pulls_harder_in_equation_7_and_weaker_as_released(z, c):
    """The released weighting turns the first principle of section 3.1 round: its gradient shrinks with the weight."""

    def pull(objective, weight):
        weights = torch.ones(1, dtype=z.dtype) * weight
        one = objective(c, z[:1], assignment.brute_force(z[:1], c), weights)[1]
        return along_the_sphere(one, c).norm().item()

    equation_7, released = objectives.separate_terms(TAU, 0.0), objectives.contrastive(TAU, 1.0)
    assert pull(equation_7, 2.0) == pytest.approx(2 * pull(equation_7, 1.0))
    assert pull(released, 7.0) < pull(released, 1.0) < pull(released, 0.1)


@pytest.mark.parametrize("numbers", [1, 63, 1 << 20])
def test_chunks_change_nothing(z, c, weights, monkeypatch, numbers):
    whole = objectives.contrastive(TAU, 1.0)(c, z, assignment.brute_force(z, c), weights)
    both = objectives.repulsion(c, TAU, include_self=False, both_sides=True)
    monkeypatch.setattr(objectives, "CHUNK_NUMBERS", numbers)
    monkeypatch.setattr(objectives, "CHUNK_ROWS", 1)
    parts = objectives.contrastive(TAU, 1.0)(c, z, assignment.brute_force(z, c), weights)
    for found, wanted in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
    for found, wanted in zip(objectives.repulsion(c, TAU, include_self=False, both_sides=True), both, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def test_softplus_is_the_form_that_does_not_overflow():
    """At opposite directions exp(s/τ) underflows; the gather form stays finite."""
    c = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    z = torch.tensor([[-1.0, 0.0], [0.0, -1.0]])
    value, gradient = objectives.contrastive(0.005, 1.0)(c, z, assignment.brute_force(z, c), torch.ones(2))
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert value.item() == pytest.approx(softplus(torch.tensor(200.0)).item(), rel=1e-3)
