"""The engine that ActiveFT and ODS share: K centroids on the sphere, optimised by Adam, then K unique nearest samples.

No array is larger than a chunk of rows times K, N×d or K×d: neither the N×K similarities nor the K×K ones exist as a
whole.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from vecaf.seeds import derive, keyed_uniform
from vecaf.selection.assignment import SLACK, Assignment, screening
from vecaf.selection.base import Inputs, random_ids
from vecaf.selection.objectives import Objective, rows_of, similarities

RANDOM_SETS = 5  # beside the objective of the selected images
CANDIDATES = 32  # samples listed for each centroid at the end


def on_sphere(embeddings: np.ndarray, device: torch.device | str = "cpu", *, center: bool = False) -> torch.Tensor:
    """Return the embeddings with unit length, (N, d) float32, from an array or a memory map of (N, d).

    center: subtract the pool's mean first.
    """
    size, width = embeddings.shape
    z = torch.empty(size, width, dtype=torch.float32, device=device)
    total = torch.zeros(width, dtype=torch.float64, device=device)
    for rows in rows_of(size, width, device=z.device):
        z[rows] = torch.tensor(np.asarray(embeddings[rows], dtype=np.float32)).to(device)
        total += z[rows].sum(dim=0, dtype=torch.float64)
        # Pages of a file that were read stay memory of this process until it lets go.
        if isinstance(embeddings.base, mmap.mmap) and not embeddings.flags.writeable:
            embeddings.base.madvise(mmap.MADV_DONTNEED)
    if center:
        z -= (total / size).float()
    for rows in rows_of(size, width, device=z.device):
        z[rows] = torch.nn.functional.normalize(z[rows], dim=1)
    return z


class Pool:
    """Embeddings of a pool on the sphere, in the order of ids, so that ties and sums do not depend on the input order.

    ids: (N,) int64 increasing. z: (N, d) float32 unit rows, on the device that the inputs name. Raises SelectionError
    for ``cuda`` without a visible GPU.
    """

    def __init__(self, inputs: Inputs, center: bool = False):
        self.order = np.argsort(inputs.ids, kind="stable")
        self.ids = inputs.ids[self.order]
        device = inputs.torch_device()
        ordered = np.array_equal(self.order, np.arange(len(self.order)))
        embeddings = inputs.embeddings if ordered else np.asarray(inputs.embeddings)[self.order]
        self.z = on_sphere(embeddings, device, center=center)

    def rows(self, ids: np.ndarray):
        """Return the rows of ids as a tensor."""
        return torch.from_numpy(np.searchsorted(self.ids, ids)).to(self.z.device)


@dataclass
class Optimised:
    """Centroids after optimisation. centroids: (K, d) unit. values: objective per iteration, before its step.

    multiplied, ranked: pairs of sample and centroid whose similarities were made, see ``Assignment``.
    """

    centroids: torch.Tensor
    values: list[float] = field(default_factory=list)
    last: float = 0.0
    multiplied: int = 0
    ranked: int = 0

    @property
    def iterations(self) -> int:
        return len(self.values)


class _Adam:
    """Adam (Kingma & Ba, 2015) with torch's defaults, for one tensor that has no graph.

    torch.optim imports the compiler at its first step: as long as a small selection takes, in every job.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, theta: torch.Tensor, learning_rate: float):
        self.theta, self.learning_rate, self.steps = theta, learning_rate, 0
        self.mean, self.square = torch.zeros_like(theta), torch.zeros_like(theta)

    def step(self, gradient: torch.Tensor) -> None:
        self.steps += 1
        first, second = self.BETAS
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = self.square.sqrt().div_((1 - second**self.steps) ** 0.5).add_(self.EPSILON)
        self.theta.addcdiv_(self.mean, scale, value=-self.learning_rate / (1 - first**self.steps))


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
    adam = _Adam(theta, learning_rate)
    found = Optimised(theta)
    nearest = Assignment(z, chunk=chunk)
    for step in range(iterations):
        part, part_weights = nearest, weights
        if rows is not None and rows < len(z):
            draws = keyed_uniform(derive(seed, "rows", step), ids)
            chosen = torch.from_numpy(np.sort(np.argpartition(draws, rows)[:rows])).to(z.device)
            part, part_weights = Assignment(z[chosen], chunk=chunk), weights[chosen] * rescale
        length = theta.norm(dim=1, keepdim=True).clamp_min(1e-12)  # an embedding of zero has no direction
        c = theta / length
        value, gradient = objective(c, part.z, part(c), part_weights)
        if part is not nearest:
            found.multiplied += part.multiplied
            found.ranked += part.ranked
        # The derivative of a direction: what points along the centroid changes only its length.
        gradient.addcmul_((gradient * c).sum(dim=1, keepdim=True), c, value=-1).div_(length)
        found.values.append(value.item())
        if tolerance is not None and step >= window:
            before = found.values[-1 - window]
            if abs(found.values[-1] - before) < tolerance * abs(before):
                break
        adam.step(gradient)
    found.centroids = torch.nn.functional.normalize(theta, dim=1)
    found.last = evaluate(nearest, weights, found.centroids, objective)
    found.multiplied += nearest.multiplied
    found.ranked += nearest.ranked
    return found


