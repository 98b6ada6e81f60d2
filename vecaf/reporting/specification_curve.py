"""Specification curve: VeCAF minus ActiveFT under every reading, sorted (Simonsohn, Simmons & Nelson, 2020)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vecaf.reporting import contrasts, figure
from vecaf.reporting.contrasts import Contrast
from vecaf.reporting.layout import ratio_title
from vecaf.reporting.statistics import Difference

SUBJECT, REFERENCE = "vecaf", "activeft"
# What a reading is a choice of, by the first word of its key; the default stands apart.
FAMILIES = {
    "default": ("default", "black", "D"),
    "ods": ("selection (ODS)", "blue", "o"),
    "cea": ("augmentation (CEA)", "vermilion", "s"),
    "captioner": ("captions", "orange", "^"),
    "loop": ("loops and recipe", "green", "v"),
    "other": ("baseline and evaluation", "purple", "P"),
}
LINE = 0.17  # inches of height for each reading


@dataclass(frozen=True)
class Specification:
    """One reading of VeCAF against ActiveFT under the same choices; differences are fractions."""

    label: str
    family: str
    place: str
    metric: str
    reference: str
    difference: Difference


def specifications(found: Sequence[Contrast]) -> list[Specification]:
    """Return every measured reading of VeCAF that has an ActiveFT beside it, from the lowest difference to the highest.

    The choices that are ActiveFT's own are readings too: VeCAF's default is then compared with that ActiveFT.
    """
    specs = []
    for contrast in found:
        if contrast.spec["root"] == SUBJECT and contrast.from_reference is not None:
            difference = contrast.from_reference
            label = f"{contrast.whose}{contrast.label}"
            specs.append(_specification(contrast, label, contrast.spec["reference"], difference))
        elif contrast.spec["root"] == REFERENCE and not _shared_choice(contrast) and not contrast.is_base:
            for subject in found:
                if subject.spec["method"] == SUBJECT and subject.place == contrast.place:
                    difference = contrasts.against(subject, contrast)
                    specs.append(_specification(contrast, contrast.label, contrast.spec["method"], difference))
    measured = [spec for spec in specs if spec.difference.estimate is not None]
    return sorted(measured, key=lambda spec: (spec.difference.estimate, spec.place, spec.label))


def _shared_choice(contrast: Contrast) -> bool:
    """Say whether a variant of ActiveFT differs in what VeCAF chooses as well."""
    return any(not key.startswith(f"{REFERENCE}.") for key in contrast.spec["changes"])


def _specification(contrast: Contrast, label: str, reference: str, difference: Difference) -> Specification:
    spec = contrast.spec
    family = next((key.partition(".")[0] for key in spec["changes"]), "default")
    family = {"recipe": "loop", "encoder": "captioner"}.get(family, family)
    if contrast.is_base:
        one = spec["target"]
        family, label = ("default", "default") if one is None else ("objective", f"objective.one_vs_all = {one}")
    place = f"{spec['dataset_title']}, {ratio_title(spec['ratio'])}"
    family = family if family in FAMILIES else "other"
    return Specification(label, family, place, contrast.metric, reference, difference)


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> figure.Figure:
    """Return the specification curve of an exhibit's cells; see ``contrasts.build`` for rows and layout."""
    specs = specifications(contrasts.build(rows, layout))
    seeds = {spec.difference.n for spec in specs}
    caption = (
        f"{layout['title']}: differences in points of top-1 accuracy, paired by seed, with Student's 95 % interval "
        f"(n = {', '.join(map(str, sorted(seeds))) or 0} seeds; none where n = 1), sorted; what lies outside the axis "
        "stands at its end with its number. "
        f"Configuration {layout['config_digest']}."
    )
    return figure.Figure(_draw(specs), tuple(_record(spec) for spec in specs), caption)


def _draw(specs: Sequence[Specification]):
    canvas, axes = figure.canvas(7.2, 1.5 + LINE * max(len(specs), 3))
    edge = _edge([100 * spec.difference.estimate for spec in specs])
    usual = Counter(spec.place for spec in specs).most_common(1)
    for height, spec in enumerate(specs):
        title, colour, marker = FAMILIES[spec.family]
        low, high = spec.difference.low, spec.difference.high
        value = 100 * spec.difference.estimate
        drawn = max(-edge, min(edge, value))
        if low is not None:
            axes.plot([100 * low, 100 * high], [height, height], color=figure.COLOURS[colour], linewidth=1.1, alpha=0.8)
        axes.plot([drawn], [height], marker, color=figure.COLOURS[colour], label=title, markersize=4.5, clip_on=False)
        if drawn != value:
            side = "left" if value < 0 else "right"
            axes.annotate(
                contrasts.signed(value, 0),
                (drawn, height),
                xytext=(8 if value < 0 else -8, 0),
                va="center",
                textcoords="offset points",
                fontsize=7,
                ha=side,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # its interval may pass below
            )
    axes.axvline(0, color=figure.COLOURS["grey"], linewidth=0.9)
    axes.set_xlim(-1.05 * edge, 1.05 * edge)
    labels = [_written(spec, bool(usual) and spec.place != usual[0][0]) for spec in specs]
    axes.set_yticks(range(len(specs)), labels, fontsize=7)
    axes.set_ylim(-0.8, len(specs) - 0.2)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("points of accuracy")
    above = sum(spec.difference.low is not None and spec.difference.low > 0 for spec in specs)
    below = sum(spec.difference.high is not None and spec.difference.high < 0 for spec in specs)
    positive = sum(spec.difference.estimate > 0 for spec in specs)
    several = len({spec.place for spec in specs}) > 1
    place = f" ({usual[0][0]}{', or as named' if several else ''})" if usual else ""
    canvas.suptitle(
        f"VeCAF minus ActiveFT{place}\n{positive} of {len(specs)} readings above zero, "
        f"whole interval above: {above}, below: {below}",
        fontsize=8.5,
        x=0.01,
        ha="left",
    )
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    ordered = [title for title, _, _ in FAMILIES.values() if title in handles]
    canvas.legend([handles[title] for title in ordered], ordered, loc="outside lower center", ncols=3, numpoints=1)
    return canvas


def _edge(values: Sequence[float]) -> float:
    """Return where the axis ends, in points: a few ruined readings must not press all others together.

    What lies little beyond the others widens the axis instead of being cut off.
    """
    sizes = sorted(abs(value) for value in values)
    typical = sizes[int(0.85 * (len(sizes) - 1))] if sizes else 0.0
    edge = max(2.0, 1.6 * typical)
    return max([edge, *(size for size in sizes if size <= 1.5 * edge)])


def _written(spec: Specification, with_place: bool) -> str:
    said = spec.label if spec.metric == "top1" else f"{spec.label} (recall)"
    return f"{said} [{spec.place}]" if with_place else said


def _record(spec: Specification) -> dict[str, Any]:
    difference = spec.difference
    return {
        "reading": spec.label,
        "family": spec.family,
        "place": spec.place,
        "metric": spec.metric,
        "reference": spec.reference,
        "difference": difference.estimate,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p,
        "n": difference.n,
    }
