"""What every selection logs, whatever chose it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from vecaf.selection.base import Inputs

DISGUISE = 0.8  # share of random initial ids above which a selection is random in disguise


def overlap(ids: np.ndarray, others: np.ndarray) -> float:
    """Return the share of ids that is also in others."""
    return float(np.isin(ids, others).mean()) if len(ids) else 0.0


def common(inputs: Inputs, ids: np.ndarray, initial: np.ndarray | None, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return the diagnostics of a selection, as plain JSON.

    loss_ratio: mean loss of the selection over that of the pool, None without losses. overlap_initial: share of the
    selection that was among its random initial ids. overlap_previous: share that the loop before had chosen.
    classes_covered and class_histogram count labels of the selection. warnings, those of the
    selector first, are logged, too.
    """
    rows = np.flatnonzero(np.isin(inputs.ids, ids))
    labels = inputs.labels[rows]
    histogram = np.bincount(labels, minlength=int(inputs.labels.max()) + 1)
    found: dict[str, Any] = {
        "loss_ratio": None,
        "overlap_initial": None if initial is None else overlap(ids, initial),
        "overlap_previous": overlap(ids, inputs.earlier[-1]) if inputs.earlier else None,
        "classes_covered": int((histogram > 0).sum()),
        "class_histogram": histogram.tolist(),
        "warnings": list(warnings),
    }
    if inputs.losses is not None:
        pool = float(np.mean(inputs.losses, dtype=np.float64))
        found["loss_ratio"] = float(np.mean(inputs.losses[rows], dtype=np.float64)) / pool if pool else None
    if initial is not None and len(ids) < len(inputs) and found["overlap_initial"] > DISGUISE:
        found["warnings"].append(
            f"{found['overlap_initial']:.0%} of the selection are its random initial ids: it is random in disguise"
        )
    for warning in found["warnings"]:
        logging.getLogger(__name__).warning(warning)
    return found
