"""Snow and fog of ImageNet-C (Hendrycks & Dietterich, 2019) for images of any size, drawn from a seed per image.

Own code: ``imagecorruptions`` 1.1.2 fails on NumPy 2 (``np.float_``), draws from NumPy's global state and knows
neither images below 32 pixels nor the parameters that the authors chose for small ones. The formulas are those of the
authors' ``make_imagenet_c.py``, ``make_tinyimagenet_c.py`` and ``make_cifar_c.py`` (all parameters below are theirs),
with ImageMagick's motion blur written out; the snow keeps its fractions where theirs passes through an 8-bit file.

An image takes the published parameters whose image side (32, 64 or 224 pixels) is nearest in ratio to its own short
side. What they measure in pixels, flakes and streaks, is enlarged in proportion where the side is larger, and never
made smaller: the authors' own streaks are as long on 32 pixels as on 64, and on 8-pixel digits shrunk ones made the
fifth severity easier than the fourth. The fog fills the next power of two, as in all published sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vecaf.errors import ConfigError, DataError

SEVERITIES = (1, 2, 3, 4, 5)


class Snow(NamedTuple):
    """mean, deviation: of the normal draws that become flakes. zoom: pixels that one draw is enlarged to. threshold:
    below it there is no flake. radius, streak: half the length and the standard deviation of the motion blur, pixels.
    kept: share of the image that is not whitened.
    """

    mean: float
    deviation: float
    zoom: float
    threshold: float
    radius: float
    streak: float
    kept: float


class Fog(NamedTuple):
    """density: of the fog over the image's own light. decay: of its roughness from one octave to the next."""

    density: float
    decay: float


