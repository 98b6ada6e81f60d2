"""What every selection logs."""

from __future__ import annotations

import logging
import statistics
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from vecaf.selection import diagnostics


def test_numbers_by_hand(inputs):
    ids = inputs.ids[[0, 3, 5, 8]]
    found = diagnostics.common(
        replace(inputs, earlier=(inputs.ids[[0, 1, 2]], inputs.ids[[3, 4, 5]])), ids, inputs.ids[[0, 1, 2]]
    )
    rows = [0, 3, 5, 8]
    assert found["loss_ratio"] == pytest.approx(inputs.losses[rows].mean() / inputs.losses.mean(), rel=1e-6)
    assert found["overlap_previous"] == 0.5
    assert found["overlap_initial"] == 0.25
    assert found["class_histogram"] == np.bincount(inputs.labels[rows], minlength=5).tolist()
    assert found["classes_covered"] == len(set(inputs.labels[rows]))
    assert found["warnings"] == []


def test_what_does_not_apply_is_none(inputs):
    found = diagnostics.common(replace(inputs, losses=None), inputs.ids[:4], None)
    assert found["loss_ratio"] is found["overlap_initial"] is found["overlap_previous"] is None
    assert found["loss_z"] is found["overlap_top_loss"] is None
    zero = replace(inputs, losses=np.zeros_like(inputs.losses))
    assert diagnostics.common(zero, inputs.ids[:4], None)["loss_ratio"] is None


@pytest.mark.parametrize(("kept", "warns"), [(8, False), (9, True)])
def test_a_selection_that_keeps_its_random_start_is_told(inputs, caplog, kept, warns):
    ids = inputs.ids[:10]
    with caplog.at_level(logging.WARNING):
        found = diagnostics.common(inputs, ids, np.concatenate([ids[:kept], inputs.ids[-2:]]))
    assert bool(found["warnings"]) == warns == ("random in disguise" in caplog.text)


def test_the_whole_pool_is_no_disguise(inputs):
    assert diagnostics.common(inputs, inputs.ids, inputs.ids)["warnings"] == []


# --- losses of a selection against those of random sets ---------------------------------------------------------------

LOSSES = np.array([0.5, 3.0, 1.25, 0.0, 2.0, 7.5, 0.25])


@pytest.mark.parametrize("rows", [[1], [0, 3], [1, 4, 5], [0, 2, 3, 6], [0, 1, 2, 3, 4, 5]])
def test_loss_z_counts_in_standard_deviations_of_every_random_set_of_as_many(rows):
    """Against the mean losses of all sets of K, each as likely as any other."""
    means = [LOSSES[list(drawn)].mean() for drawn in combinations(range(7), len(rows))]
    found = diagnostics.loss_facts(LOSSES, np.array(rows))
    assert found["loss_z"] == pytest.approx((LOSSES[rows].mean() - LOSSES.mean()) / statistics.pstdev(means), rel=1e-12)
    assert found["loss_ratio"] == pytest.approx(LOSSES[rows].mean() / (14.5 / 7))


def test_the_share_of_the_largest_losses_by_hand():
    """The three largest are rows 5, 1 and 4."""
    assert diagnostics.loss_facts(LOSSES, np.array([5, 1, 4]))["overlap_top_loss"] == 1
    assert diagnostics.loss_facts(LOSSES, np.array([0, 1, 4]))["overlap_top_loss"] == pytest.approx(2 / 3)
    assert diagnostics.loss_facts(LOSSES, np.array([0, 3]))["overlap_top_loss"] == 0


@pytest.mark.parametrize(("rows", "share"), [([0, 2], 1), ([0, 4], 0.5), ([4, 5], 0), ([0, 1], 0.5)])
def test_of_equal_losses_the_lowest_rows_are_the_largest(rows, share):
    losses = np.array([3.0, 1.0, 3.0, 2.0, 3.0, 3.0], dtype=np.float32)
    assert diagnostics.loss_facts(losses, np.array(rows))["overlap_top_loss"] == share


def test_of_many_equal_losses_the_lowest_rows_are_the_largest():
    losses = np.tile([1.0, 2.0], 500)
    assert diagnostics.loss_facts(losses, np.arange(1, 200, 2))["overlap_top_loss"] == 1
    assert diagnostics.loss_facts(losses, np.arange(201, 400, 2))["overlap_top_loss"] == 0


def test_where_random_sets_are_all_alike_there_is_no_z():
    whole = diagnostics.loss_facts(LOSSES, np.arange(7))
    assert whole == {"loss_ratio": 1, "loss_z": None, "overlap_top_loss": 1}
    equal = diagnostics.loss_facts(np.full(7, np.log(10), dtype=np.float32), np.array([1, 6]))
    assert equal == {"loss_ratio": 1, "loss_z": None, "overlap_top_loss": 0.5}  # all tie: the largest are rows 0 and 1
    rounded = diagnostics.loss_facts(np.full(1437, np.log(10)), np.arange(71))  # their mean is not their value
    assert rounded["loss_z"] is None
    nothing = diagnostics.loss_facts(np.zeros(5), np.array([3]))
    assert nothing == {"loss_ratio": None, "loss_z": None, "overlap_top_loss": 0}
    assert diagnostics.loss_facts(np.array([2.0]), np.array([0]))["loss_z"] is None


def test_a_selection_meets_its_own_losses_whatever_its_ids(inputs):
    """Ids of the pool have gaps: rows and ids are not the same."""
    rows = np.argsort(-inputs.losses)[:6]
    found = diagnostics.common(inputs, inputs.ids[rows], None)
    assert found["overlap_top_loss"] == 1
    assert found["loss_z"] == diagnostics.loss_facts(inputs.losses, np.sort(rows))["loss_z"] > 2
    least = diagnostics.common(inputs, inputs.ids[np.argsort(inputs.losses)[:6]], None)
    assert least["overlap_top_loss"] == 0 > least["loss_z"]


# --- classes that a random set covers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [(3, 2, 1, 0, 2), (1, 1, 1, 1), (6,), (0, 5, 2)])
def test_expected_classes_are_the_mean_over_every_set(pool):
    labels = np.repeat(np.arange(len(pool)), pool)
    for k in range(1, len(labels) + 1):
        covered = [len(set(labels[list(drawn)])) for drawn in combinations(range(len(labels)), k)]
        assert diagnostics.expected_classes(np.array(pool), k) == pytest.approx(statistics.mean(covered), abs=1e-9)


def test_expected_classes_of_a_large_pool():
    """ImageNet at 1 %: each of 1,000 classes of 1,281 or 1,282 is missed with probability 2.6 in a million."""
    pool = np.array([1281] * 833 + [1282] * 167)
    missed = 1 - diagnostics.expected_classes(pool, 12_811) / 1000
    assert missed == pytest.approx(0.99**1281, rel=0.1)


def test_a_log_holds_what_a_random_set_of_as_many_covers(inputs):
    found = diagnostics.common(inputs, inputs.ids[:2], None)
    pairs = [len({a, b}) for a, b in combinations(inputs.labels.tolist(), 2)]
    assert found["classes_expected"] == pytest.approx(statistics.mean(pairs))
    assert found["classes_covered"] == len(set(inputs.labels[:2]))
