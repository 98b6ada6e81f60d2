"""The engine that ActiveFT and ODS share: K centroids on the sphere, optimised by Adam, then K unique nearest samples.

The released codes form exp(f·cᵀ/τ) for all N×K pairs and differentiate through it. Here each sample only needs the
similarity to its nearest centroid (gather form), gradients are written out, and no array is larger than a chunk of
rows times K, N×d or K×d.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from vecaf.seeds import derive, keyed_uniform
from vecaf.selection.base import Inputs, random_ids

CHUNK_NUMBERS = 1 << 24  # floats in the largest temporary, 64 MB
RANDOM_SETS = 5  # beside the objective of the selected images


def rows_of(size: int, width: int, chunk: int | None = None):
    """Yield slices of rows such that a slice times width stays below the largest temporary."""
    step = chunk or max(1, CHUNK_NUMBERS // max(1, width))
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def on_sphere(embeddings: np.ndarray, device: torch.device | str = "cpu", *, center: bool = False) -> torch.Tensor:
    """Return the embeddings with unit length, (N, d) float32, from an array or a memory map of (N, d).

    center: subtract the pool's mean first.
    """
    size, width = embeddings.shape
    z = torch.empty(size, width, dtype=torch.float32, device=device)
    for rows in rows_of(size, width):
        z[rows] = torch.from_numpy(np.asarray(embeddings[rows], dtype=np.float32)).to(device)
    if center:
        z -= z.mean(dim=0, dtype=torch.float64).float()
    for rows in rows_of(size, width):
        z[rows] = torch.nn.functional.normalize(z[rows], dim=1)
    return z


class Pool:
    """Embeddings of a pool on the sphere, in the order of ids, so that ties and sums do not depend on the input order.

    ids: (N,) int64 increasing. z: (N, d) float32 unit rows.
    """

    def __init__(self, inputs: Inputs, center: bool = False):
        self.order = np.argsort(inputs.ids, kind="stable")
        self.ids = inputs.ids[self.order]
        device = "cuda" if inputs.device != "cpu" and torch.cuda.is_available() else "cpu"
        ordered = np.array_equal(self.order, np.arange(len(self.order)))
        embeddings = inputs.embeddings if ordered else np.asarray(inputs.embeddings)[self.order]
        self.z = on_sphere(embeddings, device, center=center)

    def rows(self, ids: np.ndarray):
        """Return the rows of ids as a tensor."""
        return torch.from_numpy(np.searchsorted(self.ids, ids)).to(self.z.device)


def assign(z: torch.Tensor, c: torch.Tensor, chunk: int | None = None) -> torch.Tensor:
    """Return the index of the most similar centroid of each sample, (N,) int64, the lowest index on ties.

    z: (N, d) samples, c: (K, d) centroids, both of unit length.
    """
    nearest = torch.empty(len(z), dtype=torch.int64, device=z.device)
    for rows in rows_of(len(z), len(c), chunk):
        nearest[rows] = (z[rows] @ c.T).argmax(dim=1)
    return nearest


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


# An objective takes unit centroids, samples, their nearest centroids and rows' weights, and returns its value and its
# derivative by the unit centroids.
Objective = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


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
        gap = log_sums[nearest] + np.log(balance) - similarity(z, c, nearest) / temperature - w.log()
        value = torch.nn.functional.softplus(gap).mean()
        push = torch.sigmoid(gap) / len(z)
        per_centroid = torch.zeros(len(c), dtype=c.dtype, device=c.device).index_add_(0, nearest, push)
        gradient = pull(z, nearest, push, len(c)).mul_(-1 / temperature)
        return value, gradient.addcmul_(per_centroid[:, None], spread)

    return value_and_gradient


@dataclass
class Optimised:
    """Centroids after optimisation. centroids: (K, d) unit. values: objective per iteration, before its step."""

    centroids: torch.Tensor
    values: list[float] = field(default_factory=list)
    last: float = 0.0

    @property
    def iterations(self) -> int:
        return len(self.values)


def optimise(
    z: torch.Tensor,
    weights: torch.Tensor,
    initial: torch.Tensor,
    objective: Objective,
    *,
    iterations: int,
    learning_rate: float,
    tolerance: float | None = None,
    window: int = 10,
    rows: int | None = None,
    sums: bool = False,
    ids: np.ndarray | None = None,
    seed: int = 0,
    chunk: int | None = None,
) -> Optimised:
    """Move K centroids by Adam on their directions until the objective settles.

    z: (N, d) unit samples. weights: (N,), summing to one or of mean one as the objective wants. initial: (K, d).
    Stops at ``iterations`` or, with a tolerance, when the objective's relative change over ``window`` iterations falls
    below it. rows: draw that many rows for each step, by id (``ids``, ``seed``). sums: the objective sums over rows, so
    the weights of drawn rows are scaled up to keep its expectation.
    """
    rescale = len(z) / rows if sums and rows is not None else 1.0
    theta = initial.clone()
    adam = torch.optim.Adam([theta], lr=learning_rate)
    found = Optimised(theta)
    for step in range(iterations):
        part, part_weights = z, weights
        if rows is not None and rows < len(z):
            draws = keyed_uniform(derive(seed, "rows", step), ids)
            chosen = torch.from_numpy(np.sort(np.argpartition(draws, rows)[:rows])).to(z.device)
            part, part_weights = z[chosen], weights[chosen]
            part_weights = part_weights * rescale
        length = theta.norm(dim=1, keepdim=True)
        c = theta / length
        value, gradient = objective(c, part, assign(part, c, chunk), part_weights)
        # The derivative of a direction: what points along the centroid changes only its length.
        theta.grad = (gradient - (gradient * c).sum(dim=1, keepdim=True) * c) / length
        found.values.append(value.item())
        if tolerance is not None and step >= window:
            before = found.values[-1 - window]
            if abs(found.values[-1] - before) < tolerance * abs(before):
                break
        adam.step()
    found.centroids = torch.nn.functional.normalize(theta, dim=1)
    found.last = evaluate(z, weights, found.centroids, objective, chunk)
    return found


def evaluate(
    z: torch.Tensor, weights: torch.Tensor, c: torch.Tensor, objective: Objective, chunk: int | None = None
) -> float:
    """Return the objective at unit centroids c."""
    return objective(c, z, assign(z, c, chunk), weights)[0].item()


def nearest_unique(z: torch.Tensor, c: torch.Tensor, candidates: int = 32) -> np.ndarray:
    """Return for each centroid, in their order, the most similar sample that none before it took; (K,) int64 rows.

    The lowest row wins ties. Every centroid has a short list of candidates; only when all of them are taken, or a tie
    could reach beyond the list, its whole row is looked at. No full sort, no loop over samples.
    """
    size, k = len(z), len(c)
    length = min(candidates, size)
    chosen = np.empty(k, dtype=np.int64)
    taken = torch.zeros(size, dtype=torch.bool, device=z.device)
    for block in rows_of(k, size):
        values, rows = (c[block] @ z.T).topk(length, dim=1)
        values, rows = values.cpu().numpy(), rows.cpu().numpy()
        for offset in range(len(rows)):
            order = np.lexsort((rows[offset], -values[offset]))
            free = order[~taken[torch.from_numpy(rows[offset][order]).to(z.device)].cpu().numpy()]
            certain = len(free) and (length == size or values[offset][free[0]] > values[offset].min())
            if certain:
                row = int(rows[offset][free[0]])
            else:
                scores = z @ c[block.start + offset]
                row = int(scores.masked_fill_(taken, -torch.inf).argmax())
            chosen[block.start + offset] = row
            taken[row] = True
    return chosen


def objective_log(
    pool: Pool, weights: torch.Tensor, objective: Objective, found: Optimised, chosen: np.ndarray, seed: int
) -> dict[str, float]:
    """Return the objective before and after, with the chosen samples as centroids, and with random sets beside them.

    A falling objective proves nothing about the ids; the last two do.
    """

    def at(rows):
        return evaluate(pool.z, weights, pool.z[rows], objective)

    random = [
        at(pool.rows(random_ids(derive(seed, "snapshot", draw), pool.ids, len(chosen)))) for draw in range(RANDOM_SETS)
    ]
    return {
        "objective_before": found.values[0],
        "objective_after": found.last,
        "objective_of_selected": at(chosen),
        "objective_of_random_mean": float(np.mean(random)),
        "objective_of_random_sd": float(np.std(random, ddof=1)),
    }
