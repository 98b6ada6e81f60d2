"""Seeded stratified splits: which images of every class go to one side."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from vecaf.seeds import keyed_uniform


def stratified(labels: np.ndarray, share: Fraction, seed: int) -> np.ndarray:
    """Return a mask (N,) bool with floor(share · N) images, spread over the classes as evenly as whole images allow.

    labels: (N,) int, row = id. Every class gets the floor of its share, and the images still missing go to the classes
    with the largest remainders (Hamilton's method; ties to the lowest class). Draws are keyed by id.
    """
    counts = np.bincount(labels)
    exact = [share * int(count) for count in counts]
    quota = np.array([int(value) for value in exact], dtype=np.int64)
    remainders = [value - int(value) for value in exact]
    by_remainder = sorted(range(len(counts)), key=lambda label: (-remainders[label], label))
    quota[by_remainder[: int(share * len(labels)) - int(quota.sum())]] += 1
    return _first(labels, quota, seed)


def per_class(labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return a mask (N,) bool with ``number`` images of every class, all of a class that has fewer; row = id."""
    return _first(labels, np.full(int(labels.max(initial=-1)) + 1, number), seed)


def _first(labels: np.ndarray, quota: np.ndarray, seed: int) -> np.ndarray:
    """Return the mask of the quota[c] lowest draws of each class c."""
    order = np.lexsort((keyed_uniform(seed, np.arange(len(labels))), labels))
    starts = np.searchsorted(labels[order], np.arange(len(quota)))
    rank = np.arange(len(labels)) - starts[labels[order]]
    mask = np.zeros(len(labels), dtype=bool)
    mask[order] = rank < quota[labels[order]]
    return mask
