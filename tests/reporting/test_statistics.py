import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecaf.reporting import statistics
from vecaf.reporting.statistics import Comparison

fractions = st.floats(0, 1, allow_nan=False)


def test_standard_error_by_hand():
    # 93.0, 93.3, 93.9: mean 93.4, deviations −.4, −.1, .5, variance .42/2
    values = [93.0, 93.3, 93.9]
    assert statistics.mean(values) == pytest.approx(93.4)
    assert statistics.standard_deviation(values) == pytest.approx(math.sqrt(0.21))
    assert statistics.standard_error(values) == pytest.approx(math.sqrt(0.21 / 3))


def test_one_seed_has_no_error():
    assert statistics.standard_error([0.9]) is None
    assert statistics.mean([]) is None


@given(st.lists(fractions, min_size=2, max_size=8), st.randoms())
def test_order_of_seeds_changes_no_bit(values, random):
    shuffled = values[:]
    random.shuffle(shuffled)
    assert statistics.mean(values) == statistics.mean(shuffled)
    assert statistics.standard_error(values) == statistics.standard_error(shuffled)


def test_paired_difference_by_hand():
    # differences 1, 2, 3: mean 2, se 1/√3, t(.975, 2) = 4.302653
    result = statistics.paired_difference({0: 2.0, 1: 4.0, 2: 6.0, 9: 99.0}, {0: 1.0, 1: 2.0, 2: 3.0, 7: -50.0})
    assert result.estimate == 2.0
    assert result.n == 3
    assert result.high - result.estimate == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert result.p == pytest.approx(0.0741799, rel=1e-5)  # t = 3.4641, two degrees of freedom


def test_pairs_need_two_shared_seeds():
    assert statistics.paired_difference({0: 1.0, 1: 2.0}, {1: 1.5, 2: 3.0}) == (
        statistics.Difference(0.5, None, None, None, 1)
    )
    assert statistics.paired_difference({0: 1.0}, {1: 1.0}).estimate is None


def test_equal_differences_leave_no_doubt():
    same = statistics.paired_difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)
    shifted = statistics.paired_difference({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0})
    assert (shifted.low, shifted.high, shifted.p) == (1.0, 1.0, 0.0)


def test_an_interval_is_tested_against_a_threshold():
    # 1, 2, 3 against 1: t = (2 − 1)·√3 = 1.7321, two degrees of freedom
    result = statistics.interval([1.0, 2.0, 3.0], 1.0)
    assert (result.estimate, result.n) == (2.0, 3)
    assert result.p == pytest.approx(0.2254033, rel=1e-5)
    assert statistics.interval([2.0, 2.0], 2.0).p == 1.0
    assert statistics.interval([], 0.0).estimate is None


def test_printed_errors_by_hand():
    # 0.23 with errors 0.02 and 0.12 over 3: se 0.12166, Welch's freedom 2·0.0148²/(0.0004² + 0.0144²) = 2.1110
    result = statistics.interval_of_print(0.23, [0.02, 0.12], 3)
    assert result.high - 0.23 == pytest.approx(0.1216553 * 4.092913, rel=1e-5)
    assert result.p == pytest.approx(0.1925209, rel=1e-5)
    assert statistics.interval_of_print(1.0, [0.1], 3).high == pytest.approx(1 + 0.4302653, rel=1e-5)
    assert statistics.interval_of_print(3.3, [None, 0.1], 3).low is None
    assert statistics.interval_of_print(1.0, [0.0, 0.0], 3).low == 1.0


def test_bootstrap_agrees_with_resampling_one_by_one():
    rng = np.random.default_rng(3)
    a, b = rng.random(400) < 0.8, rng.random(400) < 0.7
    result = statistics.bootstrap_difference(a, b, seed=1)
    picks = rng.integers(0, 400, size=(10_000, 400))
    naive = (a[picks].mean(1) - b[picks].mean(1)).astype(float)
    assert result.estimate == pytest.approx(a.mean() - b.mean())
    assert np.quantile(naive, [0.025, 0.975]) == pytest.approx([result.low, result.high], abs=0.006)
    assert result == statistics.bootstrap_difference(a, b, seed=1)


