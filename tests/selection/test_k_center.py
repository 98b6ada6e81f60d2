"""k-center greedy: the farthest-first traversal, against all pairwise distances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pools import SEEDS, after_a_loop, make_inputs, permuted, picked, planted

from vecaf import selection
from vecaf.seeds import keyed_uniform
from vecaf.selection import k_center


def reference_k_center(z, centres, k):
    """Return k rows by the definition, from all pairwise distances in float64."""
    distances = np.linalg.norm(z[:, None].astype(np.float64) - z[None], axis=2)
    chosen = []
    for _ in range(k):
        nearest = distances[:, [*centres, *chosen]].min(axis=1)
        nearest[[*centres, *chosen]] = -1
        chosen.append(int(nearest.argmax()))
    return chosen, max(0, distances[:, [*centres, *chosen]].min(axis=1).max())


@pytest.mark.parametrize("k", [1, 2, 30, 90])
def test_k_center_is_the_farthest_first_traversal(k):
    pool = make_inputs(seed=k)
    ids, found = selection.build("k_center").select(pool, k, SEEDS)
    first = int(keyed_uniform(SEEDS["random_set"], pool.ids).argmin())
    rows, radius = reference_k_center(pool.embeddings, [first], k - 1)
    np.testing.assert_array_equal(ids, pool.ids[[first, *rows]])
    assert found["radius_after"] == pytest.approx(radius, abs=1e-5)
    assert found["radius_before"] is None


def test_k_center_starts_from_the_labelled(inputs):
    later = after_a_loop(inputs)
    centres = np.flatnonzero(np.isin(inputs.ids, later.labelled))
    ids, found = selection.build("k_center").select(later, 20, SEEDS)
    rows, radius = reference_k_center(inputs.embeddings, centres, 20)
    np.testing.assert_array_equal(ids, inputs.ids[rows])
    assert found["radius_after"] == pytest.approx(radius, rel=1e-5)
    assert found["radius_before"] == pytest.approx(reference_k_center(inputs.embeddings, centres, 0)[1], rel=1e-5)
    np.testing.assert_array_equal(ids, picked("k_center", later, 20, {"random_set": 5, "centroids": 6}))  # no draw


def test_k_center_by_hand():
    """On a line with the sample at 0 labelled: the far end, then the middle of the widest gap."""
    z = np.float32([[0], [1], [2], [5], [6], [10]])
    pool = planted(z, embeddings=z, earlier=(np.array([0]),), loop=2)
    ids, found = selection.build("k_center").select(pool, 3, SEEDS)
    assert ids.tolist() == [5, 3, 2]
    assert (found["radius_before"], found["radius_after"]) == (10, 1)


def test_k_center_ties_go_to_the_lowest_id():
    """Corners of a square, each held by many samples: one of each, the lowest, then the lowest ids left."""
    corners = np.float32([[1, 0], [0, 1], [-1, 0], [0, -1]])
    z = corners[np.arange(60) % 4] * 1e3 + 0.1  # far from zero, where ‖z‖² − 2zc + ‖c‖² would lose its digits
    pool, order = planted(z, embeddings=z, earlier=(np.array([0]),), loop=2), np.random.default_rng(8).permutation(60)
    assert picked("k_center", permuted(pool, order), 6).tolist() == [
        2,
        1,
        3,
        4,
        5,
        6,
    ]


def test_k_center_copies_no_float32(inputs, tmp_path):
    assert np.shares_memory(k_center._tensor(inputs).numpy(), inputs.embeddings)
    np.save(tmp_path / "z.npy", inputs.embeddings)
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    assert np.shares_memory(k_center._tensor(replace(inputs, embeddings=mapped)).numpy(), mapped)
