"""Offline captions: the class name and attributes measured on the pixels, in words with fixed thresholds.

No model and no download, so that the whole chain runs anywhere. Every word is true by a rule that is written here;
none is relative to other images.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from vecaf.models.captioners import base
from vecaf.models.captioners.class_names import with_article

SIDE = 64  # images are thinned to about this many pixels a side before they are measured
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601

# (upper limit, word), read from top to bottom; the last word has no limit. All values are in [0, 1] unless said.
BRIGHTNESS = [
    (0.2, "very dark"),
    (0.35, "dark"),
    (0.5, "of medium brightness"),
    (0.65, "bright"),
    (None, "very bright"),
]
CONTRAST = [(0.1, "hardly any contrast"), (0.18, "low contrast"), (0.26, "medium contrast"), (None, "high contrast")]
DETAIL = [(0.03, "few details"), (0.06, "some detail"), (None, "many fine details")]
SHAPE = [  # width of the object's bounding box over its height
    (0.55, "much taller than wide"),
    (0.8, "taller than wide"),
    (1.25, "about as wide as tall"),
    (1.8, "wider than tall"),
    (None, "much wider than tall"),
]
BALANCE = [(0.45, "heavier at the bottom"), (0.55, "evenly weighted"), (None, "heavier at the top")]
CLARITY = [(0.5, "faintly"), (0.7, "clearly"), (None, "strongly")]
LEAN = [(0.06, "upright"), (0.18, "leaning slightly"), (None, "leaning")]  # sideways over downwards
OFF_CENTRE = 0.06  # of the frame; nearer the middle counts as central
EVEN_TOLERANCE, EVEN_SHARE = 0.15, 0.6  # of the border's pixels near its median colour: an even background
OBJECT_DISTANCE, OBJECT_SHARES = 0.3, (0.02, 0.8)  # from the background, and of the frame
UNDECIDED_SHARE = 0.2  # of the frame, neither background nor clearly apart from it: more of it is a cluttered scene
HUE_LIMITS = (15, 45, 70, 165, 195, 260, 320, 345)  # degrees; what lies above the last is red again
COLOURS = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "brown", "white", "grey", "black")


class Params(base.Params):
    name_class: bool = Field(True, description="false leaves the class name out: what the pixels say, and no label")


@base.register("attributes")
class Attributes(base.Captioner):
    """Captions such as “A picture of a seven: standing out clearly from a mostly even black background, …”."""

    Params = Params

    def caption(self, images, labels, classes, ids):
        """Return one true sentence per image; see the base class."""
        sentences = []
        for image, label in zip(images, labels, strict=True):
            subject = f" of {with_article(classes[label])}" if self.params.name_class else ""
            sentences.append(f"A picture{subject}: {', '.join(describe(np.asarray(image)))}.")
        return sentences


def describe(image: np.ndarray) -> list[str]:
    """Return phrases that are true of an image, (3, H, W) uint8: of its object where that stands out, else of all."""
    step = max(1, max(image.shape[1:]) // SIDE)
    pixels = image[:, ::step, ::step].transpose(1, 2, 0) / 255
    return _object(pixels) or _scene(pixels)


def _scene(pixels: np.ndarray) -> list[str]:
    grey = pixels @ LUMINANCE
    gradients = [np.abs(np.diff(grey, axis=axis)) for axis in (0, 1) if grey.shape[axis] > 1]
    phrases = [
        word(grey.mean(), BRIGHTNESS),
        f"with {word(grey.std(), CONTRAST)}",
        f"with {word(np.mean([g.mean() for g in gradients]) if gradients else 0.0, DETAIL)}",
        _colours(pixels),
    ]
    half = len(grey) // 2
    difference = grey[:half].mean() - grey[len(grey) - half :].mean() if half else 0.0
    if abs(difference) > 0.1:
        phrases.append(f"brighter at the {'top' if difference > 0 else 'bottom'}")
    return phrases


def _object(pixels: np.ndarray) -> list[str] | None:
    """Return phrases on what stands out from an even background; None where there is no such thing."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    background = np.median(border, axis=0)
    if (np.abs(border - background).max(axis=1) < EVEN_TOLERANCE).mean() < EVEN_SHARE:
        return None
    distance = np.abs(pixels - background).max(axis=2)
    mask = distance > OBJECT_DISTANCE
    share, undecided = mask.mean(), ((distance >= EVEN_TOLERANCE) & ~mask).mean()
    if undecided > UNDECIDED_SHARE or not OBJECT_SHARES[0] <= share <= OBJECT_SHARES[1]:
        return None

    rows, columns = np.nonzero(mask)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    lighter = (pixels[mask] @ LUMINANCE).mean() > background @ LUMINANCE
    upper = (rows < rows.min() + height / 2).mean()
    return [
        f"standing out {word(distance[mask].mean(), CLARITY)} from a mostly even "
        f"{COLOURS[colours(background[None])[0]]} background",
        f"{'lighter' if lighter else 'darker'} than it",
        _colours(pixels[mask]),
        f"covering about {max(5, round(20 * share) * 5)} percent of the frame",
        word(width / height, SHAPE),
        *([_lean(rows, columns)] if height > width else []),
        word(upper, BALANCE),
        _place((rows.mean() + 0.5) / mask.shape[0], (columns.mean() + 0.5) / mask.shape[1]),
    ]


