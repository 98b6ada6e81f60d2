"""LearnLoss: the largest predicted losses of a sub-pool drawn by id, never the true ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pools import SEEDS, after_a_loop, make_inputs

from vecaf import selection
from vecaf.selection.base import subpool, unlabelled


def choose(inputs, k, seeds=SEEDS, **params):
    return selection.choose(selection.build("learning_loss", params), inputs, k, seeds)


def test_the_largest_predictions_of_the_whole_pool():
    """A sub-pool as large as the pool: the argsort of the predictions, and not of the losses."""
    inputs = make_inputs(size=200)
    ids, found = choose(inputs, 20, subpool=10.0)
    np.testing.assert_array_equal(ids, np.sort(inputs.ids[np.argsort(-inputs.predicted_losses)[:20]]))
    assert not np.array_equal(ids, np.sort(inputs.ids[np.argsort(-inputs.losses)[:20]]))
    assert found["subpool"] == 200


def test_only_unlabelled_samples_of_the_sub_pool():
    inputs = after_a_loop(make_inputs(size=400), count=60)
    ids, found = choose(inputs, 10, subpool=3.0)
    rows = subpool(inputs, unlabelled(inputs, 10, "it"), 30, SEEDS["random_set"])
    assert found["subpool"] == len(rows) == 30
    assert not np.isin(inputs.ids[rows], inputs.labelled).any()
    best = rows[np.argsort(-inputs.predicted_losses[rows])[:10]]
    np.testing.assert_array_equal(ids, np.sort(inputs.ids[best]))


def test_the_sub_pool_is_drawn_by_id_and_afresh_in_every_loop():
    inputs = make_inputs(size=400)
    rows = np.arange(400)
    chosen = subpool(inputs, rows, 50, 7)
    assert len(np.unique(chosen)) == 50
    assert not np.array_equal(chosen, subpool(inputs, rows, 50, 8))
    # leaving samples out changes no other draw: what stays of the sub-pool is in the smaller pool's, too
    half = np.arange(0, 400, 2)
    assert np.isin(np.intersect1d(chosen, half), subpool(inputs, half, 50, 7)).all()
    np.testing.assert_array_equal(subpool(inputs, rows, 400, 7), rows)


def test_a_sub_pool_below_k_is_refused():
    with pytest.raises(selection.base.SelectionError, match=r"subpool: Input should be greater than or equal to 1"):
        selection.build("learning_loss", {"subpool": 0.5})


def test_how_well_losses_are_predicted_is_logged():
    inputs = make_inputs(size=200)
    right = replace(inputs, predicted_losses=np.log(inputs.losses))
    assert choose(right, 20)[1]["loss_correlation"] == pytest.approx(1)
    assert choose(replace(right, predicted_losses=-inputs.losses), 20)[1]["loss_correlation"] == pytest.approx(-1)
    flat = replace(right, predicted_losses=np.zeros_like(inputs.losses))
    assert choose(flat, 20)[1]["loss_correlation"] is None
    assert choose(replace(right, losses=None), 20)[1]["loss_correlation"] is None
