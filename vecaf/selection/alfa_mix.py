"""ALFA-Mix: samples that change class when their embedding is mixed with the mean of a labelled class.

Parvaneh et al., "Active Learning by Feature Mixing", CVPR 2022, section 3, with the closed form of the mixing weights.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vecaf.seeds import derive, keyed_uniform
from vecaf.selection.base import Inputs, Selector, chunks, random_ids, register, subpool, unlabelled

ROWS = 4_096  # rows at a time: several arrays of rows × classes and rows × d in double precision are alive at once
NO_LENGTH = np.finfo(np.float64).tiny ** 0.5  # a shorter gradient has a square below the smallest normal number
ITERATIONS = 100  # of k-means, at most


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    cap_step: float = Field(
        0.2,
        gt=0,
        le=1,
        description="cap on the mixing weight; grows by itself up to 1 until more than K are candidates",
    )
    subpool: float | None = Field(
        None, ge=1, description="random unlabelled samples that are looked at, in multiples of K; none: all"
    )
    max_candidates: float | None = Field(
        None, ge=1, description="candidates that are clustered, in multiples of K, drawn by id; none: all"
    )
    kmeans_init: Literal["k-means++", "random"] = Field("k-means++", description="first centroids of the candidates")
    fill: Literal["without_replacement", "with_replacement"] = Field(
        "without_replacement",
        description="random draws where candidates are fewer than K; with_replacement (released): samples drawn twice "
        "are counted in the log and replaced by further draws, as a selection has K distinct ids",
    )


@register("alfa_mix")
class AlfaMix(Selector):
    """The candidates in the middle of K clusters, and random samples where there are fewer candidates than K."""

    title = "ALFA-Mix"
    citation = "Parvaneh et al., CVPR 2022"
    needs = frozenset({"embeddings", "head"})
    Params = Params
    excludes_labelled = True
    cold_start = False

    def select(self, inputs, k, seeds):
        """Return k unlabelled ids, with the last cap, the number of candidates and how many were drawn at random.

        Without a labelled sample there are no anchors, and all k are drawn at random. Raises SelectionError when fewer
        than k samples are unlabelled.
        """
        inputs, seed = inputs.in_order(), seeds["random_set"]
        rows = unlabelled(inputs, k, self.name)
        seen = rows if self.params.subpool is None else subpool(inputs, rows, int(self.params.subpool * k), seed)
        candidates, log = self._candidates(inputs, seen, k)
        if self.params.max_candidates is not None:
            candidates = subpool(inputs, candidates, int(self.params.max_candidates * k), derive(seed, "candidates"))
        if len(candidates) > k:
            z = _directions(inputs.embeddings, candidates)
            candidates = candidates[one_per_cluster(z, k, self.params.kmeans_init, derive(seed, "kmeans"))]
        missing = k - len(candidates)
        rest = inputs.ids[np.setdiff1d(rows, candidates)]
        filled, duplicates = fill(rest, missing, derive(seed, "fill"), self.params.fill == "with_replacement")
        if self.params.fill == "with_replacement":
            log["duplicates_replaced"] = duplicates
        return np.concatenate([inputs.ids[candidates], filled]), {
            **log,
            "filled": missing,
            "subpool": len(seen),
            "warnings": self._warnings(log, missing, k),
        }

    def _candidates(self, inputs: Inputs, seen: np.ndarray, k: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the candidates' rows among those that are looked at, and how they were found."""
        labelled = np.flatnonzero(np.isin(inputs.ids, inputs.labelled))
        if not len(labelled):
            return np.empty(0, dtype=np.int64), {"cap": None, "candidates": 0, "zero_gradient": None}
        anchors = class_anchors(inputs.embeddings, inputs.labels, labelled, len(inputs.head[0]))
        caps, flat = np.empty(len(seen)), np.empty(len(seen), dtype=bool)
        for part in chunks(len(seen), ROWS):
            caps[part], flat[part] = caps_needed(inputs.embeddings[seen[part]], *inputs.head, anchors)
        cap, chosen = candidates_below(caps, self.params.cap_step, k)
        return seen[chosen], {"cap": cap, "candidates": len(chosen), "zero_gradient": float(flat.mean())}

    def _warnings(self, log: dict[str, Any], missing: int, k: int) -> list[str]:
        if log["cap"] is None:
            return [f"{self.name}: nothing is labelled, so there are no anchors: all {k} samples were drawn at random"]
        if missing:
            return [
                f"{self.name}: at a cap of {log['cap']:g} only {log['candidates']} samples change class: {missing} of "
                f"{k} were drawn at random"
            ]
        return []


