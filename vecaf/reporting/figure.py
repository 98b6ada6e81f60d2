"""Figures of the study: one style sheet, deterministic files, and the CSV of what is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecaf.reporting import csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

STYLE = Path(__file__).with_name("figure.mplstyle")
PAGE = 6.8  # inches: the width of a page's text
LETTER = 0.06  # inches: an average letter of a legend
# Okabe & Ito (2008): told apart with any colour vision; orange and sky are alike in grey: line and marker tell.
COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#767676",
}

# Backgrounds: the “light” scheme of Tol (2021), paler, and one more.
PALE = (
    *("#C2DBF1", "#F8D0C2", "#F8F1CF", "#FFDCE3", "#D4F0FF", "#B9E3D6", "#E3E9AF", "#DADA9A", "#EEEEEE"),
    "#E0D6EE",
)
PLATE = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8}  # behind words that stand on data


@dataclass(frozen=True)
class Look:
    """How a method is drawn: colour, line and marker, so that each of the three alone tells it from its neighbours."""

    colour: str
    line: Any
    marker: str
    filled: bool = True

    def marked(self, size: float = 5.0) -> dict[str, Any]:
        """Return the options of a marker without a line."""
        face, edge = (self.colour, "white") if self.filled else ("white", self.colour)
        return {
            "marker": self.marker,
            "markersize": size,
            "markerfacecolor": face,
            "markeredgecolor": edge,
            "markeredgewidth": 0.6 if self.filled else 1.1,
            "linestyle": "none",
        }


# The paper's methods look the same in every figure.
LOOKS = {
    "vecaf": Look(COLOURS["vermilion"], "solid", "o"),
    "activeft": Look(COLOURS["blue"], (0, (5, 1.5)), "s"),
    "alfa_mix": Look(COLOURS["green"], (0, (5, 1.5, 1, 1.5)), "^"),
    "ta_vaal": Look(COLOURS["orange"], (0, (3, 1, 1, 1, 1, 1)), "v"),
    "learning_loss": Look(COLOURS["purple"], (0, (2, 1)), "D"),
    "top_k_loss": Look(COLOURS["sky"], (0, (7, 2)), "P"),
    "random": Look(COLOURS["grey"], (0, (1, 1)), "X"),
    "full": Look(COLOURS["black"], (0, (9, 2)), "h"),
}
_FURTHER = tuple(zip(("sky", "green", "orange", "purple", "blue", "grey"), "<>pd8H", strict=True))


def looks(methods: Sequence[str], bases: Mapping[str, str]) -> dict[str, Look]:
    """Return how each method is drawn; one that varies another (bases: method → the one it varies) has its colour."""
    found: dict[str, Look] = {}
    for method in methods:
        base = LOOKS.get(bases.get(method, method))
        if method in LOOKS:
            found[method] = LOOKS[method]
        elif base is not None:
            found[method] = replace(base, line=(0, (1, 2)), filled=False)
        else:
            colour, marker = _FURTHER[len(set(found) - set(LOOKS)) % len(_FURTHER)]
            found[method] = Look(COLOURS[colour], (0, (4, 1, 1, 1)), marker, filled=False)
    return found


@dataclass(frozen=True)
class Figure:
    """A finished figure: what is drawn, the numbers behind it (all records with the same keys), and its caption."""

    canvas: Canvas
    records: tuple[Mapping[str, Any], ...]
    caption: str

    def save(self, png: Path, pdf: Path) -> None:
        """Write both files; equal figures give equal bytes, since neither holds a date or a version."""
        self.canvas.savefig(png, format="png", metadata={"Software": None, "Description": self.caption})
        undated = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        self.canvas.savefig(pdf, format="pdf", metadata={**undated, "Subject": self.caption})

    def to_csv_text(self) -> str:
        """Return one line a record; None is empty, floats have six significant digits."""
        return csv.render(self.records)


def canvas(width: float, height: float, **options: Any):
    """Return (canvas, axes) of a figure in the house style; width and height in inches, options of ``subplots``."""
    return _pyplot().subplots(figsize=(width, height), **options)


def canvas_of(width: float, height: float, mosaic: Sequence[Sequence[str]], **options: Any):
    """Return (canvas, name → axes) of panels of several sizes; mosaic and options of ``subplot_mosaic``."""
    return _pyplot().subplot_mosaic(mosaic, figsize=(width, height), **options)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.style.use(["default", STYLE])
    plt.close("all")  # pyplot keeps every figure it ever made
    return plt


def width(panels: int) -> float:
    """Return the width in inches of a figure with so many panels side by side: one is no wider than it needs."""
    return 4.6 if panels == 1 else PAGE


def draw_line(axes: Any, x: Any, mean: Any, low: Any, high: Any, look: Look, label: str) -> None:
    """Draw a mean and the band around it; x, mean, low, high: (B,)."""
    axes.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0)
    axes.plot(x, mean, color=look.colour, linestyle=look.line, label=label)


def log_axis(axes: Any, low: float, high: float) -> None:
    """Make x logarithmic from low to high, with numbers as people write them and at least some of them."""
    from matplotlib import ticker

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    few = high / low < 30
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_minor_locator(ticker.LogLocator(subs=range(2, 10)))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def legend_below(canvas: Any, panels: Iterable[Any]) -> None:
    """Put one legend below all panels, each label once, in as many columns as the figure is wide enough for."""
    found: dict[str, Any] = {}
    for axes in panels:
        found |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if not found:
        return

    def wide(columns: int) -> float:
        parts = np.array_split([len(label) for label in found], columns)  # labels fill column by column, as evenly
        return sum(0.55 + LETTER * max(part) for part in parts)

    columns = max(n for n in range(1, len(found) + 1) if n == 1 or wide(n) <= canvas.get_figwidth())
    canvas.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def caption(*sentences: str) -> str:
    """Return sentences as one caption, without those that are empty; each ends with a full stop."""
    return " ".join(sentence if sentence.endswith(".") else f"{sentence}." for sentence in sentences if sentence)


def name(panel: Any, text: str, place: Sequence[float]) -> None:
    """Write a name above a place of a map, with a rim that keeps it legible on data and hides little of them."""
    from matplotlib import patheffects

    rim = [patheffects.withStroke(linewidth=2.2, foreground="white")]
    above = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "va": "bottom"}
    panel.annotate(text, tuple(place), fontsize=7, zorder=4, path_effects=rim, **above)
