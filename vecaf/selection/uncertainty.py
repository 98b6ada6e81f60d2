"""What the uncertainty controls share: a score for every sample from its logits, and the choice by it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vecaf.selection.base import CHUNK_ROWS, Inputs, Logits, chunks, lowest, unlabelled

CHUNK_NUMBERS = 2**22  # of a chunk's logits


def log_posterior(logits: np.ndarray) -> np.ndarray:
    """Return log p(class | sample), the log-softmax of logits (N, C) in float64.

    The best class is left out of the sum, so that its log p keeps its digits where p is nearly one: confident samples
    still have an order.
    """
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(axis=1, keepdims=True)
    others = np.exp(z)
    others[np.arange(len(z)), z.argmax(axis=1)] = 0
    return z - np.log1p(others.sum(axis=1, keepdims=True))


def scores(logits: np.ndarray | Logits, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the scores of all samples, (N,) float64, from logits (N, C) read in chunks.

    score: of the log posteriors (M, C) of a chunk, (M,).
    """
    size, classes = logits.shape
    found = np.empty(size, dtype=np.float64)
    for rows in chunks(size, min(CHUNK_ROWS, max(1, CHUNK_NUMBERS // classes))):
        found[rows] = score(log_posterior(logits[rows]))
    return found


def select(
    inputs: Inputs, k: int, name: str, score: Callable[[np.ndarray], np.ndarray], largest: bool = True
) -> tuple[np.ndarray, dict[str, float]]:
    """Return the unlabelled ids of the k largest (or smallest) scores, and the mean score of these and of the pool.

    name: of the selector. score: as of ``scores``.
    """
    inputs = inputs.in_order()
    values = scores(inputs.logits, score)
    rows = unlabelled(inputs, k, name)
    ids = lowest(-values[rows] if largest else values[rows], inputs.ids[rows], k)
    return ids, {
        f"{name}_of_selected": float(values[np.isin(inputs.ids, ids)].mean()),
        f"{name}_of_pool": float(values.mean()),
    }