def test_bootstrap_uses_the_pairing():
    """Two nets that err on nearly the same images: unpaired their intervals overlap, paired they do not."""
    a = np.arange(1000) < 800
    b = np.arange(1000) < 780
    result = statistics.bootstrap_difference(a, b, seed=0)
    assert 0 < result.low < 0.02 < result.high < 0.035
    assert result.p < 0.001


def test_bootstrap_draws_the_images_of_several_seeds_together():
    one = np.arange(200) % 3 == 0
    other = np.arange(200) % 4 == 0
    single = statistics.bootstrap_difference(one, other, seed=5)
    thrice = statistics.bootstrap_difference(np.stack([one] * 3), np.stack([other] * 3), seed=5)
    assert (thrice.low, thrice.high) == pytest.approx((single.low, single.high))  # copies add no information
    with pytest.raises(ValueError, match="paired images"):
        statistics.bootstrap_difference(one, other[:-1], seed=5)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.04, None, 0.03]) == pytest.approx([0.06, None, 0.06], nan_ok=True)
    assert statistics.holm([]) == []


@given(st.lists(fractions, min_size=1, max_size=10))
def test_holm_keeps_order_and_never_helps(p_values):
    adjusted = statistics.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    by_p = sorted(zip(p_values, adjusted, strict=True))
    assert all(first[1] <= second[1] for first, second in itertools.pairwise(by_p))
    assert max(adjusted) <= min(1.0, len(p_values) * max(p_values))


@pytest.mark.parametrize(
    ("low", "high", "above", "verdict"),
    [
        (0.1, 0.5, True, "holds"),
        (-0.5, -0.1, True, "fails"),
        (-0.1, 0.5, True, "undecided"),
        (0.0, 0.5, True, "undecided"),
        (None, None, True, "undecided"),
        (-0.5, -0.1, False, "holds"),
        (0.1, 0.5, False, "fails"),
    ],
)
def test_claim(low, high, above, verdict):
    assert statistics.claim(low, high, above=above) == verdict


def test_claim_in_all_columns_needs_each():
    assert statistics.claim_in_all(["holds", "holds"]) == "holds"
    assert statistics.claim_in_all(["holds", "undecided"]) == "undecided"
    assert statistics.claim_in_all(["undecided", "fails"]) == "fails"
    assert statistics.claim_in_all([]) == "undecided"


def test_claim_in_any_column_needs_one():
    assert statistics.claim_in_any(["holds", "fails"]) == "holds"
    assert statistics.claim_in_any(["undecided", "fails"]) == "undecided"
    assert statistics.claim_in_any(["fails", "fails"]) == "fails"
    assert statistics.claim_in_any([]) == "undecided"


def test_comparison_by_hand():
    comparison = statistics.compare_with_paper(93.97, 0.3, 93.57, 0.4)
    assert comparison.difference == pytest.approx(0.4)
    assert comparison.z == pytest.approx(0.8)
    assert comparison.within_margin
    assert statistics.compare_with_paper(93.07, 0.1, 93.57, 0.1).within_margin  # the edge belongs to it
    assert not statistics.compare_with_paper(93.06, 0.1, 93.57, 0.1).within_margin
    assert statistics.compare_with_paper(93.0, None, 93.57, 0.1).z is None
    assert statistics.compare_with_paper(93.0, 0.0, 93.57, 0.0).z is None


def test_verdict():
    near, far = Comparison(0.2, 1.0, True), Comparison(-2.0, -9.0, False)
    assert statistics.verdict(None, [(1, 1)]) == "—"
    assert statistics.verdict(near, None) == "reproduced"
    assert statistics.verdict(far, [(-1.5, -0.3)]) == "same direction"
    assert statistics.verdict(far, [(1.5, -0.3)]) == "not reproduced"
    assert statistics.verdict(far, [(-1.5, -0.3), (0.1, -0.2)]) == "not reproduced"
    assert statistics.verdict(far, []) == "outside margin"