# Image side in pixels → severities 1 … 5.
SNOW = {
    32: (
        Snow(0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        Snow(0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        Snow(0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        Snow(0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        Snow(0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    64: (
        Snow(0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        Snow(0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        Snow(0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        Snow(0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        Snow(0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    224: (
        Snow(0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        Snow(0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        Snow(0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        Snow(0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        Snow(0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
}
FOG = {
    32: (Fog(0.2, 3), Fog(0.5, 3), Fog(0.75, 2.5), Fog(1, 2), Fog(1.5, 1.75)),
    64: (Fog(0.4, 3), Fog(0.7, 3), Fog(1, 2.5), Fog(1.5, 2), Fog(2, 1.75)),
    224: (Fog(1.5, 2), Fog(2, 2), Fog(2.5, 1.7), Fog(2.5, 1.5), Fog(3, 1.4)),
}
LUMA = (0.299, 0.587, 0.114)


def check(corruption: str, severity: int) -> None:
    """Raise ConfigError for a corruption or a severity that is not known."""
    if corruption not in CORRUPTIONS:
        raise ConfigError(f"corruption {corruption!r} is not one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise ConfigError(f"severity {severity!r} of {corruption} is not one of {', '.join(map(str, SEVERITIES))}")


def corrupt(image: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """Return a corrupted copy of an image, (H, W, 3) uint8.

    image: (H, W, 3) uint8 RGB of any size. corruption: ``snow`` or ``fog``. severity: 1 … 5. seed: all that is drawn
    follows from it; the severities of one seed share their draws. Values are cut to whole grey levels, as published.
    Raises ConfigError for an unknown corruption or severity, DataError for any other array.
    """
    check(corruption, severity)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(
            f"an image of shape {image.shape} and type {image.dtype} cannot be corrupted: it must be (H, W, 3) RGB of "
            "uint8; convert greyscale and 16-bit images first, as vecaf.data.decoding does"
        )
    return CORRUPTIONS[corruption](image, severity, np.random.default_rng(seed))


def snow(image: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """Whiten an image and let flakes fall over it from two opposite sides; see ``corrupt``."""
    height, width = image.shape[:2]
    chosen, scale = parameters(SNOW, min(height, width), severity)
    angle = math.radians(generator.uniform(-135, -45))
    flakes = _flakes((height, width), chosen, scale, generator)
    fallen = motion_blur(flakes, round(chosen.radius * scale), chosen.streak * scale, angle)
    fallen = 255 * (fallen + fallen[::-1, ::-1])

    planes = [image[..., channel].astype(np.float32) for channel in range(3)]
    light = sum(weight * plane for weight, plane in zip(np.float32(LUMA), planes, strict=True)) * np.float32(1.5)
    light += np.float32(127.5)
    out = np.empty_like(image)
    for channel, plane in enumerate(planes):
        whitened = np.maximum(plane, light)
        whitened *= np.float32(1 - chosen.kept)
        plane *= np.float32(chosen.kept)
        plane += whitened
        plane += fallen
        np.copyto(out[..., channel], np.minimum(plane, 255, out=plane), casting="unsafe")
    return out


def fog(image: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """Lay clouds over an image and scale the sum back to the image's own maximum; see ``corrupt``."""
    height, width = image.shape[:2]
    chosen, _ = parameters(FOG, min(height, width), severity)
    side = 1 << max(1, (max(height, width) - 1).bit_length())
    cloud = plasma(side, chosen.decay, generator)[:height, :width]
    brightest = float(image.max()) / 255
    kept = brightest / (brightest + chosen.density)
    cloud = cloud * np.float32(255 * chosen.density * kept)
    out = np.empty_like(image)
    for channel in range(3):
        plane = image[..., channel] * np.float32(kept)
        plane += cloud
        # The sum is bounded by the image's maximum; only rounding can pass it.
        np.copyto(out[..., channel], np.minimum(plane, 255, out=plane), casting="unsafe")
    return out


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {"snow": snow, "fog": fog}


def parameters(published: Mapping[int, Sequence], side: int, severity: int) -> tuple:
    """Return the published parameters for images of a side, and the factor (1 or more) of what they say in pixels."""
    near = min(published, key=lambda known: abs(math.log(side / known)))
    return published[near][severity - 1], max(1.0, side / near)


def plasma(side: int, decay: float, generator: np.random.Generator) -> np.ndarray:
    """Return a fractal cloud (side, side) float32 with values from 0 to 1 that goes on at its opposite edges.

    The diamond-square algorithm (Fournier, Fussell & Carpenter, 1982) on a torus: every octave puts the mean of four
    neighbours, moved by a uniform draw, between the points of the one before. side: a power of two, at least 2. The
    draws shrink by decay² each octave, since the authors multiply theirs by the amplitude twice.
    """
    points = np.zeros((1, 1), dtype=np.float32)
    amplitude = np.float32(1)
    while len(points) < side:
        count = len(points)
        centre, row, column = (2 * generator.random((3, count, count), dtype=np.float32) - 1) * amplitude
        right, below = np.roll(points, -1, axis=1), np.roll(points, -1, axis=0)
        centre += (points + right + below + np.roll(below, -1, axis=1)) / 4
        row += (points + right + centre + np.roll(centre, 1, axis=0)) / 4
        column += (points + below + centre + np.roll(centre, 1, axis=1)) / 4
        finer = np.empty((2 * count, 2 * count), dtype=np.float32)
        finer[::2, ::2], finer[1::2, 1::2], finer[::2, 1::2], finer[1::2, ::2] = points, centre, row, column
        points = finer
        amplitude /= np.float32(decay**2)
    points -= points.min()
    points /= points.max()
    return points


def motion_blur(layer: np.ndarray, radius: int, deviation: float, angle: float) -> np.ndarray:
    """Return a layer (H, W) float32 smeared along one direction, as ImageMagick's motion blur does.

    The first 2·radius + 1 values of half a Gaussian weigh the pixels that lie 0, 1, 2 … steps away, at whole positions;
    beyond the border the outermost pixels go on. angle: radians.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights = (weights / weights.sum()).astype(np.float32)
    down = np.ceil(steps * math.sin(angle) - 0.5).astype(int)
    right = np.ceil(steps * math.cos(angle) - 0.5).astype(int)
    height, width = layer.shape
    reach = [(max(0, -offsets.min()), max(0, offsets.max())) for offsets in (down, right)]
    padded = np.pad(layer, reach, mode="edge")
    blurred, part = np.zeros_like(layer), np.empty_like(layer)
    for weight, top, left in zip(weights, down + reach[0][0], right + reach[1][0], strict=True):
        np.multiply(padded[top : top + height, left : left + width], weight, out=part)
        blurred += part
    return blurred


def _flakes(shape: tuple[int, int], chosen: Snow, scale: float, generator: np.random.Generator) -> np.ndarray:
    """Return a layer (H, W) float32 of flakes with values from the threshold to 1, and 0 between them."""
    zoom = chosen.zoom * scale
    drawn = generator.standard_normal([math.ceil(length / zoom) for length in shape], dtype=np.float32)
    layer = drawn * np.float32(chosen.deviation) + np.float32(chosen.mean)
    for axis, length in enumerate(shape):
        layer = _enlarge(layer, zoom, length, axis)
    layer[layer < np.float32(chosen.threshold)] = 0
    return np.minimum(layer, 1, out=layer)


def _enlarge(layer: np.ndarray, zoom: float, length: int, axis: int) -> np.ndarray:
    """Return a layer enlarged along one axis by linear interpolation, first on first and last on last value, and its
    central ``length`` values."""
    count = layer.shape[axis]
    enlarged = max(length, round(count * zoom))
    places = np.arange(length) + (enlarged - length) // 2
    places = places * ((count - 1) / max(1, enlarged - 1))
    first = np.minimum(places.astype(int), max(0, count - 2))
    share = (places - first).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    low, high = layer.take(first, axis), layer.take(np.minimum(first + 1, count - 1), axis)
    high -= low
    high *= share
    return np.add(low, high, out=low)
