"""Uncertainty of the classifier: entropy, margin and least confidence, against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pools import choose, make_inputs, permuted, picked, planted
from scipy import special

from vecaf import selection
from vecaf.errors import SelectionError
from vecaf.selection import uncertainty

UNCERTAINTY = ["entropy", "margin", "least_confidence"]
uncertain = pytest.mark.parametrize("name", UNCERTAINTY)


def naive(name, logits):
    """Return the uncertainty of each sample, written out from the probabilities."""
    p = np.sort(special.softmax(np.asarray(logits, dtype=np.float64), axis=1), axis=1)
    return {
        "entropy": special.entr(p).sum(axis=1),
        "margin": p[:, -2] - p[:, -1],
        "least_confidence": 1 - p[:, -1],
    }[name]


@uncertain
@pytest.mark.parametrize("seed", range(3))
def test_uncertainty_is_that_of_the_definition(name, seed):
    pool = make_inputs(seed=seed)
    wanted = naive(name, pool.logits)
    ids, found = choose(name, pool, 20)
    np.testing.assert_array_equal(ids, np.sort(pool.ids[np.argsort(-wanted)[:20]]))
    sign = -1 if name == "margin" else 1
    chosen = np.isin(pool.ids, ids)
    assert found[f"{name}_of_selected"] == pytest.approx(sign * wanted[chosen].mean(), rel=1e-9)
    assert found[f"{name}_of_pool"] == pytest.approx(sign * wanted.mean(), rel=1e-9)


def test_uncertainty_by_hand():
    """Three posteriors on which the measures disagree about the first sample."""
    p = np.array([[0.50, 0.49, 0.01], [0.45, 0.30, 0.25], [0.44, 0.40, 0.16]])
    pool = planted(p, logits=np.log(p))
    assert [picked(name, pool, 3).tolist() for name in UNCERTAINTY] == [[1, 2, 0], [0, 2, 1], [2, 1, 0]]


def test_margins_are_of_probabilities_and_not_of_logits():
    """Of two samples, the one whose best logits are closer has the larger margin where only two classes share it."""
    few = np.log(np.r_[0.55, 0.45, np.full(47, 1e-12)])  # 0.2 in logits, 0.1 in probability
    many = np.log(np.r_[0.04, 0.02, np.full(47, 0.02)])  # 0.7 in logits, 0.02 in probability
    assert picked("margin", planted([few, many], logits=np.array([few, many])), 1).tolist() == [1]


@uncertain
def test_uncertainty_skips_what_is_labelled(name, inputs):
    wanted = naive(name, inputs.logits)
    best = inputs.ids[np.argsort(-wanted)]
    ids, found = choose(name, replace(inputs, earlier=(np.sort(best[:10]),), loop=2), 7)
    np.testing.assert_array_equal(ids, np.sort(best[10:17]))
    assert abs(found[f"{name}_of_pool"]) == pytest.approx(abs(wanted.mean()))  # of the whole pool, labelled or not


@uncertain
def test_equal_uncertainty_goes_to_the_lowest_id(name, inputs):
    logits = np.zeros_like(inputs.logits)
    logits[:50, 0] = 3  # the first fifty are surer, all others equal
    order = np.random.default_rng(4).permutation(len(inputs))
    pool = permuted(replace(inputs, logits=logits), order)
    np.testing.assert_array_equal(choose(name, pool, 45)[0], [*inputs.ids[:5], *inputs.ids[50:]])


@uncertain
def test_it_does_not_matter_whether_logits_are_made_by_rows_or_read_in_chunks(name, monkeypatch):
    pool = make_inputs(size=300)
    whole = choose(name, pool, 40)
    lazy = replace(pool, logits=selection.Logits(pool.embeddings, *pool.head))
    by_rows = choose(name, lazy, 40)[0]
    np.testing.assert_array_equal(by_rows, choose(name, replace(pool, logits=lazy.logits[:]), 40)[0])
    for numbers in (1, 35, 500):  # of a chunk: one row of five logits, seven rows, a hundred
        monkeypatch.setattr(uncertainty, "CHUNK_NUMBERS", numbers)
        again = choose(name, pool, 40)
        np.testing.assert_array_equal(again[0], whole[0])
        assert again[1][f"{name}_of_pool"] == whole[1][f"{name}_of_pool"]
        np.testing.assert_array_equal(choose(name, lazy, 40)[0], by_rows)


@uncertain
@pytest.mark.filterwarnings("error")
def test_saturated_logits_are_finite(name):
    largest = float(np.finfo(np.float32).max)
    logits = np.float32(
        [[0, -largest, largest], [1e4, 0, 0], [0, 0, 0], [-largest] * 3, [largest, largest, 0], [9, 9, 0]]
    )
    _, found = choose(name, planted(logits, logits=logits), 3)
    assert np.isfinite([found[f"{name}_of_selected"], found[f"{name}_of_pool"]]).all()


@pytest.mark.parametrize("name", ["entropy", "least_confidence"])
def test_confident_samples_keep_their_order(name):
    """Probabilities that float64 rounds to one still differ in what they leave to the others."""
    gaps = np.float32([100, 60, 200, 45, 150])
    logits = np.zeros((5, 4), dtype=np.float32)
    logits[:, 2] = gaps
    assert picked(name, planted(logits, logits=logits), 5).tolist() == np.argsort(gaps).tolist()


def test_log_posterior_is_the_log_softmax(inputs):
    found = uncertainty.log_posterior(inputs.logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, special.log_softmax(inputs.logits.astype(np.float64), axis=1), rtol=1e-12)
    np.testing.assert_allclose(uncertainty.log_posterior(inputs.logits + 1e4), found, atol=1e-2)
    np.testing.assert_array_equal(uncertainty.log_posterior(np.zeros((2, 1))), 0)


def test_a_margin_needs_two_classes(inputs):
    with pytest.raises(SelectionError, match="the logits have only one"):
        choose("margin", replace(inputs, logits=inputs.logits[:, :1]), 3)
