"""Pools that selectors choose from, and choosing: clustered embeddings, uneven losses, ids with gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vecaf import selection
from vecaf.selection.base import PER_SAMPLE

SEEDS = {"random_set": 11, "centroids": 12}
# What makes a selector fast enough for a test, where it has such a parameter.
QUICK = {"iterations": 12, "ensemble": 2, "max_iterations": 6, "width": 4, "subpool": 2.0, "batch_size": 16}


def make_inputs(size=90, width=8, classes=5, seed=0, spread=0.35):
    """Return a pool of `classes` clusters, a sample's loss falling with its class; every other id is left out."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=size)
    centers = generator.normal(size=(classes, width))
    embeddings = (centers[labels] + spread * generator.normal(size=(size, width))).astype(np.float32)
    losses = (generator.lognormal(size=size) / (1 + labels)).astype(np.float32)
    logits = generator.normal(size=(size, classes)).astype(np.float32)
    weight = (centers + generator.normal(size=centers.shape)).astype(np.float32)
    shades = generator.integers(0, 60, (size, 32, 32, 3)) + 40 * labels[:, None, None, None]
    return selection.Inputs(
        ids=np.arange(size, dtype=np.int64) * 2 + 1,
        labels=labels.astype(np.int64),
        embeddings=embeddings,
        losses=losses,
        logits=logits,
        head=(weight, generator.normal(size=classes).astype(np.float32)),
        predicted_losses=(np.log(losses) + generator.normal(size=size)).astype(np.float32),
        images=shades.astype(np.uint8),
        device="cpu",
    )


def after_a_loop(inputs, seed=3, count=15):
    """Return the same pool in loop 2, after a loop that chose `count` ids at random."""
    chosen = np.sort(np.random.default_rng(seed).permutation(inputs.ids)[:count])
    return replace(inputs, earlier=(chosen,), loop=2)


def permuted(inputs, order):
    """Return the same pool with its rows in another order."""
    given = {name: getattr(inputs, name) for name in ("ids", *PER_SAMPLE)}
    return replace(inputs, **{name: rows[order] for name, rows in given.items() if rows is not None})


def quick(name, **params):
    """Build a selector by name with few iterations."""
    fields = selection.get(name).Params.model_fields
    return selection.build(name, {key: value for key, value in QUICK.items() if key in fields} | params)


def choose(name, inputs, k, seeds=SEEDS, **params):
    return selection.choose(selection.build(name, params), inputs, k, seeds)


def picked(name, inputs, k, seeds=SEEDS, **params):
    """Return what the selector itself returns: rows' ids in the order in which they were chosen."""
    return selection.build(name, params).select(inputs, k, seeds)[0]


def planted(values, **fields):
    """Return a pool of as many samples as there are rows of values, with ids 0, 1, …"""
    size = len(values)
    given = {"labels": np.zeros(size, dtype=np.int64), "device": "cpu", **fields}
    return selection.Inputs(ids=np.arange(size, dtype=np.int64), **given)
