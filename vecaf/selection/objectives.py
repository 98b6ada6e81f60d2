"""What centroids are optimised for: value and written-out gradient of equation 7 and of the released InfoNCE.

The released codes form exp(f·cᵀ/τ) for all N×K pairs and differentiate through it. Here each sample only needs the
similarity to its nearest centroid (gather form), and the K×K repulsion goes by in chunks of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

CHUNK_NUMBERS = 1 << 24  # floats in the largest temporary, 64 MB

# An objective takes unit centroids (K, d), samples (N, d), their nearest centroids (N,) and their weights (N,), and
# returns its value and its derivative by the unit centroids (K, d).
Objective = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def rows_of(size: int, width: int, chunk: int | None = None):
    """Yield slices of rows such that a slice times width stays below the largest temporary."""
    step = chunk or max(1, CHUNK_NUMBERS // max(1, width))
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def similarity(z: torch.Tensor, c: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
    """Return ⟨z_i, c_a(i)⟩, (N,) float32; it does not depend on how the assignment was chunked."""
    out = torch.empty(len(z), dtype=z.dtype, device=z.device)
    for rows in rows_of(len(z), z.shape[1]):
        out[rows] = (z[rows] * c[nearest[rows]]).sum(dim=1)
    return out


def pull(z: torch.Tensor, nearest: torch.Tensor, weights: torch.Tensor, k: int) -> torch.Tensor:
    """Return the weighted sum of each centroid's samples, (K, d)."""
    total = torch.zeros(k, z.shape[1], dtype=z.dtype, device=z.device)
    for rows in rows_of(len(z), z.shape[1]):
        total.index_add_(0, nearest[rows], z[rows] * weights[rows, None])
    return total


def repulsion(
    c: torch.Tensor, temperature: float, *, include_self: bool, both_sides: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return R_k = log Σ_j exp(⟨c_k, c_j⟩/τ), (K,), and its derivative by the centroids, (K, d).

    include_self: whether the sum holds j = k. both_sides: the derivative of Σ_k R_k by every centroid; else that of
    R_k by c_k alone, every other factor held fixed (the released codes detach one side). K×K in chunks of rows.
    """
    k = len(c)
    log_sums = torch.empty(k, dtype=c.dtype, device=c.device)
    gradient = torch.zeros_like(c)
    for rows in rows_of(k, k):
        pairs = (c[rows] @ c.T).div_(temperature)
        if not include_self:
            pairs[torch.arange(len(pairs)), torch.arange(rows.start, rows.stop)] = -torch.inf
        log_sums[rows] = torch.logsumexp(pairs, dim=1)
        shares = pairs.sub_(log_sums[rows, None]).exp_()
        gradient[rows] += shares @ c
        if both_sides:
            gradient += shares.T @ c[rows]
    return log_sums, gradient.div_(temperature)


def separate_terms(temperature: float, diversity: float) -> Objective:
    """Return equation 7, normalised: −Σ p_i ⟨e_i, θ_c(i)⟩/τ + (λ/K) Σ_k log Σ_{j≠k} exp(⟨θ_k, θ_j⟩/τ).

    p sums to one over the samples. With one centroid there is no diversity term. The paper writes both sums without
    normalising them and without τ.
    """

    def value_and_gradient(c, z, nearest, p):
        k = len(c)
        value = -(p * similarity(z, c, nearest)).sum() / temperature
        gradient = pull(z, nearest, p, k).mul_(-1 / temperature)
        if k > 1 and diversity:
            log_sums, spread = repulsion(c, temperature, include_self=False, both_sides=True)
            value = value + diversity * log_sums.mean()
            gradient += spread.mul_(diversity / k)
        return value, gradient

    return value_and_gradient


def contrastive(temperature: float, balance: float) -> Objective:
    """Return the released form: mean_i softplus(R_a(i) + log b − s_i/τ − log w_i), one side of R detached.

    R holds j = k. w (mean one) weighs the positive pair as the released VeCAF code does; ActiveFT has w = 1. A larger
    w makes the gradient of a sample *smaller* (methods of ActiveFT, Xie et al., CVPR 2023; code of VeCAF).
    """

    def value_and_gradient(c, z, nearest, w):
        log_sums, spread = repulsion(c, temperature, include_self=True, both_sides=False)
        gap = log_sums[nearest] + math.log(balance) - similarity(z, c, nearest) / temperature - w.log()
        value = torch.nn.functional.softplus(gap).mean()
        push = torch.sigmoid(gap) / len(z)
        per_centroid = torch.zeros(len(c), dtype=c.dtype, device=c.device).index_add_(0, nearest, push)
        gradient = pull(z, nearest, push, len(c)).mul_(-1 / temperature)
        return value, gradient.addcmul_(per_centroid[:, None], spread)

    return value_and_gradient
