"""Training curves of many cells in one table, and lines over seeds made of it.

The table has a row for every number of batches done by a cell: the loss of the last of them, what all of them have cost
together with the selections before them and, where the model was looked at, accuracy and the loss on the probe set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vecaf.errors import ArtifactError
from vecaf.flops.cell import ONCE
from vecaf.reporting.costs import PARTS
from vecaf.reporting.layout import KEYS, ratio_title, schedule_title

CELL = (*KEYS, "seed")
COLUMNS = (*CELL, "loop", "batch", "loss", "top1", "probe_loss", "macs", "seconds", "shared", "uncounted")


def join(batches: pd.DataFrame, curve: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one cell: ``COLUMNS`` without those of the cell.

    batches: columns batch (from 0), loop, loss (nats), of every batch of all loops. curve: columns batch (batches
    done), top1 (fraction), probe_loss (nats). costs: of the cell, see ``spent``. Columns of the result: batch counts
    the batches done, and its first row is before any; loss: of the last one; the others: see ``spent``. Raises
    ArtifactError when the curve has an evaluation at a batch that the log lacks.
    """
    done = batches[["loop", "batch", "loss"]].assign(batch=batches["batch"] + 1)
    done = pd.concat([pd.DataFrame({"loop": [1], "batch": [0], "loss": [np.nan]}), done], ignore_index=True)
    if stray := sorted(set(curve["batch"]) - set(done["batch"])):
        raise ArtifactError(f"the curve has an evaluation at batch {stray[0]}, which the log of batches lacks")
    joined = done.merge(curve[["batch", "top1", "probe_loss"]], on="batch", how="left", validate="one_to_one")
    return joined.assign(**spent(joined["loop"].to_numpy(), joined["batch"].to_numpy(), costs))


def spent(loop: np.ndarray, batch: np.ndarray, costs: pd.DataFrame) -> dict[str, Any]:
    """Return what a cell has cost after each number of batches: macs and seconds, (B,) float64, shared and uncounted.

    loop, batch: (B,), increasing; the loop that a row's last batch belongs to. costs: columns loop, step, seconds, macs
    of ``costs.COLUMNS``, as table 4 has them. A loop's scoring, augmentation and selection are paid before its first
    batch, its finetuning in equal parts by batch. What is no part of a method (pretraining, looking at the model) is
    left out. shared: the multiply-accumulates of what is done once for a pool (captions, their embeddings), which are
    not in macs; NaN if not counted. uncounted: the steps of loops, a text, whose multiply-accumulates nobody can count;
    they add none, as steps that nobody timed add no seconds.
    """
    costs = costs[costs["step"].isin({step for steps in PARTS.values() for step in steps})]
    once, loops = costs[costs["loop"] == ONCE], costs[costs["loop"] != ONCE]
    uncounted = " ".join(sorted(set(loops.loc[loops["macs"].isna(), "step"])))
    found: dict[str, Any] = {name: np.zeros(len(batch)) for name in ("macs", "seconds")}
    before = 0
    for number in np.unique(loop):
        last = int(batch[loop == number].max())
        share = np.clip((batch - before) / (last - before), 0, 1)
        begun = loop >= number
        for cost in loops[loops["loop"] == number].itertuples():
            part = share if cost.step == "finetune" else begun
            for name in ("macs", "seconds"):
                found[name] += part * np.nan_to_num(getattr(cost, name))
        before = last
    return found | {"shared": float(once["macs"].sum(skipna=False)), "uncounted": uncounted}


@dataclass(frozen=True)
class Line:
    """One method's values over its seeds. key: of its cells (``KEYS``); values: x → a column for each seed."""

    key: tuple[str, ...]
    title: str
    values: pd.DataFrame

    @property
    def method(self) -> str:
        return self.key[KEYS.index("method")]

    @property
    def place(self) -> tuple[str, str]:
        return self.key[KEYS.index("dataset")], self.key[KEYS.index("backbone")]

    @property
    def seeds(self) -> list[int]:
        return [int(seed) for seed in self.values.columns]

    @property
    def label(self) -> str:
        return f"{self.title} (n = {len(self.seeds)})"

    @property
    def x(self) -> np.ndarray:
        return self.values.index.to_numpy()

    @property
    def mean(self) -> np.ndarray:
        return self.values.mean(axis=1).to_numpy()

    @property
    def low(self) -> np.ndarray:
        return self.values.min(axis=1).to_numpy()

    @property
    def high(self) -> np.ndarray:
        return self.values.max(axis=1).to_numpy()

    def records(self, what: str) -> Iterator[dict[str, Any]]:
        """Yield a record for every point; what: the quantity's name."""
        for x, mean, low, high in zip(self.x, self.mean, self.low, self.high, strict=True):
            yield {
                **dict(zip(KEYS, self.key, strict=True)),
                "quantity": what,
                "batch": float(x),
                "mean": float(mean),
                "low": float(low),
                "high": float(high),
                "n": len(self.seeds),
                "seeds": " ".join(map(str, self.seeds)),
            }


