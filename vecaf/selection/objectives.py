"""What centroids are optimised for: value and written-out gradient of equation 7 and of the released InfoNCE.

The released codes form exp(f·cᵀ/τ) for all N×K pairs and differentiate through it. Here each sample only needs the
similarity to its nearest centroid (gather form), and the K×K repulsion goes by in chunks of rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch

# Floats in the largest temporary, 4 MB: what fits the cache of a core is also the fastest.
CHUNK_NUMBERS = 1 << 20
CHUNK_ROWS = 256  # but never fewer rows: products of fewer read the other factor too often
GPU_CHUNKS = 64  # times as large: a GPU needs them to be busy, and has the memory

# An objective takes unit centroids (K, d), samples (N, d), their nearest centroids (N,) and their weights (N,), and
# returns its value and its derivative by the unit centroids (K, d).
Objective = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def rows_of(size: int, width: int, chunk: int | None = None, device: torch.device | None = None):
    """Yield slices of rows such that a slice times width stays about the largest temporary.

    All but the last have the same power of two of rows: libraries compile and keep a kernel for each shape.
    """
    numbers = CHUNK_NUMBERS * (GPU_CHUNKS if device is not None and device.type == "cuda" else 1)
    step = chunk or max(CHUNK_ROWS, 1 << max(1, numbers // max(1, width)).bit_length() - 1)
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def similarities(
    z: torch.Tensor, c: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, asked: torch.Tensor | None = None
) -> torch.Tensor:
    """Return ⟨z_r, c_k⟩ for the columns k that are listed for each row r, (R, M) in the dtype of z.

    z: (N, d), c: (K, d), rows: (R,) int64 increasing, columns: (R, M) int32 or int64. asked: (R, M) bool, the pairs
    that are wanted; the result is then that of ``[asked]``. A value depends on its two vectors alone, on no chunk and
    no neighbour, so equal vectors tie.
    """
    if z.device.type != "cpu":
        return gathered_similarities(z, c, rows, columns, asked)
    count, length = columns.shape
    # A product sampled at few places copies none of the vectors that it multiplies: some thirty times faster.
    starts = torch.zeros(len(z) + 1, dtype=columns.dtype)
    starts[rows + 1] = length if asked is None else asked.sum(dim=1, dtype=columns.dtype)
    chosen = columns.flatten() if asked is None else columns[asked]
    nothing = torch.zeros(chosen.numel(), dtype=z.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        places = torch.sparse_csr_tensor(
            starts.cumsum_(dim=0), chosen, nothing, size=(len(z), len(c)), check_invariants=False
        )
        values = torch.sparse.sampled_addmm(places, z, c.T, beta=0.0).values()
    return values.view(count, length) if asked is None else values


def gathered_similarities(
    z: torch.Tensor, c: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, asked: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the same from copies of the vectors, in chunks: where memory is fast, as on a GPU."""
    wanted = torch.ones_like(columns, dtype=torch.bool) if asked is None else asked
    left, right = rows.repeat_interleave(wanted.sum(dim=1)), columns[wanted].long()
    out = torch.empty(len(left), dtype=z.dtype, device=z.device)
    for part in rows_of(len(left), z.shape[1], device=z.device):
        out[part] = (z[left[part]] * c[right[part]]).sum(dim=1)
    return out.view(columns.shape) if asked is None else out


def similarity(z: torch.Tensor, c: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
    """Return ⟨z_i, c_a(i)⟩, (N,) float32."""
    return similarities(z, c, torch.arange(len(z), device=z.device), nearest[:, None])[:, 0]


def pull(z: torch.Tensor, nearest: torch.Tensor, weights: torch.Tensor, k: int) -> torch.Tensor:
    """Return the weighted sum of each centroid's samples, (K, d), added up in the order of samples."""
    own, order = nearest.sort(stable=True)
    starts = torch.searchsorted(own, torch.arange(k, device=z.device))
    return torch.nn.functional.embedding_bag(order, z, starts, mode="sum", per_sample_weights=weights[order])


def repulsion(
    c: torch.Tensor, temperature: float, *, include_self: bool, both_sides: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return R_k = log Σ_j exp(⟨c_k, c_j⟩/τ), (K,), and its derivative by the centroids, (K, d).

    include_self: whether the sum holds j = k. both_sides: the derivative of Σ_k R_k by every centroid; else that of
    R_k by c_k alone, every other factor held fixed (the released codes detach one side). K×K in chunks.
    """
    k = len(c)

    def scaled(rows, columns):
        pairs = (c[rows] @ c[columns].T).div_(temperature)
        if not include_self and rows.start >= columns.start:
            pairs.diagonal(rows.start - columns.start).fill_(-torch.inf)
        return pairs

    if not both_sides:
        log_sums, gradient = torch.empty(k, dtype=c.dtype, device=c.device), torch.empty_like(c)
        for rows in rows_of(k, k, device=c.device):
            pairs = scaled(rows, slice(0, k))
            log_sums[rows] = torch.logsumexp(pairs, dim=1)
            gradient[rows] = pairs.sub_(log_sums[rows, None]).exp_() @ c
        return log_sums, gradient.div_(temperature)

    # A row of the derivative needs the sums of all rows. Products are symmetric: a block above the diagonal serves two.
    log_sums, gradient = torch.full((k,), -torch.inf, dtype=c.dtype, device=c.device), torch.zeros_like(c)
    blocks = squares(k, c.device)
    for rows, columns in blocks:
        pairs = scaled(rows, columns)
        log_sums[rows] = torch.logaddexp(log_sums[rows], torch.logsumexp(pairs, dim=1))
        if rows != columns:
            log_sums[columns] = torch.logaddexp(log_sums[columns], torch.logsumexp(pairs, dim=0))
    for rows, columns in blocks:
        pairs = pairs if len(blocks) == 1 else scaled(rows, columns)
        shares = (pairs - log_sums[columns]).exp_().add_(pairs.sub_(log_sums[rows, None]).exp_())
        gradient[rows] += shares @ c[columns]
        if rows != columns:
            gradient[columns] += shares.T @ c[rows]
    return log_sums, gradient.div_(temperature)


def squares(k: int, device: torch.device | None = None) -> list[tuple[slice, slice]]:
    """Return (rows, columns) of the blocks of a K×K matrix on its diagonal and above."""
    sides = list(rows_of(k, math.isqrt(CHUNK_NUMBERS), device=device))
    return [(rows, columns) for number, rows in enumerate(sides) for columns in sides[number:]]


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
