"""Random, full-data and top-K loss: selectors of a line each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pools import choose, make_inputs, permuted

from vecaf.errors import SelectionError


def test_top_k_is_the_partition_of_losses(inputs):
    ids, found = choose("top_k_loss", inputs, 25)
    wanted = inputs.ids[np.argpartition(-inputs.losses, 25)[:25]]
    np.testing.assert_array_equal(ids, np.sort(wanted))
    assert found["loss_ratio"] > 1


def test_top_k_breaks_ties_by_the_lowest_id(inputs):
    losses = np.ones_like(inputs.losses)
    losses[-1] = 2
    ids, _ = choose("top_k_loss", replace(inputs, losses=losses), 4)
    np.testing.assert_array_equal(ids, [*inputs.ids[:3], inputs.ids[-1]])


def test_ties_do_not_depend_on_the_order_of_rows():
    pool = make_inputs(size=400)
    order = np.random.default_rng(2).permutation(400)
    losses = np.repeat(np.float32([1, 2, 3, 4]), 100)[order]
    shuffled = replace(permuted(pool, order), losses=losses)
    np.testing.assert_array_equal(choose("top_k_loss", shuffled, 150)[0], [*pool.ids[200:250], *pool.ids[300:]])


def test_top_k_in_a_first_loop_that_ignores_its_losses(inputs):
    np.testing.assert_array_equal(choose("top_k_loss", inputs, 4, first_loop="uniform")[0], inputs.ids[:4])
    second = replace(inputs, loop=2)
    np.testing.assert_array_equal(
        choose("top_k_loss", second, 4, first_loop="uniform")[0], choose("top_k_loss", inputs, 4)[0]
    )


def test_random_draws_by_id():
    """Leaving samples out of the pool changes no other draw, and a larger K contains the smaller one."""
    pool, half = make_inputs(size=300), make_inputs(size=150)
    whole = choose("random", pool, 100)[0]
    np.testing.assert_array_equal(choose("random", pool, 40)[0], np.intersect1d(choose("random", pool, 40)[0], whole))
    shared = np.intersect1d(whole, half.ids)
    np.testing.assert_array_equal(choose("random", half, len(shared))[0], shared)


def test_random_reads_only_its_own_stream(inputs):
    once = choose("random", inputs, 30)[0]
    np.testing.assert_array_equal(choose("random", inputs, 30, {"random_set": 11, "centroids": 99})[0], once)
    assert not np.array_equal(choose("random", inputs, 30, {"random_set": 12, "centroids": 12})[0], once)


def test_random_is_uniform():
    pool = make_inputs(size=40)
    counts = np.zeros(40)
    for seed in range(800):
        ids, _ = choose("random", pool, 10, {"random_set": seed, "centroids": 0})
        counts += np.isin(pool.ids, ids)
    # 39 degrees of freedom; the variance of a draw without replacement is 800 · ¼ · ¾.
    assert 18 < ((counts - 200) ** 2 / (800 * 0.25 * 0.75)).sum() * 39 / 40 < 68


def test_full_takes_all_or_says_why_not(inputs):
    np.testing.assert_array_equal(choose("full", inputs, 90)[0], inputs.ids)
    with pytest.raises(SelectionError, match="full selects all 90 ids, K = 89"):
        choose("full", inputs, 89)