def class_anchors(embeddings: np.ndarray, labels: np.ndarray, labelled: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean embedding of each class's labelled samples, (C, d) float64.

    embeddings: (N, d), array or memory map. labels: (N,) int64 below C. labelled: their rows, at least one. A class
    without any gets the mean of all labelled samples.
    """
    sums = np.zeros((classes, embeddings.shape[1]))
    for part in chunks(len(labelled), ROWS):
        rows = labelled[part]
        np.add.at(sums, labels[rows], np.asarray(embeddings[rows], dtype=np.float64))
    counts = np.bincount(labels[labelled], minlength=classes)
    anchors = sums / np.maximum(counts, 1)[:, None]
    anchors[counts == 0] = sums.sum(axis=0) / len(labelled)
    return anchors


def loss_gradient(logits: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted classes, (M,) int64, ties to the lowest, and the gradient of their loss, (M, d) float64.

    The gradient of the cross-entropy with respect to the embeddings behind a linear head: Wᵀ(p − onehot(y*)).
    logits: (M, C). weight: (C, d).
    """
    rows, y = np.arange(len(logits)), logits.argmax(axis=1)
    p = np.exp(logits - logits[rows, y][:, None])
    p /= p.sum(axis=1, keepdims=True)
    # p_y − 1 would be zero long before the other probabilities are.
    p[rows, y] = 0
    p[rows, y] = -p.sum(axis=1)
    return y, p @ weight


def caps_needed(
    z: np.ndarray, weight: np.ndarray, bias: np.ndarray, anchors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cap above which each sample is a candidate, (M,) float64, and whether its gradient is zero, (M,) bool.

    z: (M, d) embeddings. weight: (C, d), bias: (C,) of the linear head. anchors: (A, d). All are taken to float64. A
    sample that no cap makes a candidate has an infinite one, as has one with a gradient of zero (a saturated softmax).

    Parvaneh et al. (2022), section 3, with the mixing weights of the released closed form: for Δ = z* − z and
    ε = cap/√d they are α = ε‖Δ‖/‖g‖ · g/Δ, entry by entry. So the mixture z + αΔ is z + ε‖Δ‖ g/‖g‖: a step along the
    gradient, whose length is all that depends on the anchor, and the farthest anchor decides. The logits are affine in
    the length s of the step, a + sv, so that class c overtakes y at s = (a_y − a_c)/(v_c − v_y).
    """
    z, weight, bias = (np.asarray(part, dtype=np.float64) for part in (z, weight, bias))
    a = z @ weight.T + bias
    y, g = loss_gradient(a, weight)
    norm = np.linalg.norm(g, axis=1)
    flat = norm < NO_LENGTH
    v = (g / np.where(flat, 1, norm)[:, None]) @ weight.T
    gap = np.take_along_axis(a, y[:, None], axis=1) - a
    slope = v - np.take_along_axis(v, y[:, None], axis=1)
    longest = _farthest(z, anchors) / z.shape[1] ** 0.5
    with np.errstate(over="ignore"):  # an infinite step is what it means
        s = np.divide(gap, slope, out=np.full_like(gap, np.inf), where=slope > 0).min(axis=1)
        return np.divide(s, longest, out=np.full_like(s, np.inf), where=(longest > 0) & ~flat), flat


def _farthest(z: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return the distance of each sample to its farthest anchor, (M,)."""
    middle = anchors.mean(axis=0)  # as the origin, or a distance would be a small difference of large squares
    z, anchors = z - middle, np.asarray(anchors, dtype=np.float64) - middle
    squares = (z**2).sum(axis=1)[:, None] + (anchors**2).sum(axis=1) - 2 * (z @ anchors.T)
    return np.sqrt(np.maximum(squares.max(axis=1), 0))


def candidates_below(caps: np.ndarray, step: float, k: int) -> tuple[float, np.ndarray]:
    """Return the lowest multiple of step, at most 1, with more than k candidates, or the last one, and their rows.

    caps: (M,), what each sample needs.
    """
    grid = step * np.arange(1, int(1 / step + 1e-9) + 1)
    enough = np.searchsorted(np.sort(caps), grid) > k
    cap = grid[enough.argmax() if enough.any() else -1]
    return round(float(cap), 10), np.flatnonzero(caps < cap)


def _directions(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return some rows of (N, d) embeddings with unit length, float64; those of zero stay zero.

    In single precision k-means has several answers to one seed, as threads add to centroids in any order.
    """
    z = np.empty((len(rows), embeddings.shape[1]))
    for part in chunks(len(rows), ROWS):
        z[part] = embeddings[rows[part]]
        z[part] /= np.maximum(np.linalg.norm(z[part], axis=1, keepdims=True), 1e-12)
    return z


def one_per_cluster(z: np.ndarray, k: int, init: str, seed: int) -> np.ndarray:
    """Return k distinct rows: of each of k clusters the member nearest to its centroid, the lowest row on ties.

    z: (M, d) float64 of unit length, M > k. Where k-means leaves a cluster empty (fewer than k distinct points), the
    nearest row that is still free takes its place.
    """
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    kmeans = KMeans(k, init=init, n_init=1, max_iter=ITERATIONS, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of empty clusters
        labels = kmeans.fit(z).labels_
    distances = np.empty(len(z))
    for part in chunks(len(z), ROWS):
        distances[part] = ((z[part] - kmeans.cluster_centers_[labels[part]]) ** 2).sum(axis=1)
    # Two members are equally far from their mean: the last bit must not choose between them.
    order = np.lexsort((distances.round(9), labels))
    clusters, first = np.unique(labels[order], return_index=True)
    chosen = order[first]
    if len(chosen) == k:
        return chosen
    free = np.setdiff1d(np.arange(len(z)), chosen)
    empty = np.setdiff1d(np.arange(k), clusters)
    return np.concatenate([chosen, free[_nearest(z[free], kmeans.cluster_centers_[empty])]])


def _nearest(z: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    import torch

    from vecaf.selection.engine import nearest_unique

    centroids = torch.nn.functional.normalize(torch.from_numpy(centroids), dim=1)
    return nearest_unique(torch.from_numpy(z), centroids)


def fill(ids: np.ndarray, count: int, seed: int, with_replacement: bool) -> tuple[np.ndarray, int]:
    """Return ``count`` distinct ids drawn at random, (count,) int64, and how many draws hit an id drawn before.

    ids: (R,) int64 in increasing order, R ≥ count. Without replacement no draw does. With it, the draws that do are
    replaced by ids not drawn yet: the released code would keep them and choose fewer distinct samples.
    """
    if not with_replacement:
        return random_ids(seed, ids, count), 0
    draws = ids[(keyed_uniform(seed, np.arange(count)) * len(ids)).astype(np.int64)]
    distinct = np.unique(draws)
    duplicates = count - len(distinct)
    further = random_ids(derive(seed, "further"), np.setdiff1d(ids, distinct), duplicates)
    return np.concatenate([distinct, further]), duplicates
