"""Snow and fog: what their formulas expect on average, their parts against plain loops, and what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vecaf.data import corruptions
from vecaf.data.corruptions import CORRUPTIONS, FOG, SEVERITIES, SNOW, corrupt, motion_blur, plasma
from vecaf.errors import ConfigError, DataError

BOTH = sorted(CORRUPTIONS)


def scene(side, seed=0):
    """Return a dark image with soft shapes, so that few pixels are cut at white."""
    grid = np.linspace(0, 6, side)
    waves = np.sin(grid[:, None] + [0, 1, 2])[None] * np.cos(grid + seed)[:, None, None]
    return (60 + 50 * waves).astype(np.uint8)


def means(corruption, side, severity, count=60):
    return np.mean([corrupt(scene(side), corruption, severity, seed).mean() for seed in range(count)])


# --- the formulas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 64, 224])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_has_the_mean_of_its_formula(side, severity):
    """A cloud and its negative are equally likely, so its mean is ½: E[out] = (x + c/2) · max / (max + c)."""
    image, density = scene(side), FOG[side][severity - 1].density
    brightest = image.max() / 255
    expected = 255 * (image.mean() / 255 + density / 2) * brightest / (brightest + density) - 0.5  # cut, not rounded
    assert means("fog", side, severity) == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("side", [32, 64, 224])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_has_the_mean_of_its_formula(side, severity):
    """Whitening is exact; flakes are normal draws, linearly interpolated, cut below the threshold and at 1, blurred
    (which is linear) and added from both sides."""
    image, chosen = scene(side).astype(float), SNOW[side][severity - 1]
    light = image @ np.array(corruptions.LUMA)
    whitened = chosen.kept * image + (1 - chosen.kept) * np.maximum(image, 1.5 * light[..., None] + 127.5)
    count = math.ceil(side / chosen.zoom)
    enlarged = round(count * chosen.zoom)
    share = (np.arange(side) + (enlarged - side) // 2) * ((count - 1) / (enlarged - 1)) % 1
    shrunk = np.sqrt(share**2 + (1 - share) ** 2)  # the deviation of a mean of two draws
    spread = chosen.deviation * np.outer(shrunk, shrunk)
    low, high = (chosen.threshold - chosen.mean) / spread, (1 - chosen.mean) / spread
    normal = stats.norm
    flakes = chosen.mean * (normal.cdf(high) - normal.cdf(low)) + spread * (normal.pdf(low) - normal.pdf(high))
    flakes += normal.sf(high)
    angles = np.radians(np.linspace(-135, -45, 9))
    fallen = np.mean([motion_blur(flakes, chosen.radius, chosen.streak, angle) for angle in angles])
    expected = whitened.mean() + 2 * 255 * fallen - 0.5
    assert means("snow", side, severity) == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("side", [8, 16, 32, 64, 224])
@pytest.mark.parametrize("corruption", BOTH)
def test_severer_is_further_from_the_image(corruption, side):
    def away(severity):
        made = [corrupt(scene(side), corruption, severity, seed) for seed in range(40)]
        return np.mean([np.abs(one.astype(int) - scene(side)) for one in made])

    found = [away(severity) for severity in SEVERITIES]
    if corruption == "snow":
        del found[2]  # published with fewer flakes than the second, and larger ones
    assert (np.diff(found) > 0.2).all(), found


def test_motion_blur_is_its_sum_written_out():
    layer = np.random.default_rng(0).random((9, 13)).astype(np.float32)
    for angle in (-0.8, -1.6, -2.3):
        radius, deviation = 4, 2.5
        weights = [math.exp(-(step**2) / (2 * deviation**2)) for step in range(2 * radius + 1)]
        expected = np.zeros(layer.shape)
        for row, column in np.ndindex(layer.shape):
            for step, weight in enumerate(weights):
                above = min(max(row + math.ceil(step * math.sin(angle) - 0.5), 0), 8)
                beside = min(max(column + math.ceil(step * math.cos(angle) - 0.5), 0), 12)
                expected[row, column] += weight / sum(weights) * layer[above, beside]
        np.testing.assert_allclose(motion_blur(layer, radius, deviation, angle), expected, atol=1e-6)


class Draws:
    """A generator whose one nonzero draw is the centre of the first octave."""

    def random(self, shape, dtype):
        drawn = np.full(shape, 0.5, dtype)
        if shape == (3, 1, 1):
            drawn[0] = 1
        return drawn


def test_plasma_puts_the_mean_of_four_neighbours_between_them():
    cloud = plasma(8, 2, Draws())
    # Corner 0, centre 1; each edge's middle lies between two corners and two centres (the map goes on at its edges).
    assert cloud[0, 0] == 0
    assert cloud[4, 4] == 1
    assert cloud[0, 4] == cloud[4, 0] == 0.5
    quarter = (0 + 0.5 + 0.5 + 1) / 4
    assert cloud[2, 2] == cloud[2, 6] == cloud[6, 2] == cloud[6, 6] == quarter
    assert cloud[0, 2] == (0 + 0.5 + 2 * quarter) / 4
    assert cloud[4, 2] == (1 + 0.5 + 2 * quarter) / 4


@pytest.mark.parametrize("decay", [1.4, 2, 3])
def test_the_roughness_of_plasma_falls_by_the_decay_squared(decay):
    """The last octave's points differ from the mean of their neighbours by its draws alone."""
    cloud = plasma(128, decay, np.random.default_rng(3))

    def roughness(grid):
        around = (grid[:-2:2, :-2:2] + grid[2::2, :-2:2] + grid[:-2:2, 2::2] + grid[2::2, 2::2]) / 4
        return np.std(grid[1:-1:2, 1:-1:2] - around)

    assert roughness(cloud[::2, ::2]) / roughness(cloud) == pytest.approx(decay**2, rel=0.05)


