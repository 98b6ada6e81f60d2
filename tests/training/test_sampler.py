"""The sampler: full batches, whole passes, no image twice in a batch that need not, and resuming anywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecaf.errors import TrainingError
from vecaf.training.sampler import Sampler

seeds = st.integers(0, 2**62)
sizes = st.integers(1, 60)
batch_sizes = st.integers(1, 40)
copies = st.integers(1, 4)


@given(seeds, sizes, batch_sizes, copies)
@settings(max_examples=150, deadline=None)
def test_every_pass_holds_every_image_equally_often(seed, size, batch_size, repeats):
    sampler = Sampler(seed, size, batch_size, repeats)
    passes = 4
    batches = -(-passes * size * repeats // batch_size)
    drawn = np.concatenate([sampler[batch] for batch in range(batches)])
    assert len(drawn) == batches * batch_size
    for number in range(passes):
        one = drawn[number * size * repeats : (number + 1) * size * repeats]
        assert np.array_equal(np.bincount(one, minlength=size), np.full(size, repeats))
        assert np.array_equal(one.reshape(size, repeats), np.repeat(one[::repeats, None], repeats, axis=1))


@given(seeds, sizes, batch_sizes)
@settings(max_examples=150, deadline=None)
def test_no_image_twice_in_a_batch_unless_the_set_is_smaller(seed, size, batch_size):
    sampler = Sampler(seed, size, batch_size)
    for batch in range(3 * size // batch_size + 3):
        counts = np.bincount(sampler[batch], minlength=size)
        if size >= batch_size:
            assert counts.max() == 1
        else:
            # Whole passes inside the batch; its first and last may be cut.
            assert counts.max() - counts.min() <= 2
            assert abs(counts.mean() - batch_size / size) < 1e-9


@given(seeds, sizes, batch_sizes, copies)
@settings(max_examples=100, deadline=None)
def test_repeated_images_are_never_drawn_more_often_than_asked(seed, size, batch_size, repeats):
    sampler = Sampler(seed, size, batch_size, repeats)
    if size > batch_size // repeats + 1:
        assert all(np.bincount(sampler[batch]).max() <= repeats for batch in range(12))


@given(seeds, sizes, batch_sizes, copies, st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_any_batch_can_be_computed_on_its_own(seed, size, batch_size, repeats, batch):
    through = Sampler(seed, size, batch_size, repeats)
    sequence = [through[number] for number in range(batch + 1)]
    assert np.array_equal(Sampler(seed, size, batch_size, repeats)[batch], sequence[-1])
    assert np.array_equal(through[0], sequence[0])  # and going back does no harm


def test_passes_and_seeds_differ():
    sampler = Sampler(1, 100, 100)
    assert not np.array_equal(sampler[0], sampler[1])
    assert not np.array_equal(sampler[0], Sampler(2, 100, 100)[0])


def test_positions_are_uniform_over_batches():
    """Moving images back across borders must not favour any: counts after many batches differ by at most a pass."""
    counts = np.zeros(37, int)
    sampler = Sampler(5, 37, 16)
    for batch in range(370):
        counts += np.bincount(sampler[batch], minlength=37)
    assert counts.min() == counts.max() == 160


def test_order_is_pinned():
    """The published order must not move with a version of numpy."""
    assert Sampler(7, 10, 4)[0].tolist() == [3, 7, 2, 6]


@pytest.mark.parametrize(("size", "batch_size", "repeats"), [(0, 4, 1), (4, 0, 1), (4, 4, 0)])
def test_nothing_to_draw_is_refused(size, batch_size, repeats):
    with pytest.raises(TrainingError, match="cannot draw"):
        Sampler(0, size, batch_size, repeats)


def test_batches_count_from_zero():
    with pytest.raises(IndexError, match="count from 0"):
        Sampler(0, 4, 2)[-1]
