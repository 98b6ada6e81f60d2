"""The table of readings: what each choice does to selection and accuracy, everything else left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vecaf.reporting import contrasts
from vecaf.reporting.comparison import Group
from vecaf.reporting.contrasts import PLACE, Contrast, percent, points
from vecaf.reporting.layout import ratio_title, schedule_title
from vecaf.reporting.listing import Listing
from vecaf.reporting.statistics import standard_deviation

_HEADER = (
    *("Reading", "Accuracy", "n", "minus default", "minus ActiveFT", "Loss ratio", "Loss z", "In top K by loss"),
    *("Kept of start", "As default", "Between seeds", "Objective gain", "Class coverage"),
)
_NUMERIC = 1


def build(rows: pd.DataFrame, layout: Mapping[str, Any], ids: pd.DataFrame | None = None) -> Listing:
    """Return the table of readings of an exhibit's cells.

    rows, ids: see ``contrasts.build``. layout: as ``Study.layout`` says it, with ``contrasts``.
    """
    found = contrasts.build(rows, layout, ids)
    places = dict.fromkeys(tuple(contrast.spec[key] for key in PLACE) for contrast in found)
    groups = tuple(_group(place, found) for place in places)
    notes = tuple(_notes(found, layout))
    return Listing(layout["title"], groups, notes, tuple(_record(contrast) for contrast in found))


def _group(place: tuple, found: Sequence[Contrast]) -> Group:
    inside = [contrast for contrast in found if tuple(contrast.spec[key] for key in PLACE) == place]
    spec = inside[0].spec
    heading = f"{spec['dataset_title']}, {ratio_title(spec['ratio'])}, {schedule_title(spec['schedule'])}"
    bases = dict.fromkeys(tuple(contrast.spec["base"]) for contrast in inside)
    ordered = [contrast for base in bases for contrast in inside if tuple(contrast.spec["base"]) == base]
    ordered.sort(key=lambda contrast: list(bases).index(tuple(contrast.spec["base"])))
    return Group(heading, _HEADER, tuple(_line(contrast) for contrast in ordered), _NUMERIC)


def _line(contrast: Contrast) -> tuple[str, ...]:
    name = contrast.label if contrast.is_base else f"{_of(contrast)}{contrast.label}"
    of = contrast.selection
    return (
        name + (" (recall)" if contrast.metric != "top1" else ""),
        percent(contrast.values.values()),
        f"{len(contrast.values)} of {contrast.planned}",
        points(contrast.from_base),
        points(contrast.from_reference),
        *(_fixed(of[key], digits) for key, digits in (("loss_ratio", 2), ("loss_z", 1), ("overlap_top_loss", 2))),
        _fixed(of["overlap_initial"], 2),
        _fixed(contrast.shared_with_base, 2),
        _fixed(contrast.between_seeds, 2),
        _fixed(of["objective_gain"], 1),
        _fixed(of["class_coverage"], 2),
    )


def _of(contrast: Contrast) -> str:
    """Say whose choice it is where that is not VeCAF's."""
    root, (_, method) = contrast.spec["root"], contrast.spec["base"]
    return "" if method == root == "vecaf" else f"{method}: "


def _record(contrast: Contrast) -> dict[str, Any]:
    spec = contrast.spec
    record: dict[str, Any] = {key: spec[key] for key in (*PLACE, "method")}
    record |= {
        "reading": contrast.label if spec["changes"] else "default",
        "base": "/".join(spec["base"]),
        "reference": spec["reference"],
        "metric": contrast.metric,
        "mean": contrasts.statistics.mean(contrast.values.values()),
        "sd": standard_deviation(contrast.values.values()),
        "n": len(contrast.values),
        "seeds": " ".join(map(str, contrast.values)),
    }
    for name, difference in (("base", contrast.from_base), ("reference", contrast.from_reference)):
        for part in ("estimate", "low", "high", "p"):
            key = f"minus_{name}" if part == "estimate" else f"minus_{name}_{part}"
            record[key] = None if difference is None else getattr(difference, part)
    return (
        record
        | dict(contrast.selection)
        | {
            "jaccard_with_base": contrast.shared_with_base,
            "jaccard_between_seeds": contrast.between_seeds,
        }
    )


def _fixed(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _notes(found: Sequence[Contrast], layout: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "Each line changes what it names and nothing else; the line without a change is the default it is compared "
        "with. Accuracy is top-1 in percent (recall of the target class by argmax where the line says so): mean ± "
        "standard error over n seeds. Differences are paired by seed, in points, with Student's 95 % interval."
    )
    yield (
        "minus ActiveFT: the same seeds of ActiveFT in as many loops, with the same choice wherever it is not one of "
        "selection or augmentation (recipe, accumulation, image size, objective)."
    )
    yield (
        "Of the selections after the first loop, means over loops and seeds. Loss ratio: mean loss of the selection "
        "over the pool's; loss z: their difference in standard deviations of a random set's mean; in top K by loss: "
        "share of the selection among the K largest losses."
    )
    yield (
        "Kept of start: share of the selection that was among its random initial ids (above 0.8 it is random in "
        "disguise). As default, between seeds: Jaccard index of the ids with the default's at the same seed and loop, "
        "and of two seeds; tiny perturbations alone change an eighth to a fifth of the ids, so 0.7 is no difference."
    )
    yield (
        "Objective gain: how far the selected images, as centroids, lie below random sets in the method's own "
        "objective, in standard deviations of theirs. Class coverage: classes covered over what a random set covers."
    )
    missing = sum(len(contrast.values) < contrast.planned for contrast in found)
    if missing:
        yield f"{missing} of {len(found)} lines have cells that are not measured."
    yield from layout.get("notes") or ()
    yield f"Digest of the configuration: {layout['config_digest']}."
