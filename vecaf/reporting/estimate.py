"""The estimate as a table: of every exhibit its jobs, hours and disk, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vecaf.config.schema import Estimate
from vecaf.estimate import Rates, Total
from vecaf.reporting.comparison import Group
from vecaf.reporting.listing import Listing

_HEADER = ("Exhibit", "Cells", "Jobs", "GPU-hours", "CPU-job hours", "Disk at the end", "Disk at the highest")


def build(totals: Mapping[str, Total], spec: Estimate, rates: Rates) -> Listing:
    """Return the table. totals: exhibit or group of exhibits → its total."""
    lines = tuple(_line(name, total) for name, total in totals.items())
    records = tuple({"exhibit": name, **vars(total)} for name, total in totals.items())
    title = "What the exhibits of this study cost"
    return Listing(title, (Group("", _HEADER, lines, 1),), tuple(_notes(spec, rates)), records)


def hours(seconds: float) -> str:
    value = seconds / 3600
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def size(amount: float) -> str:
    return (
        f"{amount / 1e9:,.0f} GB"
        if amount >= 1e10
        else f"{amount / 1e9:.1f} GB"
        if amount >= 1e9
        else (f"{amount / 1e6:,.0f} MB")
    )


def _line(name: str, total: Total) -> tuple[str, ...]:
    gpu = hours(total.gpu_seconds) if total.gpu_seconds else "—"
    sizes = (size(total.final), size(total.peak))
    return (name, f"{total.cells:,}", f"{total.jobs:,}", gpu, hours(total.cpu_seconds), *sizes)


def _notes(spec: Estimate, rates: Rates) -> Iterator[str]:
    yield (
        "Each line is what the exhibit alone would cost; what several share (cells, captions, scorings) stands in each "
        "of them and once in the sums. A finetuning job on two GPUs takes half as long and as many GPU-hours."
    )
    said = ", ".join(f"{step} {rate:.2g}" for step, rate in rates.macs_per_second.items())
    told = f"measured in {rates.cells} finished cells on {rates.device}" if rates.cells else f"{rates.device}"
    yield f"Multiply-accumulates a second ({told}): {said}."
    if assumed := [step for step in rates.macs_per_second if step not in rates.measured] if rates.cells else []:
        yield f"No finished cell tells how fast these are, so the configuration's word stands: {', '.join(assumed)}."
    yield (
        f"A job takes {rates.start:.3g} s to begin; no step is faster than its images are decoded, "
        f"{spec.images_per_second:g} a second and CPU thread where they are files. Selections are counted with as many "
        "iterations as they are allowed, captions at their longest: both are upper bounds."
    )
    yield (
        f"Disk at the highest: what remains, and weights, optimiser states and embeddings between the loops of "
        f"{spec.parallel} cells at once. Datasets, downloaded models, tables, logs and figures are not counted, and "
        "neither are steps of a few seconds: collecting, tables, figures."
    )
