"""What every selection logs, whatever chose it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vecaf.selection.base import Inputs

DISGUISE = 0.8  # share of random initial ids above which a selection is random in disguise


def overlap(ids: np.ndarray, others: np.ndarray) -> float:
    """Return the share of ids that is also in others."""
    return float(np.isin(ids, others).mean()) if len(ids) else 0.0


def expected_classes(pool: np.ndarray, k: int) -> float:
    """Return how many classes a random set of k covers on average; pool: (C,) images of each class."""
    size = int(pool.sum())

    def missed(count: int) -> float:
        if k > size - count:
            return 0.0
        logs = (math.lgamma(size - count + 1), -math.lgamma(size - count - k + 1), math.lgamma(size - k + 1))
        return math.exp(sum(logs) - math.lgamma(size + 1))

    return float(sum(1 - missed(int(count)) for count in pool if count))


def loss_facts(losses: np.ndarray, rows: np.ndarray) -> dict[str, float | None]:
    """Return how the losses of a selection compare with the pool's.

    losses: (N,); rows: (K,). loss_ratio: mean of the selection over mean of the pool. loss_z: their difference in
    standard deviations of the mean of a random set of K (drawn without replacement); None where losses do not differ.
    overlap_top_loss: share of the selection among the K largest losses, ties by the lowest row.
    """
    values = np.asarray(losses, dtype=np.float64)
    size, k = len(values), len(rows)
    mean, chosen = float(values.mean()), float(values[rows].mean())
    # Rounding gives equal losses a standard deviation, too, and any difference a size in terms of it.
    differ = float(np.ptp(values)) > 1e-9 * float(np.abs(values).max())
    spread = float(values.std()) * math.sqrt((size - k) / max(size - 1, 1) / k) if differ else 0.0
    return {
        "loss_ratio": chosen / mean if mean else None,
        "loss_z": (chosen - mean) / spread if spread else None,
        "overlap_top_loss": overlap(rows, np.argsort(-values, kind="stable")[:k]),
    }


def common(inputs: Inputs, ids: np.ndarray, initial: np.ndarray | None, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return the diagnostics of a selection, as plain JSON.

    loss_ratio, loss_z, overlap_top_loss: see ``loss_facts``, None without losses. overlap_initial: share of the
    selection that was among its random initial ids. overlap_previous: share that the loop before had chosen.
    classes_covered and class_histogram count labels of the selection; classes_expected: covered by a random set.
    warnings, those of the selector first, are logged, too.
    """
    rows = np.flatnonzero(np.isin(inputs.ids, ids))
    labels = inputs.labels[rows]
    pool = np.bincount(inputs.labels)
    histogram = np.bincount(labels, minlength=len(pool))
    facts = ("loss_ratio", "loss_z", "overlap_top_loss")
    found: dict[str, Any] = {
        **(dict.fromkeys(facts) if inputs.losses is None else loss_facts(inputs.losses, rows)),
        "overlap_initial": None if initial is None else overlap(ids, initial),
        "overlap_previous": overlap(ids, inputs.earlier[-1]) if inputs.earlier else None,
        "classes_covered": int((histogram > 0).sum()),
        "classes_expected": expected_classes(pool, len(ids)),
        "class_histogram": histogram.tolist(),
        "warnings": list(warnings),
    }
    if initial is not None and len(ids) < len(inputs) and found["overlap_initial"] > DISGUISE:
        found["warnings"].append(
            f"{found['overlap_initial']:.0%} of the selection are its random initial ids: it is random in disguise"
        )
    for warning in found["warnings"]:
        logging.getLogger(__name__).warning(warning)
    return found
