"""The table of readings: what each choice does to selection and accuracy, everything else left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vecaf.reporting import contrasts
from vecaf.reporting.comparison import Group
from vecaf.reporting.contrasts import Contrast, fixed, gap, points
from vecaf.reporting.layout import PLACE, cell_path, ratio_title, schedule_title
from vecaf.reporting.listing import Listing
from vecaf.reporting.statistics import mean, standard_deviation

_HEADER = ("Reading", "Accuracy", "n", "minus default", "minus ActiveFT")
_SELECTED_HEADER = (
    *("Reading", "Loss", "z", "Top K", "Kept", "Default", "Seeds", "Gain", "Classes", "Imbalance"),
    *("Gap, latest", "Gap, before"),
)
_MISLABELLED = "Mislabelled"  # a column where the labels of a pool are wrong in part
_NUMERIC = 1
_CEA_HEADER = ("Text behind CEA", "Accuracy", "n", "minus no CEA")
_ENSEMBLE_HEADER = ("Ensemble", "Accuracy", "sd over seeds", "Between seeds", "Objective gain", "Seconds a selection")


def build(rows: pd.DataFrame, layout: Mapping[str, Any], ids: pd.DataFrame | None = None) -> Listing:
    """Return the table of readings of an exhibit's cells.

    rows, ids: see ``contrasts.build``. layout: as ``Study.layout`` says it, with ``contrasts``.
    """
    found = contrasts.build(rows, layout, ids)
    places = dict.fromkeys(contrast.place for contrast in found)
    groups = [group for place in places for group in _groups(place, found)]
    notes = tuple(_notes(found, layout))
    return Listing(layout["title"], tuple(groups), notes, tuple(_record(contrast) for contrast in found))


def _groups(place: tuple, found: Sequence[Contrast]) -> Iterator[Group]:
    """Yield the readings of one place and what they select, then what is left of CEA and what the ensemble brings."""
    yield _group(place, found)
    yield from _selected(place, found)
    inside = [contrast for contrast in found if contrast.place == place and contrast.spec["root"] == "vecaf"]
    inside = [contrast for contrast in inside if contrast.spec["base"][1] == "vecaf"]
    without = next((contrast for contrast in inside if list(contrast.spec["changes"]) == ["cea"]), None)
    text = [contrast for contrast in inside if _changes_only(contrast, "cea.", "captioner", "encoder")]
    if without is not None and len(text) > 1:
        lines = tuple(
            (
                "default" if contrast.is_base else contrast.label,
                contrast.accuracy,
                f"{len(contrast.values)} of {contrast.planned}",
                points(contrasts.against(contrast, without)),
            )
            for contrast in text
        )
        yield Group(f"What is left of CEA: {_heading(place, inside)}", _CEA_HEADER, lines, _NUMERIC)
    ensemble = [contrast for contrast in inside if _changes_only(contrast, *_ENSEMBLE)]
    if len(ensemble) > 1:
        lines = tuple(_ensemble_line(contrast) for contrast in ensemble)
        yield Group(f"What the ensemble brings: {_heading(place, inside)}", _ENSEMBLE_HEADER, lines, _NUMERIC)


_ENSEMBLE = ("ods.ensemble", "ods.debias", "ods.iterations", "ods.until_convergence", "ods.learning_rate")


def _changes_only(contrast: Contrast, *keys: str) -> bool:
    """Say whether a method varies nothing but what begins with one of these keys."""
    return all(key.startswith(keys) for key in contrast.spec["changes"])


def _ensemble_line(contrast: Contrast) -> tuple[str, ...]:
    sd = standard_deviation(100 * value for value in contrast.values.values())
    return (
        "default" if contrast.is_base else contrast.label,
        contrast.accuracy,
        fixed(sd, 2),
        fixed(contrast.between_seeds, 2),
        fixed(contrast.selection["objective_gain"], 1),
        fixed(contrast.selection["select_seconds"], 1),
    )


def _group(place: tuple, found: Sequence[Contrast]) -> Group:
    inside = _ordered(place, found)
    paths = tuple(cell_path(contrast.spec) for contrast in inside)
    return Group(_heading(place, inside), _HEADER, tuple(map(_line, inside)), _NUMERIC, paths)


def _selected(place: tuple, found: Sequence[Contrast]) -> Iterator[Group]:
    """Yield what the readings that have run select, and which classes that leaves in the model."""
    inside = [contrast for contrast in _ordered(place, found) if contrast.values]
    if not inside:
        return
    wrong = any(contrast.selection["mislabelled_share"] is not None for contrast in inside)
    lines = [_selected_line(contrast) for contrast in inside]
    if wrong:
        more = [fixed(contrast.selection["mislabelled_share"], 3) for contrast in inside]
        lines = [(*line, share) for line, share in zip(lines, more, strict=True)]
    header = (*_SELECTED_HEADER, _MISLABELLED) if wrong else _SELECTED_HEADER
    yield Group(f"What is selected: {_heading(place, inside)}", header, tuple(lines), _NUMERIC)


def _ordered(place: tuple, found: Sequence[Contrast]) -> list[Contrast]:
    """Return the readings of a place, each below the method that it varies."""
    inside = [contrast for contrast in found if contrast.place == place]
    bases = list(dict.fromkeys(tuple(contrast.spec["base"]) for contrast in inside))
    return sorted(inside, key=lambda contrast: bases.index(tuple(contrast.spec["base"])))


def _heading(place: tuple, inside: Sequence[Contrast]) -> str:
    title = inside[0].spec["dataset_title"]
    return f"{title}, {ratio_title(place[PLACE.index('ratio')])}, {schedule_title(place[PLACE.index('schedule')])}"


def _line(contrast: Contrast) -> tuple[str, ...]:
    return (
        _name(contrast),
        contrast.accuracy,
        f"{len(contrast.values)} of {contrast.planned}",
        points(contrast.from_base),
        points(contrast.from_reference),
    )


def _selected_line(contrast: Contrast) -> tuple[str, ...]:
    of = contrast.selection
    return (
        _name(contrast),
        *(fixed(of[key], digits) for key, digits in (("loss_ratio", 2), ("loss_z", 1), ("overlap_top_loss", 2))),
        fixed(of["overlap_initial"], 2),
        fixed(contrast.shared_with_base, 2),
        fixed(contrast.between_seeds, 2),
        fixed(of["objective_gain"], 1),
        fixed(of["class_coverage"], 2),
        fixed(of["class_imbalance"], 2),
        *(gap(values.values()) for values in contrast.gaps),
    )


def _name(contrast: Contrast) -> str:
    return f"{contrast.whose}{contrast.label}" + (" (recall)" if contrast.metric != "top1" else "")


def _record(contrast: Contrast) -> dict[str, Any]:
    spec = contrast.spec
    record: dict[str, Any] = {key: spec[key] for key in (*PLACE, "method")}
    record |= {
        "reading": contrast.label if spec["changes"] else "default",
        "base": "/".join(spec["base"]),
        "reference": spec["reference"],
        "metric": contrast.metric,
        "mean": mean(contrast.values.values()),
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
    if any(contrast.selection["mislabelled_share"] is not None for contrast in found):
        yield (
            "Mislabelled: share of the selections after the first loop whose labels are wrong; the pool's own share is "
            "the dataset's mislabelled."
        )
    yield (
        "What is selected: means over seeds and the loops after the first, of readings that have run. Loss: mean loss "
        "of the selection over the pool's; z: their difference in standard deviations of a random set's mean; top K: "
        "share of the selection among the K largest losses."
    )
    yield (
        "Kept: share of the selection that was among its random initial ids (above 0.8 it is random in disguise). "
        "Default, seeds: Jaccard index of the ids with the default's at the same seed and loop, and of two seeds; tiny "
        "perturbations alone change an eighth to a fifth of the ids, so 0.7 is no difference."
    )
    yield (
        "Gain: how far the selected images, as centroids, lie below random sets in the method's own objective, in "
        "standard deviations of theirs. Classes: those covered over what a random set covers. Imbalance: half of "
        "the summed distances of class shares from equal ones (random sets are not at 0)."
    )
    yield (
        "Gap, latest, before: accuracy on classes that have more than an equal share of the last selection, or of the "
        "one before it, minus accuracy on those that have less, in points ± standard error. Far above zero by the "
        "latest set: what a loop leaves out is forgotten."
    )
    yield (
        "What is left of CEA: with the text of other images, without the class name, or with one-hot labels in place "
        "of text, what remains of a gain is not language. One-hot labels of the whole pool are labels that no other "
        "method reads."
    )
    missing = sum(len(contrast.values) < contrast.planned for contrast in found)
    if missing:
        yield f"{missing} of {len(found)} lines have cells that are not measured."
    if stale := sum(contrast.stale for contrast in found):
        yield f"{stale} of their cells were run under another configuration and are left out; run their metrics again."
    yield from layout.get("notes") or ()
    yield f"Digest of the configuration: {layout['config_digest']}."
