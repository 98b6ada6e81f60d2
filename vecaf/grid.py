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
from vecaf.config.merging import merge
from vecaf.config.schema import BackboneSpec, Block, Config, Dataset, Method, Skip, Training, Turn
from vecaf.ratio import times

NO_PROMPT = "none"
# Inputs of a selection that scoring the pool makes.
SCORES = frozenset({"embeddings", "losses", "logits", "head", "predicted_losses"})
EMBEDDED = frozenset({"embeddings", "logits"})  # those that are embeddings, or made of them


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
                            for seed in block.seeds or self.config.datasets[dataset].seeds:
                                yield Cell(dataset, backbone, method, ratio, schedule, seed)

    def cells(self, *exhibits: str) -> list[Cell]:
        """Return the cells to be run for these exhibits (all, if none is named), each once however many show it."""
        wanted = [name for name in exhibits or self.exhibits() if not self.config.exhibits[name].selections_only]
        return self.involved(*wanted) if wanted else []

    def involved(self, *exhibits: str) -> list[Cell]:
        """Return these cells, and those of which an exhibit shows no more than a selection."""
        shown = (self.shown(exhibit) for exhibit in exhibits or self.exhibits())
        return list(dict.fromkeys(cell for cells in shown for cell, reason in cells.items() if reason is None))

    def scored_after(self, exhibit: str) -> list[Cell]:
        """Return the cells, one a seed, on whose pool after loop 1 the exhibit's methods select (``weights_of``)."""
        return [cell for cell in self.shown(exhibit) if cell.method == self.config.exhibits[exhibit].weights_of]

    def methods_of(self, exhibit: str) -> list[str]:
        return list(dict.fromkeys(cell.method for cell in self.shown(exhibit)))

    # --- the parts of a cell -----------------------------------------------------------------------------------

    def dataset(self, name: str) -> Dataset:
        return self.config.datasets[name]

    def origin(self, name: str) -> str:
        """Return the dataset that a variant goes back to: seeds hash it, so that variants are paired.

        A variant extends a dataset and reads the same images; what only borrows settings is a dataset of its own.
        """

        def images(dataset: str) -> tuple:
            return self.dataset(dataset).source, self.dataset(dataset).root

        while (base := self.dataset(name).extends) is not None and images(base) == images(name):
            name = base
        return name

    def captioned(self, name: str) -> str:
        """Return the dataset whose captions a dataset reads: its origin's, if that has the same pool of images."""

        def pool(dataset: str) -> tuple:
            spec = self.dataset(dataset)
            return spec.source, spec.root, spec.split_rule, spec.judged_on, spec.planted

        origin = self.origin(name)
        return origin if pool(origin) == pool(name) else name

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

    def training_seed(self, cell: Cell) -> int:
        """Return the seed under which a cell is finetuned: its own, unless its method fixes one."""
        fixed = self.method(cell.method).training_seed
        return cell.seed if fixed is None else fixed

    def styler(self, method: str) -> str | None:
        """Return the styler whose images a method is finetuned on, None for those that see the pool's own."""
        spec = self.method(method)
        return None if spec.stylize is None else spec.stylize.styler

    @cache  # noqa: B019
    def turns(self, method: str, schedule: str) -> list[Turn]:
        """Return the loops of a schedule as this method runs them."""
        return self.method(method).schedules.get(schedule) or self.config.schedules[schedule]

    def loops(self, method: str, schedule: str) -> int:
        return len(self.turns(method, schedule))

    def budget(self, dataset: str, method: str) -> int:
        """Return the finetuning batches of a cell, over all its loops."""
        return self.dataset(dataset).batches * self.method(method).budget

    def ratio(self, cell: Cell, loop: int) -> str:
        """Return the ratio that one loop of a cell selects: the cell's, or a multiple of it."""
        return times(cell.ratio, self.turns(cell.method, cell.schedule)[loop - 1].times)

    @cache  # noqa: B019
    def batches(self, dataset: str, method: str, schedule: str) -> list[tuple[int, int]]:
        """Return (first, last+1) batch of each loop: the budget in exact shares, 12500/3 → 4167, 4167, 4166."""
        total, spent, edges = self.budget(dataset, method), Fraction(0), [0]
        for turn in self.turns(method, schedule):
            spent += Fraction(turn.share)
            edges.append(math.ceil(spent * total))
        return list(pairwise(edges))

    def selector(self, method: str, schedule: str, loop: int) -> str:
        """Return the name of the selector that acts in one loop."""
        named = self.turns(method, schedule)[loop - 1].selector
        return self.method(method).selector if named == "method" else named

    @cache  # noqa: B019
    def selector_params(self, method: str, name: str | None = None, dataset: str | None = None) -> dict[str, Any]:
        """Return the complete parameters of a selector (by default the method's own) as a method sets them.

        What the method leaves open is the dataset's, where one is named and sets it, else the selector's default.
        """
        name = name or self.method(method).selector
        given = self.dataset(dataset).selectors.get(name, {}) if dataset is not None else {}
        if (own := getattr(self.method(method), name, None)) is not None:
            given = merge(given, own.model_dump(exclude_unset=True))
        return selection.get(name).Params.model_validate(given, strict=True).model_dump()

    def needs(self, method: str, schedule: str, loop: int) -> frozenset[str]:
        return selection.get(self.selector(method, schedule, loop)).needs

    def scored(self, method: str, schedule: str, loop: int) -> bool:
        """Say whether the pool is scored with the weights of the loop before (in loop 1: by the pretrained ones)."""
        return bool(self.needs(method, schedule, loop) & SCORES) or self.augments_training(method)

    def can_start(self, method: str, schedule: str) -> bool:
        """Say whether the first selector of a schedule can choose before anything is trained."""
        return selection.get(self.selector(method, schedule, 1)).cold_start

    def loss_head(self, method: str, dataset: str | None = None) -> dict[str, Any] | None:
        """Return how finetuning trains a loss-prediction head along, None for methods whose selector reads none."""
        return self.selector_params(method, dataset=dataset).get("loss_head")

    def head(self, dataset: str, method: str, schedule: str) -> str:
        """Return which head a cell starts from: the one whose losses its first selection reads."""
        if (named := self.method(method).head) is not None:
            return named
        params = self.selector_params(method, self.selector(method, schedule, 1), dataset)
        return "class_mean" if params.get("first_loop") == "class_mean" else "random"

    def objective(self, method: str) -> str:
        """Return the name of a method's objective, as it stands in paths."""
        objective = self.method(method).objective
        return objective if isinstance(objective, str) else f"{objective.one_vs_all}_{objective.form}"

    def objective_params(self, method: str) -> Any:
        """Return the objective that losses are scored by."""
        objective = self.method(method).objective
        return objective if isinstance(objective, str) else objective.model_dump(exclude={"in_finetune"})

    def trained_objective(self, method: str) -> Any:
        """Return the objective that finetuning minimises: the scored one, unless that is for selection alone."""
        objective = self.method(method).objective
        return self.objective_params(method) if isinstance(objective, str) or objective.in_finetune else "multiclass"

    def augments_pool(self, method: str, loop: int) -> bool:
        """Say whether CEA shifts the whole pool before the selection of this loop."""
        readings = self.method(method).cea
        return readings is not None and augmentation.applies_to_pool(readings, loop, self.method(method).prompt)

    def selects_augmented(self, method: str, schedule: str, loop: int) -> bool:
        """Say whether the selection of this loop reads the pool as CEA shifted it."""
        return self.augments_pool(method, loop) and bool(self.needs(method, schedule, loop) & EMBEDDED)

    def augments_training(self, method: str) -> bool:
        readings = self.method(method).cea
        return readings is not None and readings.in_finetune

    @cache  # noqa: B019
    def training(self, dataset: str, method: str | None = None) -> dict[str, Any]:
        """Return the training section of one cell: the study's, then the dataset's, then the method's changes."""
        changes = self.method(method).training if method else {}
        section = self.config.training.model_dump(exclude_unset=True)
        section = merge(merge(section, self.dataset(dataset).training), changes)
        return Training.model_validate(section, strict=True).model_dump(exclude_none=True)


def _skipped(cell: Cell, skips: list[Skip]) -> str | None:
    for skip in skips:
        limits = ((skip.datasets, cell.dataset), (skip.methods, cell.method), (skip.ratios, cell.ratio))
        if all(allowed is None or value in allowed for allowed, value in (*limits, (skip.schedules, cell.schedule))):
            return skip.reason
    return None
