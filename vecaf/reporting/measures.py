"""Numbers that claims ask for and no table shows, from curves, costs and selections: a row for each cell and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vecaf.flops.cell import Counts, profiles_of
from vecaf.reporting import b2a, costs
from vecaf.reporting.curves import CELL
from vecaf.reporting.layout import KEYS

SHARES = ("finetune", "cea", "selection", costs.ALL)


def batches_to_accuracy(curves: pd.DataFrame, levels: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Return in columns ``batches_to_{level}`` after how many batches a cell reaches each level of its dataset.

    curves: ``curves.COLUMNS``. levels: dataset → accuracies in percent. NaN for a level that is never reached.
    """
    rows = []
    for key, seed, group in _cells(curves):
        at = {f"batches_to_{level:g}": _reach(group, seed, level) for level in levels[key["dataset"]]}
        rows.append(key | {"seed": seed} | at)
    return _table(rows)


def flops(
    curves: pd.DataFrame,
    spent: pd.DataFrame,
    levels: Mapping[str, Sequence[float]],
    models: Mapping[tuple[str, ...], Mapping[str, Any]],
    counts: Counts,
) -> pd.DataFrame:
    """Return what a cell has computed when it reaches the highest level of its dataset, and what its models cost.

    spent: ``costs.COLUMNS``. models: ``KEYS`` → backbone, and of its parameters what ``profiles_of`` reads. Columns:
    ``flops_g_{part}`` for ``SHARES``, G multiply-accumulates in full, NaN for a cell that does not reach the level or
    has a step that is not counted; backbone_macs and text_encoder_macs: of one image and one caption, NaN where no
    network reads captions.
    """
    rows = []
    for key, seed, group in _cells(curves):
        batches = _reach(group, seed, max(levels[key["dataset"]]))
        steps = costs.of(spent[spent["seed"] == seed], key)
        then = None if batches is None else costs.until(steps, _loops(group), batches)
        found = {part: costs.macs(then, part) for part in SHARES}
        profiles = profiles_of(key["backbone"], models[tuple(key.values())], counts)
        text = (profiles.encoder or {}).get("macs") or None
        rows.append(
            key
            | {"seed": seed}
            | {f"flops_g_{part}": None if macs is None else macs / 1e9 for part, macs in found.items()}
            | {"backbone_macs": profiles.backbone["macs"], "text_encoder_macs": text}
        )
    return _table(rows)


def probe_loss(curves: pd.DataFrame) -> pd.DataFrame:
    """Return in the column probe_loss the loss on the probe set, in nats, mean over all looks at a cell's model."""
    return _table(
        [key | {"seed": seed, "probe_loss": group["probe_loss"].mean()} for key, seed, group in _cells(curves)]
    )


def margins(samples: pd.DataFrame, cell: Mapping[str, str]) -> pd.DataFrame:
    """Return in the column margin the mean p₁ − p₂ of what each method selects on the same scores.

    samples: as of ``scripts/samples.py``. cell: ``KEYS`` of the cells that were scored, without the method.
    """
    rows = []
    for seed, pool in samples.groupby("seed", sort=False):
        for column in (name for name in pool if name.startswith("by_")):
            key = {**cell, "method": column.removeprefix("by_")}
            rows.append({**key, "seed": int(seed), "margin": float(pool.loc[pool[column], "margin"].mean())})
    return _table(rows)


def planted_domain(selected: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return in the column recall the share of the planted images of a pool that a first selection holds.

    selected: tables as of ``scripts/selected.py``; those of pools without planted images have no rows here.
    """
    rows = []
    for table in selected:
        if size := table.attrs["planted_size"]:
            found = table.assign(dataset=table.attrs["dataset"]).groupby([*KEYS, "seed"], sort=False)["planted"].sum()
            rows += [
                dict(zip((*KEYS, "seed"), key, strict=True)) | {"recall": int(count) / size}
                for key, count in found.items()
            ]
    return _table(rows)


def _cells(curves: pd.DataFrame) -> Iterator[tuple[dict[str, str], int, pd.DataFrame]]:
    for cell, rows in curves.groupby(list(CELL), sort=False):
        yield dict(zip(KEYS, cell[:-1], strict=True)), int(cell[-1]), rows


def _reach(rows: pd.DataFrame, seed: int, level: float) -> float | None:
    return b2a.reached(rows, level / 100).batches[seed]


def _loops(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the first and last+1 batch of each loop of a cell."""
    ends = [int(batch) for batch in rows.groupby("loop", sort=True)["batch"].max()]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=None if rows else list(CELL))
    numbers = [name for name in table.columns if name not in CELL]
    return table.astype(dict.fromkeys(numbers, "float64"))
