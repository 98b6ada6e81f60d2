"""One class against all others: the four measures by hand, and as evaluation writes them."""

import numpy as np
import pytest

from vecaf.training.evaluate import evaluate, one_vs_all

# Ten images; class 1 is the target and has four of them.
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 2, 2, 2])
PREDICTIONS = np.array([1, 1, 1, 0, 1, 0, 0, 2, 2, 1])
PROBABILITY = np.array([0.9, 0.8, 0.4, 0.1, 0.7, 0.2, 0.1, 0.0, 0.5, 0.45], dtype=np.float32)


def test_the_four_measures_by_hand():
    found = one_vs_all(PREDICTIONS, PROBABILITY, LABELS, 1)
    assert found["recall_argmax"] == 3 / 4
    assert found["recall_half"] == 2 / 4  # the third wins among three classes with 0.4
    assert found["binary_accuracy"] == 7 / 10  # two targets missed, one false alarm; exactly ½ is no alarm
    assert found["balanced_accuracy"] == pytest.approx((2 / 4 + 5 / 6) / 2)


def test_always_no_has_a_high_binary_accuracy_and_nothing_else():
    labels = np.repeat(np.arange(10), 5)
    found = one_vs_all(np.zeros(50, dtype=np.int16), np.full(50, 0.01), labels, 3)
    assert list(found.values()) == [0.0, 0.0, 0.9, 0.5]


def test_shares_of_no_images_are_none():
    assert list(one_vs_all(PREDICTIONS, PROBABILITY, LABELS, 7).values()) == [None, None, 0.7, None]
    every = one_vs_all(np.ones(3, dtype=np.int16), np.array([0.9, 0.1, 0.6]), np.ones(3, dtype=np.int64), 1)
    assert every["balanced_accuracy"] is None
    assert every["recall_half"] == pytest.approx(2 / 3)


def test_evaluate_names_the_target_and_measures_it(make_model, images, normalise):
    model = make_model()
    found = evaluate(model, images, normalise, objective={"one_vs_all": 1, "form": "logsumexp"})
    measured = found.metrics["one_vs_all"]
    assert measured.pop("target") == "beta"
    assert measured == one_vs_all(found.predictions, found.target, images.labels, 1)
    assert measured["recall_argmax"] == found.metrics["per_class"][1]
    assert measured["recall_half"] <= measured["recall_argmax"]
    assert "one_vs_all" not in evaluate(model, images, normalise).metrics
