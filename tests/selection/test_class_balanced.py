"""Class-balanced random sets: equal counts, drawn by id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pools import SEEDS, choose, planted

from vecaf.seeds import keyed_uniform


def test_class_balanced_counts(inputs):
    for k in (1, 5, 13, 40):
        counts = np.bincount(inputs.labels[np.isin(inputs.ids, choose("class_balanced", inputs, k)[0])], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_class_balanced_exhausts_small_classes():
    labels = np.repeat([4, 0, 9], [2, 30, 20])
    pool = planted(labels, labels=labels)
    for k, wanted in ((3, [1, 1, 1]), (10, [4, 2, 4]), (22, [10, 2, 10]), (52, [30, 2, 20])):
        ids, _ = choose("class_balanced", pool, k)
        assert [int((labels[ids] == label).sum()) for label in (0, 4, 9)] == wanted


def test_class_balanced_by_hand(inputs):
    """The smallest draws of each class; of those that come next, the smallest make up the number."""
    draws = keyed_uniform(SEEDS["random_set"], inputs.ids)
    classes = [np.flatnonzero(inputs.labels == label) for label in range(5)]
    turns = np.stack([rows[np.argsort(draws[rows])[:5]] for rows in classes], axis=1)  # rank within the class × class
    wanted = [*turns[:4].ravel(), *turns[4][np.argsort(draws[turns[4]])[:2]]]
    np.testing.assert_array_equal(choose("class_balanced", inputs, 22)[0], np.sort(inputs.ids[wanted]))


def test_class_balanced_draws_by_id_and_loop(inputs):
    """A larger K holds the smaller one; the labelled may come again; another stream is another set."""
    small, large = choose("class_balanced", inputs, 10)[0], choose("class_balanced", inputs, 30)[0]
    assert np.isin(small, large).all()
    np.testing.assert_array_equal(choose("class_balanced", replace(inputs, earlier=(small,), loop=2), 10)[0], small)
    np.testing.assert_array_equal(choose("class_balanced", inputs, 10, SEEDS | {"centroids": 1})[0], small)
    assert not np.array_equal(choose("class_balanced", inputs, 10, SEEDS | {"random_set": 1})[0], small)
