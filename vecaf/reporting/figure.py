"""Figures of the study: one style sheet, deterministic files, and the CSV of what is drawn."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

STYLE = Path(__file__).with_name("figure.mplstyle")
# Okabe & Ito (2008): told apart with any colour vision, and in grey by their lightness.
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
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.records[0]) if self.records else [], lineterminator="\n")
        writer.writeheader()
        for record in self.records:
            writer.writerow({key: _plain(value) for key, value in record.items()})
        return text.getvalue()


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def canvas(width: float, height: float, **options: Any):
    """Return (canvas, axes) of a figure in the house style; width and height in inches, options of ``subplots``."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.style.use(["default", STYLE])
    return plt.subplots(figsize=(width, height), **options)
