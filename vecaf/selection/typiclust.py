"""TypiClust: cluster the pool into as many groups as there will be labels, and label the most typical sample of each.

Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets", ICML 2022.
"""

from __future__ import annotations

import heapq
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vecaf.seeds import derive, keyed_uniform
from vecaf.selection.base import Selector, random_ids, register

if TYPE_CHECKING:
    import torch


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    max_clusters: int = Field(500, ge=1, description="clusters are as many as labelled and new samples, at most these")
    neighbours: int = Field(20, ge=1, description="of its cluster, whose mean distance makes a sample typical")
    min_size: int = Field(5, ge=1, description="clusters below this size give samples when nothing else is left")


@register("typiclust")
class TypiClust(Selector):
    """The most typical samples of the least covered clusters, in turn, the largest cluster first."""

    title = "TypiClust"
    citation = "Hacohen et al., ICML 2022"
    needs = frozenset({"embeddings"})
    Params = Params
    excludes_labelled = True

    def select(self, inputs, k, seeds):
        """Return k ids, one after the other from the cluster that holds the fewest labelled or chosen samples.

        inputs.embeddings: (N, d), taken to unit length. Raises SelectionError for ``cuda`` without a visible GPU.
        """
        from vecaf.selection import engine

        pool = engine.Pool(inputs)
        z = pool.z.cpu().numpy()
        labelled = np.isin(pool.ids, inputs.labelled)
        clusters = min(int(labelled.sum()) + k, self.params.max_clusters)
        initial = _spread(pool.z, pool.ids, clusters, derive(seeds["random_set"], "k-means"))
        assigned, iterations = _k_means(z, initial)
        members = _groups(assigned)
        chosen = _in_turn(z, members, labelled, k, self.params)
        return pool.ids[chosen], {
            "clusters": len(members),
            "small_clusters": sum(len(rows) < self.params.min_size for rows in members),
            "clusters_chosen_from": len(np.unique(assigned[chosen])),
            "iterations": iterations,
        }


def _spread(z: torch.Tensor, ids: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the rows where k-means starts, (clusters,): greedy k-means++ (Arthur & Vassilvitskii, 2007), keyed by id.

    z: (N, d) rows of length one or zero, in the order of ids. scikit-learn's own start takes longer than its iterations
    and draws by position.
    """
    import torch

    squares = torch.linalg.vector_norm(z, dim=1).square()

    def distances(rows):
        return (squares[:, None] + squares[rows] - 2 * (z @ z[rows].T)).clamp_min_(0)

    trials = min(len(ids), 2 + int(math.log(clusters)))
    rows = [int(np.searchsorted(ids, random_ids(seed, ids, 1))[0])]
    nearest = distances(rows)[:, 0]
    for step in range(1, clusters):
        # The first of exponential times with rates d² are draws with probabilities in proportion to d².
        with np.errstate(divide="ignore", invalid="ignore"):
            times = -np.log1p(-keyed_uniform(derive(seed, step), ids)) / nearest.cpu().numpy()
        drawn = np.argpartition(times, trials - 1)[:trials]
        nearer = torch.minimum(nearest[:, None], distances(drawn))
        best = int(nearer.sum(dim=0).argmin())
        rows.append(int(drawn[best]))
        nearest = nearer[:, best]
    return np.asarray(rows)


def _k_means(z: np.ndarray, initial: np.ndarray) -> tuple[np.ndarray, int]:
    """Return each sample's cluster, (N,) int, and the number of iterations; z: (N, d) float32, initial: rows of z."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # Nothing is drawn, as the start is given. z is centred in place and put back, to within rounding: no copy of it.
    model = KMeans(len(initial), init=z[initial], n_init=1, random_state=0, copy_x=False)
    # Threads add up the centres in the order in which they finish, which changes their last digits from run to run.
    with threadpool_limits(1, "openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # duplicates: fewer clusters than asked for, as logged
        model.fit(z)
    return model.labels_, int(model.n_iter_)


def _groups(assigned: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each cluster that has any, each in increasing order; assigned: (N,) int."""
    order = np.argsort(assigned, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(assigned[order])) + 1)


def _in_turn(z: np.ndarray, members: list[np.ndarray], labelled: np.ndarray, k: int, params: Params) -> list[int]:
    """Return k rows: again and again the most typical one left of the cluster with the fewest labelled or chosen.

    Among equals the largest cluster comes first, then the one with the lowest id; small ones wait until no other has
    any sample left.
    """
    waiting = [
        (len(rows) < params.min_size, int(labelled[rows].sum()), -len(rows), rows[0], typical)
        for rows in members
        for typical in [_by_typicality(z, rows, labelled, params.neighbours)]
    ]
    heapq.heapify(waiting)
    chosen: list[int] = []
    while len(chosen) < k:
        small, count, size, first, typical = heapq.heappop(waiting)
        row = next(typical, None)
        if row is not None:
            chosen.append(row)
            heapq.heappush(waiting, (small, count + 1, size, first, typical))
    return chosen


def _by_typicality(z: np.ndarray, rows: np.ndarray, labelled: np.ndarray, neighbours: int) -> Iterator[int]:
    """Yield the unlabelled rows of a cluster, the most typical first, ties to the lowest row."""
    distance = mean_distance(z[rows], neighbours)
    yield from (int(row) for row in rows[np.argsort(distance, kind="stable")] if not labelled[row])


def mean_distance(z: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the mean Euclidean distance of each sample to its nearest others, (M,): one over its typicality.

    z: (M, d) float32, a cluster. Fewer neighbours if the cluster is smaller; 0 for a cluster of one.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(z) < 2:
        return np.zeros(len(z))
    search = NearestNeighbors(n_neighbors=min(neighbours, len(z) - 1), algorithm="brute").fit(z)
    distance = search.kneighbors()[0].mean(axis=1)  # in chunks, without the sample itself
    return distance.round(6)  # what float32 resolves, so that duplicates tie
