"""The schema of a cell's metrics.json: what evaluate writes and every table, figure and claim reads.

A file is one object of ``CellMetrics``. Blocks may carry more than is required here; nothing less, and no NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vecaf.errors import ArtifactError

SCHEMA_VERSION = 1
# The numbers of a tidy row; those of one class against all others are None in the rows of other objectives.
ONE_VS_ALL = ("recall_argmax", "recall_half", "binary_accuracy", "balanced_accuracy")
VALUES = ("top1", "mean_per_class", *ONE_VS_ALL)
# What the selections of a cell are like, and which classes they leave in the model; see ``selection_facts``.
SELECTION = (
    *("loss_ratio", "loss_z", "overlap_top_loss", "overlap_initial", "overlap_previous"),
    *("class_coverage", "objective_gain", "select_seconds", "mislabelled_share"),
    *("class_imbalance", "recall_gap_latest", "recall_gap_before"),
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Block(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class CellKey(_Block):
    """The cell's own name; nothing else may stand here."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dataset: str
    backbone: str
    method: str
    ratio: str
    schedule: str
    seed: int = Field(ge=0)


class OneVsAll(_Block):
    """How well the target class is told from all others; see ``vecaf.training.evaluate.one_vs_all``."""

    target: str
    recall_argmax: Fraction | None
    recall_half: Fraction | None
    binary_accuracy: Fraction | None
    balanced_accuracy: Fraction | None


class Metrics(_Block):
    """Accuracy on the whole test set, as fractions. per_class: class name → accuracy, None without a test image;
    classes: their names in the order of labels.

    one_vs_all: of cells whose objective is one class against all others.
    """

    top1: Fraction
    mean_per_class: Fraction
    per_class: dict[str, Fraction | None] = Field(min_length=1)
    classes: list[str] | None = None
    n: int = Field(ge=1, description="test images")
    one_vs_all: OneVsAll | None = None

    @model_validator(mode="after")
    def _of_the_same_classes(self) -> Metrics:
        if self.classes is not None and sorted(self.classes) != sorted(self.per_class):
            raise ValueError("classes are not those of per_class")
        return self


class LoopTimings(_Block):
    """Seconds of work of each stage in one loop; evaluation of the curve is a stage of its own, not finetuning."""

    loop: int = Field(ge=1)
    seconds: dict[str, Seconds]


class Cost(_Block):
    """What the cell cost. seconds: stage → seconds over all loops, with stages outside the loops (evaluate)."""

    batches: int = Field(ge=1, description="finetuning batches over all loops")
    seconds: dict[str, Seconds]
    loops: list[LoopTimings] = Field(min_length=1)

    @model_validator(mode="after")
    def _counted(self) -> Cost:
        if [timing.loop for timing in self.loops] != list(range(1, len(self.loops) + 1)):
            raise ValueError("loops must be numbered 1, 2, … in order")
        for stage, total in loop_totals([timing.seconds for timing in self.loops]).items():
            if not self.seconds.get(stage, 0.0) >= total - 0.01:
                raise ValueError(f"seconds of {stage} are less than those of its loops")
        return self


class Provenance(_Block):
    """See ``vecaf.provenance.cell_provenance``, which builds it."""

    digest: str = Field(min_length=1)
    parameters: dict[str, Any]
    readings: dict[str, Any]
    seeds: dict[str, int]
    weights: dict[str, Hash] = Field(min_length=1)
    ids: dict[str, Hash] = Field(min_length=1)
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    device: str | None
    threads: int | None
    host: dict[str, Any] | None
    versions: dict[str, str] | None
    git: dict[str, Any] | None


class CellMetrics(_Block):
    schema_version: Literal[1]
    cell: CellKey
    metrics: Metrics
    cost: Cost
    provenance: Provenance


def loop_totals(loops: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return stage → seconds summed over loops."""
    stages = sorted({stage for loop in loops for stage in loop})
    return {stage: math.fsum(loop.get(stage, 0.0) for loop in loops) for stage in stages}


def cost(batches: int, loops: Sequence[Mapping[str, float]], outside: Mapping[str, float] | None = None) -> dict:
    """Return the cost block of a cell.

    loops: for each loop, stage → seconds. outside: stage → seconds of what belongs to no loop, such as the final
    evaluation; added to a stage of the same name.
    """
    return {
        "batches": batches,
        "seconds": loop_totals([loop_totals(loops), outside or {}]),
        "loops": [{"loop": number, "seconds": dict(seconds)} for number, seconds in enumerate(loops, start=1)],
    }


def cell_metrics(cell: Mapping[str, Any], metrics: Mapping[str, Any], cost: Mapping, provenance: Mapping) -> dict:
    """Return the whole content of a metrics.json, ready for ``check_metrics`` and ``artifacts.write_json``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "cell": dict(cell),
        "metrics": dict(metrics),
        "cost": dict(cost),
        "provenance": dict(provenance),
    }


def check_metrics(metrics: Mapping[str, Any], file: str | Path) -> None:
    """Refuse a metrics.json that lacks or contradicts something.

    file: named in the message. Raises ArtifactError listing every problem with the path of its field; of a file under
    another schema only that.
    """
    version = metrics.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{file} was written under schema {version}, this version reads {SCHEMA_VERSION}; evaluate the cell again "
            "(snakemake -f with its metrics.json; nothing is trained for it), or check out the version that wrote it"
        )
    try:
        CellMetrics.model_validate(metrics)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors())
        raise ArtifactError(
            f"{file} is no complete metrics file: {problems}. Delete it and run its target again"
        ) from error