def test_flakes_scale_with_the_side():
    """The share of the image that is snow is the same at twice the published side: flakes are twice as large."""
    black = {side: np.zeros((side, side, 3), np.uint8) for side in (224, 448)}
    for severity in (1, 3, 5):
        ground = 127.5 * (1 - SNOW[224][severity - 1].kept)
        fallen = {
            side: np.mean([corrupt(image, "snow", severity, seed).mean() - ground for seed in range(12)])
            for side, image in black.items()
        }
        assert fallen[448] == pytest.approx(fallen[224], rel=0.2)
    columns = [corrupt(black[side], "snow", 3, 5)[..., 0].astype(float) for side in (224, 448)]
    alike = [np.corrcoef(layer[:, :-4].ravel(), layer[:, 4:].ravel())[0, 1] for layer in columns]
    assert alike[1] > alike[0] + 0.1


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corruption", BOTH)
def test_a_seed_is_one_image_and_global_state_is_left_alone(corruption):
    image = scene(40)
    before = image.copy()
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = corrupt(image, corruption, 2, 17)
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, corrupt(image, corruption, 2, 17))
    assert not np.array_equal(first, corrupt(image, corruption, 2, 18))
    np.testing.assert_array_equal(image, before)
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(BOTH),
    st.sampled_from(SEVERITIES),
    st.sampled_from([0, 9, 255]),
)
def test_any_size_is_corrupted_and_stays_an_image(height, width, corruption, severity, level):
    image = np.full((height, width, 3), level, np.uint8)
    out = corrupt(image, corruption, severity, 3)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    if corruption == "fog":
        assert out.max() <= level  # the image's own maximum is kept
    else:
        assert out.min() >= int(level * SNOW[32][0].kept)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corruption", "severity", "sentence"),
    [
        ("rain", 1, "corruption 'rain' is not one of snow, fog"),
        ("snow", 6, "severity 6 of snow is not one of 1, 2, 3, 4, 5"),
        ("fog", 0, "severity 0 of fog"),
        ("fog", "3", "severity '3' of fog"),
        ("fog", True, "severity True of fog"),
    ],
)
def test_unknown_corruptions_and_severities_are_named(corruption, severity, sentence):
    with pytest.raises(ConfigError, match=sentence):
        corrupt(scene(16), corruption, severity, 0)


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (np.zeros((16, 16), np.uint8), r"shape \(16, 16\)"),
        (np.zeros((16, 16, 1), np.uint8), r"shape \(16, 16, 1\)"),
        (np.zeros((16, 16, 4), np.uint8), r"shape \(16, 16, 4\)"),
        (np.zeros((0, 16, 3), np.uint8), r"shape \(0, 16, 3\)"),
        (np.zeros((16, 16, 3), np.uint16), "type uint16"),
        (np.zeros((16, 16, 3), np.float32), "type float32"),
    ],
)
def test_other_arrays_are_refused(image, what):
    with pytest.raises(DataError, match=f"{what}.* cannot be corrupted: it must be"):
        corrupt(image, "snow", 1, 0)


# --- what it does to a classifier -------------------------------------------------------------------------------------


@pytest.mark.parametrize("corruption", BOTH)
def test_severer_digits_are_recognised_less_often(corruption):
    from sklearn.svm import SVC

    from vecaf.data import sources

    digits = sources.load("digits", None).items

    def flat(images):
        return images[..., 0].reshape(len(images), -1) / 255

    judge = SVC().fit(flat(digits["pool"].pixels), digits["pool"].labels)
    test = digits["test"]
    found = []
    for severity in SEVERITIES:
        made = [corrupt(image, corruption, severity, seed) for seed, image in enumerate(test.pixels)]
        found.append(judge.score(flat(np.stack(made)), test.labels))
    assert found == sorted(found, reverse=True), found
    assert found[-1] < judge.score(flat(test.pixels), test.labels) - 0.05
