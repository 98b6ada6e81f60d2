"""What cells cost, by loop and step: the companion of the tidy metrics, one row for each cell, loop and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from vecaf.flops.cell import ONCE
from vecaf.reporting.layout import KEYS

# seconds: measured, NaN where nobody timed the step; macs: multiply-accumulates in full, NaN where not counted.
COLUMNS = (*KEYS, "seed", "loop", "step", "seconds", "macs")
# What a method consists of, as table 4 groups its steps; looking at the curve and the final evaluation are no part.
PARTS = {
    "captions": ("caption",),
    "scoring": ("score",),
    "cea": ("embed_text", "augment"),
    "selection": ("select",),
    "style": ("train_styler", "stylize"),
    "finetune": ("finetune",),
}
# Sums of parts: of what the paper counts, and of everything.
COUNTED, ALL = "counted", "all"
SUMS = {COUNTED: ("cea", "selection", "finetune"), ALL: tuple(PARTS)}


@dataclass(frozen=True)
class Cost:
    """One step of one method; loop: from 1, or ``ONCE``; seconds: by seed; macs: mean over seeds, None: not counted."""

    loop: int
    step: str
    seconds: Mapping[int, float]
    macs: float | None


def of(costs: pd.DataFrame, key: Mapping[str, Any]) -> list[Cost]:
    """Return the steps of the cells with a key, in the order of loops; none if no cell has run.

    costs: with ``COLUMNS``. key: dataset, backbone, method, ratio, schedule.
    """
    mine = costs
    for name in KEYS:
        mine = mine[mine[name] == key[name]]
    found = []
    for (loop, step), rows in mine.groupby(["loop", "step"], sort=True):
        timed = rows[rows["seconds"].notna()]
        seconds = {int(seed): float(value) for seed, value in zip(timed["seed"], timed["seconds"], strict=True)}
        macs = None if rows["macs"].isna().any() else float(rows["macs"].mean())
        found.append(Cost(int(loop), str(step), seconds, macs))
    return found


def until(costs: Sequence[Cost], loops: Sequence[tuple[int, int]], batches: float) -> list[Cost] | None:
    """Return what has been spent when so many batches are done, None beyond the last.

    loops: first and last+1 batch of each. A loop that has begun has been scored and selected for in full; of its
    finetuning what was done counts.
    """
    if batches > loops[-1][1]:
        return None
    spent = []
    for cost in costs:
        start, stop = loops[cost.loop - 1] if cost.loop != ONCE else (0, 1)
        if start >= batches:
            continue
        share = min(1.0, (batches - start) / (stop - start)) if cost.step == "finetune" else 1.0
        seconds = {seed: share * value for seed, value in cost.seconds.items()}
        spent.append(replace(cost, seconds=seconds, macs=None if cost.macs is None else share * cost.macs))
    return spent


def macs(costs: Sequence[Cost] | None, part: str) -> float | None:
    """Return the MACs of a part or sum in full: 0 for a part that a method lacks, None where a step is not counted."""
    if not costs:
        return None
    steps = {step for one in SUMS.get(part, (part,)) for step in PARTS[one]}
    found = [cost.macs for cost in costs if cost.step in steps]
    return None if None in found else sum(found)
