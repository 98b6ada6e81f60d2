"""The offline captioner: a true sentence from the class name and from what can be measured in an image.

It stands in for BLIP-2 where no model can be loaded. A caption that names the class carries the label; ``name_class:
false`` leaves the name out and ``shuffled: true`` gives every image another's caption: the two controls of every
result that rests on captions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vecaf.seeds import keyed_uniform

# Thresholds are absolute, so a caption is true of its image alone and does not depend on the pool.
BRIGHTNESS = ((0.2, "very dark"), (0.4, "dark"), (0.6, "medium bright"), (0.8, "bright"), (1.01, "very bright"))
CONTRAST = ((0.1, "very low"), (0.2, "low"), (0.3, "moderate"), (9.0, "high"))
SIZE = ((0.15, "tiny"), (0.35, "small"), (0.6, "medium-sized"), (0.85, "large"), (9.0, "full-frame"))
HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (200, "cyan"), (260, "blue"), (330, "purple"))
GREY = 0.12  # mean saturation below which an image has no colour worth a name
SLANT = 10.0  # degrees


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name_class: bool = Field(True, description="false leaves the class name out: a control against label leakage")
    shuffled: bool = Field(False, description="every image gets another image's caption: a control")


class AttributeCaptioner:
    """Captions from measured brightness, contrast, colour, extent, place and slant of what stands out."""

    Params = Params

    def __init__(self, params: Params | None = None, seed: int = 0):
        self.params, self.seed = params or Params(), seed

    def caption(self, images, labels: np.ndarray, classes: Sequence[str], ids: np.ndarray) -> list[str]:
        """Return a sentence for each image of a batch.

        images: uint8, stacked (B, 3, H, W) or a list of (3, H, W); labels: (B,); classes: names in the order of labels.
        """
        return [self._sentence(np.asarray(image), classes[label]) for image, label in zip(images, labels, strict=True)]

    def finish(self, captions: list[str]) -> list[str]:
        """Return the captions of a whole pool, in the order of ids; shuffled, if that is asked for."""
        if not self.params.shuffled:
            return captions
        order = np.argsort(keyed_uniform(self.seed, np.arange(len(captions))), kind="stable")
        return [captions[row] for row in order]

    def _sentence(self, image: np.ndarray, name: str) -> str:
        facts = measure(image)
        what = f"{_article(_spoken(name))} {_spoken(name)}" if self.params.name_class else "an object"
        place = "in the middle" if facts["place"] == "centre" else f"towards the {facts['place']}"
        lean = "" if facts["slant"] == "upright" else f", leaning {facts['slant']}"
        return (
            f"A {facts['brightness']} {facts['colour']} image of {what}, {facts['size']} and {place}{lean}, "
            f"with {facts['contrast']} contrast."
        )


def measure(image: np.ndarray) -> dict[str, str]:
    """Return the words for an image, (3, H, W) uint8.

    Brightness is the mean grey value, contrast its standard deviation, both of 1. What stands out is where grey
    departs from the border's median by more than half the largest departure; its extent, centre and principal axis
    give size, place and slant. Colour is the mean hue weighted by saturation, "grey" where saturation is low.
    """
    pixels = image.astype(np.float64) / 255
    grey = pixels.mean(axis=0)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    departure = np.abs(grey - np.median(border))
    mask = departure > departure.max() / 2 if departure.max() > 0 else np.ones_like(grey, dtype=bool)
    height, width = grey.shape
    y, x = np.nonzero(mask)
    extent = ((np.ptp(y) + 1) / height * (np.ptp(x) + 1) / width) ** 0.5
    return {
        "brightness": _word(grey.mean(), BRIGHTNESS),
        "contrast": _word(grey.std(), CONTRAST),
        "colour": _colour(pixels),
        "size": _word(extent, SIZE),
        "place": _place((y.mean() + 0.5) / height, (x.mean() + 0.5) / width),
        "slant": _slant(y, x),
    }


def _word(value: float, scale: Sequence[tuple[float, str]]) -> str:
    return next(word for limit, word in scale if value < limit)


def _colour(pixels: np.ndarray) -> str:
    top, bottom = pixels.max(axis=0), pixels.min(axis=0)
    chroma = top - bottom
    saturation = np.divide(chroma, top, out=np.zeros_like(top), where=top > 0)
    if saturation.mean() < GREY:
        return "grey"
    red, green, blue = pixels
    with np.errstate(divide="ignore", invalid="ignore"):
        sector = np.select(
            [top == red, top == green],
            [(green - blue) / chroma % 6, (blue - red) / chroma + 2],
            (red - green) / chroma + 4,
        )
    angle = np.nan_to_num(sector) * (np.pi / 3)
    # Hues are angles: they are averaged on the circle.
    mean = np.degrees(np.angle((saturation * chroma * np.exp(1j * angle)).sum())) % 360
    return next((word for limit, word in HUES if mean < limit), "red")


def _place(y: float, x: float) -> str:
    vertical = "top" if y < 0.4 else "bottom" if y > 0.6 else ""
    horizontal = "left" if x < 0.4 else "right" if x > 0.6 else ""
    return " ".join(filter(None, (vertical, horizontal))) or "centre"


def _slant(y: np.ndarray, x: np.ndarray) -> str:
    """Return which way the principal axis leans from the vertical; "upright" within ten degrees or without an axis."""
    if len(y) < 3:
        return "upright"
    down, across = y - y.mean(), x - x.mean()
    angle = np.degrees(0.5 * np.arctan2(2 * (down * across).mean(), (down**2).mean() - (across**2).mean()))
    # Downwards is positive y: an axis whose lower end lies to the right leans to the left.
    return "left" if SLANT < angle < 80 else "right" if -80 < angle < -SLANT else "upright"


def _spoken(name: str) -> str:
    return name.replace("_", " ").strip().lower()


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" and not word.startswith(("one", "uni", "eu")) else "a"
