"""From an ensemble of centroid sets to one (section 3.1: θ* = θ₁ − Σ⁻¹(θ₁ − μ)), in every reading that was found."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

EXACT_MATCHING = 5_000  # centroids; the Hungarian method is cubic
CANDIDATES = 32


def combine(
    members: list[torch.Tensor], objectives: list[float], how: str, shrinkage: float
) -> tuple[int, torch.Tensor, dict[str, Any]]:
    """Return the member that the result starts from, the unit centroids (K, d), and a log.

    members: E sets of unit centroids, each (K, d). objectives: their values. how is one of

    - ``best_member``: the one of the lowest objective; ``none``: member 1;
    - ``literal``: as printed; ``released``: as the released code has it;
    - ``matched_mean``: the mean of members whose centroids were matched one to one;
    - ``matched``: the printed step over matched members, with the covariance pooled over centroids, scaled to a mean
      eigenvalue of one and shrunk towards the identity (at shrinkage 1 it is the matched mean).
    """
    if how == "best_member":
        base = int(np.argmin(objectives))
        return base, members[base], {"debias": how, "member": base + 1}
    if how == "none" or len(members) == 1:
        return 0, members[0], {"debias": how, "member": 1}
    if how == "released":
        return _finish(1, members[1], *_released(members), how)
    if how == "literal":
        return _finish(0, members[0], *_literal(members), how)
    matched = torch.stack([members[0], *(other[match(members[0], other)] for other in members[1:])]).double()
    cosine = float((matched[0] * matched[1:]).sum(dim=2).mean())
    mean = matched.mean(dim=0)
    if how == "matched_mean":
        base, centroids, log = _finish(0, members[0], mean.float(), None, how)
    else:
        base, centroids, log = _finish(0, members[0], *_matched(matched, mean, shrinkage), how)
    return base, centroids, log | {"matched_cosine": cosine}


def _finish(base: int, start: torch.Tensor, theta: torch.Tensor, condition: float | None, how: str):
    centroids = torch.nn.functional.normalize(theta, dim=1)
    cosine = float((centroids * start).sum(dim=1).mean())
    log = {"debias": how, "member": base + 1, "cosine_to_member": cosine, "condition": condition}
    return base, centroids, log


def _inverse(covariance: torch.Tensor) -> tuple[torch.Tensor, float | None]:
    """Return the pseudo-inverse of a (d, d) covariance and its condition number, None if that is not finite."""
    condition = float(torch.linalg.cond(covariance))
    return torch.linalg.pinv(covariance, hermitian=True), condition if np.isfinite(condition) else None


def _literal(members: list[torch.Tensor]) -> tuple[torch.Tensor, float | None]:
    """θ* = θ₁ − Σ⁻¹(θ₁ − μ) with Σ the d×d covariance of all members' deviations, members unmatched."""
    theta = torch.stack(members).double()
    mu = theta.mean(dim=0)
    deviations = (theta - mu).flatten(0, 1)
    inverse, condition = _inverse(deviations.T @ deviations / len(deviations))
    return (theta[0] - (theta[0] - mu) @ inverse).float(), condition


def _released(members: list[torch.Tensor]) -> tuple[torch.Tensor, float | None]:
    """θ* = θ₁ + (θ₁ − μ) ∘ ((θ₁ − μ) Σ⁻¹), elementwise, with member 0 discarded and Σ = mean(θᵀθ) − μᵀμ."""
    theta = torch.stack(members[1:]).double()
    mu = theta.mean(dim=0)
    covariance = (theta.transpose(1, 2) @ theta).mean(dim=0) - mu.T @ mu
    inverse, condition = _inverse((covariance + covariance.T) / 2)
    deviation = theta[0] - mu
    return (theta[0] + deviation * (deviation @ inverse)).float(), condition


def _matched(theta: torch.Tensor, mu: torch.Tensor, rho: float) -> tuple[torch.Tensor, float | None]:
    """θ* = θ₁ − Σ̃⁻¹(θ₁ − μ), Σ̃ = (1−ρ) Σ/(tr Σ/d) + ρ I, which makes the printed step free of units."""
    deviations = (theta - mu).flatten(0, 1)
    covariance = deviations.T @ deviations / len(deviations)
    scale = covariance.diagonal().mean()
    if scale == 0:  # identical members
        return mu.float(), None
    width = len(covariance)
    identity = torch.eye(width, dtype=covariance.dtype, device=covariance.device)
    inverse, condition = _inverse((1 - rho) * covariance / scale + rho * identity)
    return (theta[0] - (theta[0] - mu) @ inverse).float(), condition


def match(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return for each reference centroid the one of ``other`` matched to it, one to one, (K,) int64.

    The total cosine is the largest possible up to K = 5,000; above, pairs are taken from lists of the 32 most similar
    ones, best first, and what is left is paired greedily.
    """
    if len(reference) <= EXACT_MATCHING:
        from scipy.optimize import linear_sum_assignment

        _, columns = linear_sum_assignment((reference @ other.T).cpu().numpy(), maximize=True)
        return torch.from_numpy(columns).to(reference.device)
    return _match_by_lists(reference, other)


def _match_by_lists(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    from vecaf.selection.engine import nearest_unique
    from vecaf.selection.objectives import rows_of

    k = len(reference)
    length = min(CANDIDATES, k)
    values, columns = torch.empty(k, length), torch.empty(k, length, dtype=torch.int64)
    for rows in rows_of(k, k):
        found = (reference[rows] @ other.T).topk(length, dim=1)
        values[rows], columns[rows] = found.values.cpu(), found.indices.cpu()
    order = torch.argsort(values.flatten(), descending=True, stable=True).numpy()
    pairs = np.full(k, -1, dtype=np.int64)
    free = np.ones(k, dtype=bool)
    flat = columns.flatten().numpy()
    for position in order:
        row, column = position // length, flat[position]
        if pairs[row] < 0 and free[column]:
            pairs[row], free[column] = column, False
    left = np.flatnonzero(pairs < 0)
    if len(left):
        remaining = np.flatnonzero(free)
        pairs[left] = remaining[nearest_unique(other[remaining], reference[left])]
    return torch.from_numpy(pairs).to(reference.device)
