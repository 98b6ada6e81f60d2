"""The grid of cells: which cells an exhibit shows, and what each step of a cell needs to know.

A cell is dataset × backbone × method × ratio × schedule × seed. ``Grid`` is the only place that knows how the
configuration becomes cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

from vecaf import augmentation, selection
from vecaf.config.checks import PLANNED_SELECTORS
from vecaf.config.merging import merge
from vecaf.config.schema import BackboneSpec, Block, Config, Dataset, Method, Skip, Training, Turn
from vecaf.models import captioners, text_encoders

NO_PROMPT = "none"


@dataclass(frozen=True, order=True)
class Cell:
    """One cell of the study; its fields are the directories of its path."""

    dataset: str
    backbone: str
    method: str
    ratio: str
    schedule: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}/{self.backbone}/{self.method}/{self.ratio}/{self.schedule}/seed{self.seed}"


class Grid:
    """The configuration seen as cells. Every query is cached: rules ask the same things thousands of times."""

    def __init__(self, config: Config):
        self.config = config

    # --- which cells -------------------------------------------------------------------------------------------

    def exhibits(self, kind: str | None = None) -> list[str]:
        """Return the names of the exhibits, in the order of the configuration."""
        return [name for name, e in self.config.exhibits.items() if e is not None and kind in (None, e.kind)]

    @cache  # noqa: B019  (a Study lives as long as the process)
    def shown(self, exhibit: str) -> dict[Cell, str | None]:
        """Return every cell of an exhibit, once, with the paper's reason when it is not reported there."""
        spec = self.config.exhibits[exhibit]
        return {cell: _skipped(cell, spec.not_reported) for block in spec.blocks for cell in self._product(block)}

    def _product(self, block: Block) -> Iterator[Cell]:
        for method in block.methods:
            for schedule in block.schedules:
                for dataset, ratios in block.datasets.items():
                    for backbone in block.backbones or [self.config.datasets[dataset].backbone]:
                        for ratio in ratios:
                            for seed in self.config.datasets[dataset].seeds:
                                yield Cell(dataset, backbone, method, ratio, schedule, seed)

    def cells(self, *exhibits: str) -> list[Cell]:
        """Return the cells to be run for these exhibits (all, if none is named), each once however many show it."""
        wanted = [name for name in exhibits or self.exhibits() if not self.config.exhibits[name].selections_only]
        shown = (self.shown(exhibit) for exhibit in wanted)
        return list(dict.fromkeys(cell for cells in shown for cell, reason in cells.items() if reason is None))

    @cache  # noqa: B019
    def missing(self, dataset: str, method: str) -> str | None:
        """Say what of a method has no implementation yet, or None when its cells can run."""
        spec = self.method(method)
        for turn_selector in {spec.selector, *(t.selector for turns in spec.schedules.values() for t in turns)}:
            if turn_selector in PLANNED_SELECTORS:
                return f"selector {turn_selector}"
        if spec.stylize is not None:
            return f"style transfer {spec.stylize.kind}"
        if spec.cea is not None:
            captioner, encoder = self.captioner(dataset, method), self.encoder(dataset, method)
            if not captioners.implemented(self.config.captioners[captioner].kind):
                return f"captioner {captioner}"
            if not text_encoders.implemented(self.config.encoders[encoder].kind):
                return f"text encoder {encoder}"
        return None

    def runnable(self, *exhibits: str) -> list[Cell]:
        """Return the cells of these exhibits whose method is implemented."""
        return [cell for cell in self.cells(*exhibits) if self.missing(cell.dataset, cell.method) is None]

    # --- the parts of a cell -----------------------------------------------------------------------------------

    def dataset(self, name: str) -> Dataset:
        return self.config.datasets[name]

    def backbone(self, name: str) -> BackboneSpec:
        return self.config.backbones[name]

    def method(self, name: str) -> Method:
        return self.config.methods[name]

    def captioner(self, dataset: str, method: str) -> str:
        return self.method(method).captioner or self.dataset(dataset).captioner

    def encoder(self, dataset: str, method: str) -> str:
        return self.method(method).encoder or self.dataset(dataset).encoder

    def prompt(self, method: str) -> str:
        return self.method(method).prompt or NO_PROMPT

    @cache  # noqa: B019
    def turns(self, method: str, schedule: str) -> list[Turn]:
        """Return the loops of a schedule as this method runs them."""
        return self.method(method).schedules.get(schedule) or self.config.schedules[schedule]

    def loops(self, method: str, schedule: str) -> int:
        return len(self.turns(method, schedule))

    @cache  # noqa: B019
    def batches(self, dataset: str, method: str, schedule: str) -> list[tuple[int, int]]:
        """Return (first, last+1) batch of each loop: the budget in exact shares, 12500/3 → 4167, 4167, 4166."""
        total, spent, edges = self.dataset(dataset).batches, Fraction(0), [0]
        for turn in self.turns(method, schedule):
            spent += Fraction(turn.share)
            edges.append(math.ceil(spent * total))
        return list(pairwise(edges))

    @cache  # noqa: B019
    def selector(self, method: str, schedule: str, loop: int) -> tuple[str, dict[str, Any]]:
        """Return the name and the complete parameters of the selector that acts in one loop."""
        spec = self.method(method)
        named = self.turns(method, schedule)[loop - 1].selector
        name = spec.selector if named == "method" else named
        params = getattr(spec, name, None) or selection.get(name).Params()
        return name, params.model_dump()

    def needs(self, method: str, schedule: str, loop: int) -> frozenset[str]:
        return selection.get(self.selector(method, schedule, loop)[0]).needs

    def head(self, method: str, schedule: str) -> str:
        """Return which head a cell starts from: the one whose losses its first selection reads."""
        chosen = self.selector(method, schedule, 1)[1].get("first_loop")
        return "class_mean" if chosen == "class_mean" else "random"

    def objective(self, method: str) -> str:
        """Return the name of a method's objective, as it stands in paths."""
        objective = self.method(method).objective
        return objective if isinstance(objective, str) else f"{objective.one_vs_all}_{objective.form}"

    def objective_params(self, method: str) -> Any:
        objective = self.method(method).objective
        return objective if isinstance(objective, str) else objective.model_dump()

    def augments_pool(self, method: str, loop: int) -> bool:
        """Say whether CEA shifts the whole pool before the selection of this loop."""
        readings = self.method(method).cea
        return readings is not None and augmentation.applies_to_pool(readings, loop, self.method(method).prompt)

    def augments_training(self, method: str) -> bool:
        readings = self.method(method).cea
        return readings is not None and readings.in_finetune

    @cache  # noqa: B019
    def training(self, dataset: str, method: str) -> dict[str, Any]:
        """Return the training section of one cell: the study's, then the dataset's, then the method's changes."""
        section = self.config.training.model_dump(exclude_unset=True)
        section = merge(merge(section, self.dataset(dataset).training), self.method(method).training)
        return Training.model_validate(section, strict=True).model_dump(exclude_none=True)


def _skipped(cell: Cell, skips: list[Skip]) -> str | None:
    for skip in skips:
        limits = ((skip.datasets, cell.dataset), (skip.methods, cell.method), (skip.ratios, cell.ratio))
        if all(allowed is None or value in allowed for allowed, value in (*limits, (skip.schedules, cell.schedule))):
            return skip.reason
    return None