def lines(curves: pd.DataFrame, value: str, layout: Mapping[str, Any], blocks: int | None = None) -> list[Line]:
    """Return a line for each method and place, in the layout's order, over the batches that all its seeds have.

    curves: ``COLUMNS``. value: the column drawn; rows without it are left out. blocks: average the values over this
    many stretches of equal length of the budget instead, each at its middle.
    """
    found = []
    names = titles(curves, layout)
    for key, group in in_order(curves, layout):
        group = group.dropna(subset=[value])
        if blocks is not None:
            length = block_length(int(group["batch"].max()), blocks)
            group = group.assign(batch=(group["batch"] - 1) // length * length + (length + 1) / 2)
        table = group.pivot_table(index="batch", columns="seed", values=value, aggfunc="mean")
        found.append(Line(key, names[key], table.dropna()))
    return [line for line in found if len(line.values)]


def block_length(batches: int, blocks: int) -> int:
    """Return how many batches are averaged when a budget is cut into about ``blocks`` parts; at least one."""
    return max(1, round(batches / blocks))


def in_order(table: pd.DataFrame, layout: Mapping[str, Any]) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Return (key, rows) of each group of cells that differ in their seed alone, by dataset, then as methods stand."""
    rows = [(row["method"], row["schedule"]) for row in layout["rows"]]
    datasets = list(dict.fromkeys(column["dataset"] for column in layout["columns"]))
    ratios = [column["ratio"] for column in layout["columns"]]

    def rank(item: tuple[tuple[str, ...], Any]) -> tuple[int, ...]:
        dataset, _, method, ratio, schedule = item[0]
        return (
            datasets.index(dataset),
            rows.index((method, schedule)),
            ratios.index(ratio) if ratio in ratios else len(ratios),
        )

    return sorted(table.groupby(list(KEYS), sort=False), key=rank)


def titles(table: pd.DataFrame, layout: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    """Return key → what its cells are called: the method, with ratio and schedule where it has several in a place."""
    keys = list(dict.fromkeys(table[list(KEYS)].itertuples(index=False, name=None)))
    named = {}
    for key in keys:
        alike = [other for other in keys if other[:3] == key[:3]]  # the same dataset, backbone and method
        _, _, method, ratio, schedule = key
        parts = [layout["names"][method]]
        parts += [ratio_title(ratio)] if len({other[3] for other in alike}) > 1 else []
        parts += [schedule_title(schedule)] if len({other[4] for other in alike}) > 1 else []
        named[key] = ", ".join(parts)
    return named


def bases(layout: Mapping[str, Any]) -> dict[str, str]:
    """Return method → the one that it varies."""
    return {method: said["of"] for method, said in layout["variants"].items()}


def dataset_title(dataset: str, layout: Mapping[str, Any]) -> str:
    return next(column["dataset_title"] for column in layout["columns"] if column["dataset"] == dataset)


def place_title(place: tuple[str, str], layout: Mapping[str, Any], with_ratio: bool = True) -> str:
    """Return what a dataset and backbone are called, with the ratio where it is one, and the backbone where several."""
    ratios = dict.fromkeys(c["ratio"] for c in layout["columns"] if (c["dataset"], c["backbone"]) == place)
    parts = [dataset_title(place[0], layout), *(map(ratio_title, ratios) if with_ratio and len(ratios) == 1 else ())]
    return ", ".join(parts + [layout["backbones"][place[1]]["title"]] * (len(layout["backbones"]) > 1))


def loop_starts(curves: pd.DataFrame) -> list[int]:
    """Return after which batches the loops after the first begin, of all these cells that have several."""
    ends = curves.groupby([*CELL, "loop"], sort=False)["batch"].max().reset_index()
    last = ends.groupby(list(CELL), sort=False)["batch"].transform("max")
    return sorted({int(batch) for batch in ends["batch"][ends["batch"] < last]})


def check(curves: pd.DataFrame, exhibit: str) -> None:
    """Refuse curves without a cell: raises ArtifactError saying what to do."""
    if curves.empty:
        raise ArtifactError(f"{exhibit} shows no measured cell; run it with `snakemake {exhibit}`")


# --- what captions say --------------------------------------------------------------------------------------------


def cells_in_words(table: pd.DataFrame) -> str:
    """Return the cells of a table in short: ``digits/vit_digits/{activeft,vecaf}/5pct/3loops/seed{0,1}; …``."""
    groups: dict[tuple, list[str]] = {}
    for (dataset, backbone, method, ratio, schedule), group in table.groupby(list(KEYS), sort=False):
        seeds = tuple(sorted({int(seed) for seed in group["seed"]}))
        groups.setdefault((dataset, backbone, ratio, schedule, seeds), []).append(method)
    merged: dict[tuple, list[str]] = {}
    for (dataset, backbone, ratio, schedule, seeds), methods in groups.items():
        merged.setdefault((dataset, backbone, tuple(methods), schedule, seeds), []).append(ratio)
    return "; ".join(
        f"{dataset}/{backbone}/{_one_of(methods)}/{_one_of(ratios)}/{schedule}/seed{_one_of(seeds)}"
        for (dataset, backbone, methods, schedule, seeds), ratios in merged.items()
    )


def _one_of(values: Sequence[Any]) -> str:
    return str(values[0]) if len(values) == 1 else "{" + ",".join(map(str, values)) + "}"


def left_out(rows: pd.DataFrame) -> str:
    """Return which cells are not drawn as a sentence, nothing if all are; rows: of ``metrics.table_row``."""
    absent = rows[~rows["status"].isin(["measured", "not reported"])]
    said = [f"{len(group)} {status}" for status, group in absent.groupby("status")]
    return f"Cells left out: {', '.join(said)} ({cells_in_words(absent)})." if said else ""


def published(rows: pd.DataFrame) -> str:
    """Return how many cells are drawn from the published bundle as a sentence, nothing if none is."""
    measured = rows[rows["status"] == "measured"]
    count = int((measured["origin"] == "published").sum())
    return f"From the published bundle: {count} of {len(measured)} cells." if count else ""


def remarks(layout: Mapping[str, Any]) -> str:
    """Return the full titles of methods that figures call by a shorter name as a sentence, nothing without any."""
    said = [title for method, title in layout["methods"].items() if title != layout["names"][method]]
    return f"In full: {'; '.join(said)}." if said else ""


# Steps of loops as captions call them.
_STEPS = {"score": "scoring", "augment": "augmentation", "select": "selection", "finetune": "finetuning"}


def costs_in_words(curves: pd.DataFrame, layout: Mapping[str, Any]) -> str:
    """Return what total multiply-accumulates count, of which methods they lack something, and what stands apart."""
    said = [
        "Total cost: multiply-accumulates as table 4 counts them, of every loop's scoring of the pool, augmentation, "
        "selection and finetuning (a step as three forward passes)."
    ]
    methods: dict[str, dict[str, None]] = {}
    for method, steps in curves[["method", "uncounted"]].drop_duplicates().itertuples(index=False):
        for step in steps.split():
            methods.setdefault(step, {})[layout["names"][method]] = None
    if absent := [f"{_STEPS[step]} of {', '.join(methods[step])}" for step in _STEPS if step in methods]:
        said.append(f"Not counted, and therefore left out: {'; '.join(absent)}.")
    shared = curves.groupby("dataset", sort=False)["shared"].agg(lambda values: values.max(skipna=False))
    amounts = [
        f"{'an unknown number' if np.isnan(macs) else f'{macs / 1e12:,.3f} T'.replace('.000', '')} for "
        f"{dataset_title(dataset, layout)}"
        for dataset, macs in shared.items()
        if macs != 0
    ]
    if amounts:
        said.append(
            "Captions and their embeddings are made once for a pool, whoever reads them, and are not in it; methods "
            f"that do would pay {', '.join(amounts)} more if they had to make them alone."
        )
    return " ".join(said)


def looks_in_words(layout: Mapping[str, Any], datasets: Iterable[str]) -> str:
    """Return how the curve of each dataset was taken."""
    said = []
    for name in datasets:
        told = layout["curves"][name]
        said.append(
            f"{dataset_title(name, layout)} {told['test_images']:,} images, {told['points']} evaluations a budget"
        )
    return f"Curves are of a fixed part of the test set ({'; '.join(said)})."