def evaluate(nearest: Assignment, weights: torch.Tensor, c: torch.Tensor, objective: Objective) -> float:
    """Return the objective of the samples of an assignment at unit centroids c."""
    return objective(c, nearest.z, nearest(c), weights)[0].item()


def nearest_unique(z: torch.Tensor, c: torch.Tensor, candidates: int = CANDIDATES) -> np.ndarray:
    """Return for each centroid, in their order, the most similar sample that none before it took; (K,) int64 rows.

    The lowest row wins ties. Every centroid has a short list of candidates; only when all of them are taken, or one
    that is not listed could be better, its whole row is looked at. No full sort, no loop over samples.
    """
    rows, outside = _candidates(z, c, min(candidates, len(z)))
    values = similarities(c, z, torch.arange(len(c), device=c.device), rows)
    best_first = values.argsort(dim=1, descending=True, stable=True)  # the lowest row first of equals
    values, rows = (tensor.gather(1, best_first).cpu().numpy() for tensor in (values, rows))
    outside = outside.cpu().numpy()
    chosen = np.empty(len(c), dtype=np.int64)
    taken = np.zeros(len(z), dtype=bool)
    for centroid in range(len(c)):
        free = np.flatnonzero(~taken[rows[centroid]])
        if len(free) and values[centroid, free[0]] > outside[centroid]:
            row = int(rows[centroid, free[0]])
        else:
            scores = z @ c[centroid]
            row = int(scores.masked_fill_(torch.from_numpy(taken).to(z.device), -torch.inf).argmax())
        chosen[centroid] = row
        taken[row] = True
    return chosen


def _candidates(z: torch.Tensor, c: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return samples among the most similar of each centroid, (K, length) int32 increasing, and a bound on all others.

    The pool goes by once, in half precision; a chunk of it matters to few centroids after the first ones.
    """
    precision, error = screening(z.device)
    low = c.to(precision)
    values = torch.full((len(c), length), -torch.inf, dtype=precision, device=z.device)
    rows = torch.zeros((len(c), length), dtype=torch.int32, device=z.device)
    for part in rows_of(len(z), max(c.shape), device=z.device):
        found = low @ z[part].to(precision).T
        better = (found.amax(dim=1) > values.amin(dim=1)).nonzero()[:, 0]
        top = found[better].topk(min(length, found.shape[1]), dim=1, sorted=False)
        both = torch.cat([values[better], top.values], dim=1).topk(length, dim=1, sorted=False)
        rows[better] = torch.cat([rows[better], top.indices.int() + part.start], dim=1).gather(1, both.indices)
        values[better] = both.values
    unlisted = values.amin(dim=1).float() + (error + SLACK if length < len(z) else -torch.inf)
    return rows.sort(dim=1).values, unlisted


def objective_log(
    pool: Pool,
    weights: torch.Tensor,
    objective: Objective,
    members: Sequence[Optimised],
    base: int,
    chosen: np.ndarray,
    seed: int,
    centroids: torch.Tensor | None = None,
) -> dict[str, float]:
    """Return the objective before and after, with the chosen samples as centroids, and with random sets beside them.

    A falling objective proves nothing about the ids; the last two do. base: which member the first two are of.
    centroids: what the members became, if that is none of them.
    """
    nearest = Assignment(pool.z)

    def at(rows):
        return evaluate(nearest, weights, pool.z[rows], objective)

    random = [
        at(pool.rows(random_ids(derive(seed, "snapshot", draw), pool.ids, len(chosen)))) for draw in range(RANDOM_SETS)
    ]
    log = {
        "objective_before": members[base].values[0],
        "objective_after": members[base].last,
        "objective_of_selected": at(chosen),
        "objective_of_random_mean": float(np.mean(random)),
        "objective_of_random_sd": float(np.std(random, ddof=1)),
    }
    if centroids is not None:
        log["objective_of_centroids"] = evaluate(nearest, weights, centroids, objective)
    return log | {
        "pairs_multiplied": nearest.multiplied + sum(member.multiplied for member in members),
        "pairs_ranked": nearest.ranked + sum(member.ranked for member in members),
    }
