import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in_curves import cell, key

from vecaf.reporting import b2a


def test_first_evaluation_at_or_above_linear_from_the_last_below():
    assert b2a.first_reach([0, 10, 20, 30], [0.1, 0.3, 0.5, 0.4], 0.4) == 15.0
    assert b2a.first_reach([0, 10, 20], [0.1, 0.3, 0.5], 0.3) == 10.0  # at an evaluation
    assert b2a.first_reach([0, 10, 20], [0.1, 0.3, 0.5], 0.51) is None
    assert b2a.first_reach([0, 10], [0.6, 0.9], 0.5) == 0.0  # reached before anything is trained


def test_a_curve_that_falls_again_counts_from_its_first_reach():
    # 0.5 is reached between 10 and 20, at 10 + (0.5 − 0.2)/(0.8 − 0.2)·10 = 15, and again later.
    assert b2a.first_reach([0, 10, 20, 30, 40], [0.1, 0.2, 0.8, 0.1, 0.9], 0.5) == pytest.approx(15.0)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.01, 1))
def test_the_reach_lies_behind_the_last_evaluation_below(accuracy, level):
    batches = [10 * step for step in range(len(accuracy))]
    found = b2a.first_reach(batches, accuracy, level)
    above = [at for at, value in zip(batches, accuracy, strict=True) if value >= level]
    assert (found is None) == (not above)
    if above:
        assert above[0] - 10 <= found <= above[0]


def test_censored_medians_by_hand():
    assert b2a.censored_median([30.0, 10.0, 20.0]) == 20.0
    assert b2a.censored_median([30.0, None, 20.0]) == 30.0  # and not 25, the mean of the survivors
    assert b2a.censored_median([None, None, 20.0]) is None
    assert b2a.censored_median([10.0, None]) is None
    assert b2a.censored_median([10.0, 20.0]) == 15.0
    assert b2a.censored_median([None]) is None
    assert b2a.censored_median([]) is None


@given(st.lists(st.one_of(st.none(), st.floats(1, 100)), min_size=1, max_size=7))
def test_a_seed_that_fails_never_makes_a_method_faster(values):
    before = b2a.censored_median(values)
    for position in range(len(values)):
        after = b2a.censored_median([*values[:position], None, *values[position + 1 :]])
        assert after is None or (before is not None and after >= before)


def test_cost_is_that_of_the_batch_in_which_the_level_is_reached():
    """Two loops of 20 batches; a batch costs 1, each selection 10: the second is paid with batch 21."""
    table = pd.concat([cell(key("vecaf"), 0, [0.0, 0.4, 0.6]), cell(key("vecaf"), 1, [0.0, 0.2, 0.4])])
    found = b2a.reached(table, 0.5)
    assert found.batches == {0: 30.0, 1: None}
    assert found.macs == {0: 30 + 20, 1: None}
    assert found.seconds == {0: 25.0, 1: None}
    assert (found.n, found.count) == (2, 1)
    assert found.median("macs") is None
    assert found.spent == {"batches": 40.0, "macs": 60.0, "seconds": 30.0}
    early = b2a.reached(table, 0.2)
    assert early.batches == {0: 10.0, 1: 20.0}
    assert early.macs == {0: 20.0, 1: 30.0}
    between = b2a.reached(cell(key("vecaf"), 0, [0.0, 0.4, 0.6]), 0.401)
    assert between.batches[0] == pytest.approx(20.1)
    assert between.macs[0] == 21 + 20  # the selection of loop 2 is paid, too


def test_rows_may_come_in_any_order():
    table = cell(key("vecaf"), 0, np.linspace(0, 0.8, 5))
    for seed in range(3):
        shuffled = table.sample(frac=1, random_state=seed)
        assert b2a.reached(shuffled, 0.5) == b2a.reached(table, 0.5)


def test_order_of_seeds_changes_nothing():
    values = [3.0, None, 1.0, 2.0]
    assert {b2a.censored_median(list(order)) for order in itertools.permutations(values)} == {2.5}
