"""A method in one place of Table 4: what it costs here, and what the paper prints of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vecaf.flops import cell as flops
from vecaf.flops import papers_arithmetic as papers
from vecaf.reporting import costs as measured
from vecaf.reporting import paper
from vecaf.reporting.costs import COUNTED, Cost
from vecaf.reporting.layout import WHOLE_POOL, ratio_title

FULL = "full"
# What the paper prints, and the ratios of the cells that its rows are taken to be.
PRINTED = {
    "batches": "training_batches",
    "cea": "flops_g_cea",
    "selection": "flops_g_selection",
    "finetune": "flops_g_finetune",
    COUNTED: "flops_g_all",
}
PRINTED_RATIOS = {"vecaf": "1pct", FULL: WHOLE_POOL}


@dataclass(frozen=True)
class Row:
    """A method in one place.

    plan: as of ``Study.plans``. costs: its steps over the whole budget, empty where nothing is known; seeds: those
    measured, none where the MACs are planned. printed: part → G, and batches; redone: part → G by the paper's own
    arithmetic; then: the steps up to the paper's number of batches, None where it prints none.
    """

    plan: Mapping[str, Any]
    costs: Sequence[Cost]
    seeds: tuple[int, ...]
    printed: Mapping[str, float]
    redone: Mapping[str, float]
    then: Sequence[Cost] | None

    @property
    def name(self) -> str:
        return f"{self.plan['title']}, {ratio_title(self.plan['ratio'])}"

    @property
    def batches(self) -> int:
        return self.plan["parameters"]["finetune"][-1]["stop"]

    def macs(self, part: str) -> float | None:
        """Return the MACs of a part over the whole budget, in full."""
        return measured.macs(self.costs, part)

    def in_papers_unit(self, part: str, costs: Sequence[Cost] | None) -> float | None:
        """Return the G of a part of some costs in the paper's unit."""
        macs = measured.macs(costs, part)
        return None if macs is None else flops.in_papers_unit(macs, flops.batch_size(self.plan["parameters"]))

    def one_scoring(self) -> float | None:
        """Return one pass over the pool in the paper's unit, G; None for a method that never scores it."""
        return self.in_papers_unit("scoring", [cost for cost in self.costs if cost.step == "score"][:1])


def price(plan: Mapping[str, Any], costs: pd.DataFrame, counts: flops.Counts) -> Row:
    """Return what a method costs in one place: as measured, else as its parameters allow at most.

    plan: as of ``Study.plans``. costs: of an exhibit's cells (``costs.COLUMNS``).
    """
    parameters = plan["parameters"]
    profiles, selections = flops.profiles_of(plan["backbone"], parameters, counts), flops.planned(parameters)
    done = measured.of(costs, plan)
    seeds = tuple(sorted({seed for cost in done for seed in cost.seconds}))
    if not done and selections is not None:
        done = [Cost(work.loop, work.step, {}, work.macs) for work in flops.work(parameters, selections, profiles)]
    printed, redone, then = _printed(plan), {}, None
    if "batches" in printed and selections is not None:
        redone = _redone(plan["method"], printed["batches"], profiles.backbone, selections[0])
        loops = [(trained["start"], trained["stop"]) for trained in parameters["finetune"]]
        then = measured.until(done, loops, printed["batches"])
    return Row(plan, done, seeds, printed, redone, then)


def _printed(plan: Mapping[str, Any]) -> dict[str, float]:
    if PRINTED_RATIOS.get(plan["method"]) != plan["ratio"]:
        return {}
    where = (plan["dataset"], plan["backbone"], plan["method"])
    found = {part: paper.printed_value(*where, exhibit="table4", metric=metric) for part, metric in PRINTED.items()}
    return {part: value.value for part, value in found.items() if value is not None}


def _redone(method: str, batches: float, backbone: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, float]:
    if method == FULL:
        parts = papers.full_finetuning(batches, backbone["macs"])
    else:
        sizes = {"width": backbone["width"], "pool": first["pool_size"], "chosen": first["k"]}
        parts = papers.active_finetuning(batches, backbone["macs"], **sizes)
    return parts | {COUNTED: sum(parts.values())}
