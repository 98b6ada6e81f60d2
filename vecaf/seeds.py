"""Seeds: every random stream hashes only what it means, never the method.

Cells that share a dataset, ratio and seed therefore share their head, their initial centroids and their order of
batches: comparisons are paired, and equal work is done once (common random numbers).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

# What each stream depends on. A stream that is not listed here does not exist.
STREAMS: dict[str, tuple[str, ...]] = {
    "split": ("dataset",),
    "tuning": ("dataset",),
    "pretrain": ("dataset", "backbone"),
    "head": ("seed", "dataset", "backbone"),
    "loss_head": ("seed", "dataset", "backbone"),
    "centroids": ("seed", "dataset", "ratio", "member"),
    "random_set": ("seed", "dataset", "ratio", "loop"),
    "batches": ("seed", "dataset", "loop"),
    "augmentation": ("seed", "dataset", "loop"),
    "probe": ("dataset",),
    "curve": ("dataset",),
    "captions": ("dataset",),
    "text": ("dataset",),
    "corruption": ("dataset",),
    "styler": ("dataset",),
    "planted": ("dataset",),
    "mislabelled": ("dataset",),
    "stylize": ("dataset",),
    "projection": ("dataset", "backbone"),
}


def stream(name: str, **meaning: Any) -> int:
    """Return the 63-bit seed of one stream.

    ``meaning`` holds exactly the keys that ``STREAMS[name]`` lists. Raises KeyError for an unknown stream and
    TypeError when a key is missing or superfluous, so that a stream can never depend on more than it should.
    """
    wanted = STREAMS[name]
    if set(meaning) != set(wanted):
        raise TypeError(f"stream {name!r} hashes {sorted(wanted)}, got {sorted(meaning)}")
    text = json.dumps([name, *(str(meaning[key]) for key in wanted)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive(seed: int, *parts: Any) -> int:
    """Return a 63-bit seed for a part of a stream (an ensemble member, a loop, an epoch)."""
    text = json.dumps([int(seed), *(str(part) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def keyed_uniform(seed: int, ids: np.ndarray) -> np.ndarray:
    """Return one uniform number in [0, 1) per id, float64, drawn by id and not by position.

    ids: (N,) int64. Permuting the pool permutes the draws with it, and leaving samples out changes no other draw.
    The mixing function is splitmix64 (Steele, Lea & Flood, 2014).
    """
    with np.errstate(over="ignore"):
        z = np.asarray(ids, dtype=np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