def _lean(rows: np.ndarray, columns: np.ndarray) -> str:
    """Return how the object leans: the slope of its columns over its rows, by second moments."""
    down = rows - rows.mean()
    slope = -(down * (columns - columns.mean())).sum() / max((down**2).sum(), 1e-9)
    said = word(abs(slope), LEAN)
    return said if said == "upright" else f"{said} to the {'right' if slope > 0 else 'left'}"


def _place(down: float, right: float) -> str:
    vertical = "" if abs(down - 0.5) < OFF_CENTRE else ("lower" if down > 0.5 else "upper")
    horizontal = "" if abs(right - 0.5) < OFF_CENTRE else ("right" if right > 0.5 else "left")
    return f"towards the {' '.join(filter(None, (vertical, horizontal)))} side" if vertical or horizontal else "central"


def _colours(pixels: np.ndarray) -> str:
    """Return ``mostly X`` for a colour of at least half of the pixels, else the two most frequent colours."""
    counts = np.bincount(colours(pixels.reshape(-1, 3)), minlength=len(COLOURS))
    first, second = np.argsort(-counts, kind="stable")[:2]
    return (
        f"mostly {COLOURS[first]}" if counts[first] * 2 >= counts.sum() else f"{COLOURS[first]} and {COLOURS[second]}"
    )


def colours(pixels: np.ndarray) -> np.ndarray:
    """Return the basic colour of each pixel, positions in COLOURS (n,), of pixels (n, 3) in [0, 1].

    Black below a value of 0.2, white or grey below a chroma of 0.12, else by hue; dark or pale orange is brown, pale
    red is pink.
    """
    red, green, blue = pixels.T
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    safe = np.where(chroma > 0, chroma, 1)
    sector = np.where(value == red, (green - blue) / safe % 6, (blue - red) / safe + 2)
    sector = np.where((value == blue) & (value > red) & (value > green), (red - green) / safe + 4, sector)
    found = np.searchsorted(HUE_LIMITS, 60 * sector, side="right") % len(HUE_LIMITS)
    pale = chroma < 0.5 * value
    found = np.where((found == COLOURS.index("orange")) & (pale | (value < 0.6)), COLOURS.index("brown"), found)
    found = np.where((found == COLOURS.index("red")) & pale & (value > 0.7), COLOURS.index("pink"), found)
    neutral = np.where(value > 0.8, COLOURS.index("white"), COLOURS.index("grey"))
    found = np.where(chroma < 0.12, neutral, found)
    return np.where(value < 0.2, COLOURS.index("black"), found)


def word(value: float, scale: list[tuple[float | None, str]]) -> str:
    """Return the first word of a scale whose limit lies above the value."""
    return next(said for limit, said in scale if limit is None or value < limit)
