from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecaf.data import splits

labels = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(np.array)


@settings(max_examples=60, deadline=None)
@given(labels, st.sampled_from([Fraction(1, 10), Fraction(8, 10), Fraction(1, 3)]), st.integers(0, 2**62))
def test_every_class_gets_its_share_and_the_total_is_exact(labels, share, seed):
    mask = splits.stratified(labels, share, seed)
    assert mask.sum() == int(share * len(labels))
    for label in np.unique(labels):
        exact = float(share * int((labels == label).sum()))
        assert abs(mask[labels == label].sum() - exact) < 1


def test_a_seed_decides_and_another_differs():
    labels = np.repeat(np.arange(5), 40)
    first, same, other = (splits.stratified(labels, Fraction(1, 2), seed) for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_digits_have_the_size_that_scikit_learn_s_own_80_20_split_has():
    assert splits.stratified(np.arange(1797) % 10, Fraction(8, 10), 0).sum() == 1437


@pytest.mark.parametrize(("size", "expected"), [(50, 30), (30, 30), (7, 7)])
def test_a_number_per_class(size, expected):
    labels = np.array([0] * size + [2] * 40)
    mask = splits.per_class(labels, 30, seed=5)
    assert mask[labels == 0].sum() == expected
    assert mask[labels == 2].sum() == 30