def _problem(detail: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"]) or "the file"
    if detail["type"] == "missing":
        return f"{name} is missing"
    text = detail["msg"].removeprefix("Value error, ")
    return f"{name}: {text}" if isinstance(detail["input"], dict | list) else f"{name} is {detail['input']!r}: {text}"


def selections_of(metrics: Mapping[str, Any], place: str | Path) -> list[Mapping[str, Any]]:
    """Return the diagnostics of each loop's selection; metrics must have passed ``check_metrics``.

    place: named in the message. Raises ArtifactError where they do not say how much was selected, of how many.
    """
    selections = metrics["provenance"].get("selection") or []
    if not selections or not all({"k", "pool_size"} <= selected.keys() for selected in selections):
        raise ArtifactError(f"{place} does not say how much was selected; evaluate the cell again")
    return selections


def selection_facts(
    loops: Sequence[Mapping[str, Any]], recalls: Sequence[float | None] = ()
) -> dict[str, float | None]:
    """Return ``SELECTION`` of a cell: means over the loops after the first, whose scores are of trained weights.

    loops: diagnostics of each selection. A cell with one selection has that one's. recalls: accuracy on each class.
    class_coverage: classes covered over those that a random set covers on average; objective_gain: by how much the
    selected images as centroids have a lower objective than random sets have, in standard deviations of theirs;
    select_seconds: of choosing alone; class_imbalance: see there; recall_gap_latest, recall_gap_before: ``recall_gap``
    of the last selection and of the one before it. None where a loop lacks a number.
    """

    def of(loop: Mapping[str, Any]) -> dict[str, float | None]:
        found = {name: loop.get(name) for name in SELECTION}
        if loop.get("classes_expected"):
            found["class_coverage"] = loop["classes_covered"] / loop["classes_expected"]
        if loop.get("objective_of_random_sd"):
            lower = loop["objective_of_random_mean"] - loop["objective_of_selected"]
            found["objective_gain"] = lower / loop["objective_of_random_sd"]
        if recalls and loop.get("class_histogram"):
            found["class_imbalance"] = class_imbalance(loop["class_histogram"], len(recalls))
        found["select_seconds"] = loop.get("seconds")
        return found

    each = [of(loop) for loop in loops[1:] or loops]
    values = {name: [found[name] for found in each] for name in SELECTION}
    facts = {name: None if None in some or not some else math.fsum(some) / len(some) for name, some in values.items()}
    for name, loop in zip(("recall_gap_latest", "recall_gap_before"), reversed(loops), strict=False):
        facts[name] = recall_gap(recalls, loop.get("class_histogram") or ())
    return facts


def class_recalls(metrics: Mapping[str, Any]) -> list[float | None]:
    """Return the accuracy on each class in the order of labels, None without a test image; empty if no order is known.

    JSON sorts the classes by name; a record from before ``classes`` was written says no other order, and only class
    folders have that one for sure.
    """
    recalls, classes = metrics["metrics"]["per_class"], metrics["metrics"].get("classes")
    if classes is None and metrics["provenance"]["parameters"].get("pool", {}).get("source") == "image_folder":
        classes = sorted(recalls)
    return [recalls[name] for name in classes or ()]


def class_imbalance(histogram: Sequence[int], classes: int) -> float:
    """Return the total variation distance of a selection's class shares from equal ones, in [0, 1 − 1/classes].

    histogram: images of each class, those beyond its end have none. Random sets are not at 0: of a balanced pool's
    C classes, K images have about √(C / (2πK)) where K is some times C.
    """
    counts = [*histogram, *[0] * (classes - len(histogram))]
    return math.fsum(abs(count / sum(counts) - 1 / classes) for count in counts) / 2


def recall_gap(recalls: Sequence[float | None], histogram: Sequence[int]) -> float | None:
    """Return the mean recall of classes that have more than an equal share of a selection, minus that of the others.

    recalls: of each class, None without a test image. Classes with exactly an equal share are on neither side; None
    where one of both sides has no class.
    """
    if not recalls:
        return None
    counts = [*histogram, *[0] * (len(recalls) - len(histogram))]
    seen = [(count * len(counts) - sum(counts), recall) for count, recall in zip(counts, recalls, strict=True)]
    more = [recall for excess, recall in seen if excess > 0 and recall is not None]
    less = [recall for excess, recall in seen if excess < 0 and recall is not None]
    return math.fsum(more) / len(more) - math.fsum(less) / len(less) if more and less else None


def selection_hashes(metrics: Mapping[str, Any]) -> list[str]:
    """Return the hashes of a cell's selections, in the order of its loops."""
    ids = metrics["provenance"]["ids"]
    return [ids[loop] for loop in sorted(ids, key=lambda name: int(name.removeprefix("loop")))]


def table_row(
    metrics: Mapping[str, Any], *, status: str = "measured", origin: str = "run", published_top1: float | None = None
) -> dict[str, Any]:
    """Return one row of the tidy table that exhibits are built from; metrics must have passed ``check_metrics``.

    Keys: those of the cell, status, reason, ``VALUES`` (fractions, None for what the cell does not have),
    ``SELECTION``, ids (the hash of each loop's selection, in order, with blanks between), origin, digest,
    published_top1 (a fraction, of another run of the cell, which is published).
    """
    found = metrics["metrics"]
    numbers = {**found, **(found.get("one_vs_all") or {})}
    return {
        **metrics["cell"],
        "status": status,
        "reason": None,
        **{name: numbers.get(name) for name in VALUES},
        **selection_facts(metrics["provenance"].get("selection") or [], class_recalls(metrics)),
        "ids": " ".join(selection_hashes(metrics)),
        "origin": origin,
        "digest": metrics["provenance"]["digest"],
        "published_top1": published_top1,
    }
