"""The numbers behind the table of readings, the specification curve and the log of deviations.

One ``Contrast`` is one method on one dataset, beside the method that it varies and beside the active baseline that
makes the same choices. Differences are paired by seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from vecaf.errors import ConfigError
from vecaf.reporting import statistics
from vecaf.reporting.layout import KEYS, PLACE
from vecaf.reporting.metrics import SELECTION
from vecaf.reporting.statistics import Difference

_MANY = 4  # more changes than a line can name


@dataclass(frozen=True)
class Contrast:
    """What one reading does; accuracies are fractions.

    spec: as ``vecaf.readings.contrasts`` says it. values: seed → accuracy (recall of the target class by argmax where
    one class stands against all others). planned, stale: cells, and those run under another configuration. from_base:
    minus the method that it varies, None for that one itself. from_reference: minus ActiveFT under the same choices.
    selection: ``metrics.SELECTION`` → mean over seeds. gaps: seed → ``metrics.recall_gap`` of the latest selection and
    of the one before. shared_with_base: Jaccard index of the ids with those of the base at the same seed and loop, mean
    over the loops after the first and the seeds; between_seeds: of the ids of two seeds, mean over pairs and the same
    loops.
    """

    spec: Mapping[str, Any]
    values: Mapping[int, float]
    planned: int
    stale: int
    from_base: Difference | None
    from_reference: Difference | None
    selection: Mapping[str, float | None]
    gaps: tuple[Mapping[int, float], Mapping[int, float]]
    shared_with_base: float | None
    between_seeds: float | None

    @property
    def metric(self) -> str:
        return _metric(self.spec)

    @property
    def place(self) -> tuple[str, ...]:
        """Where it is: its values of ``layout.PLACE``."""
        return tuple(self.spec[key] for key in PLACE)

    @property
    def accuracy(self) -> str:
        """Mean ± standard error in percent, or why there is none."""
        return percent(self.values.values()) if self.values or not self.stale else "stale"

    @property
    def is_base(self) -> bool:
        return [self.spec["dataset"], self.spec["method"]] == list(self.spec["base"])

    @property
    def label(self) -> str:
        """The reading in words: ``ods.diversity = 1``, or the method's title where it varies nothing, or very much."""
        if len(self.spec["changes"]) > _MANY:
            return self.spec["title"]
        said = [f"{key} = {value_text(value)}" for key, (_, value) in self.spec["changes"].items()]
        return ", ".join(said) or self.spec["title"]

    @property
    def whose(self) -> str:
        """Whose choice it is, with a colon, where that is not VeCAF's: a label alone would stand for several."""
        method = self.spec["base"][1]
        return "" if self.is_base or method == self.spec["root"] == "vecaf" else f"{method}: "


def build(rows: pd.DataFrame, layout: Mapping[str, Any], ids: pd.DataFrame | None = None) -> list[Contrast]:
    """Return the contrasts of an exhibit in its order.

    rows: tidy rows of ``metrics.table_row``. layout: with ``contrasts``. ids: columns ids_hash and id, of every
    selection; without them no overlap is known. Raises ConfigError for a layout without contrasts.
    """
    if "contrasts" not in layout:
        raise ConfigError("the layout lacks contrasts; write the exhibit's layout again")
    groups = {key: group for key, group in rows.groupby(list(KEYS), sort=False)}
    chosen = _chosen(rows, ids)
    return [_contrast(spec, layout["contrasts"], groups, chosen) for spec in layout["contrasts"]]


def _contrast(
    spec: Mapping[str, Any], specs: Sequence[Mapping[str, Any]], groups: Mapping[tuple, pd.DataFrame], chosen: Mapping
) -> Contrast:
    group, metric = groups[_key(spec)], _metric(spec)
    done = group[group["status"] == "measured"]
    values = _by_seed(group, metric)
    base = _base_of(spec, specs)
    itself = base is spec
    gaps = (_by_seed(group, "recall_gap_latest"), _by_seed(group, "recall_gap_before"))
    reference = None
    if spec["reference"] is not None:
        reference = groups[_key({**spec, "method": spec["reference"]})]
    return Contrast(
        spec=spec,
        values=values,
        planned=len(group),
        stale=int((group["status"] == "stale").sum()),
        from_base=None if itself else statistics.paired_difference(values, _by_seed(groups[_key(base)], metric)),
        from_reference=None if reference is None else statistics.paired_difference(values, _by_seed(reference, metric)),
        selection={name: _mean(done[name]) for name in SELECTION},
        gaps=tuple(found if found.keys() == values.keys() else {} for found in gaps),
        shared_with_base=None if itself else _shared(chosen, _key(spec), _key(base)),
        between_seeds=_between(chosen, _key(spec)),
    )


def against(first: Contrast, other: Contrast) -> Difference:
    """Return the paired difference of two contrasts' accuracies."""
    return statistics.paired_difference(first.values, other.values)


def _base_of(spec: Mapping[str, Any], specs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    dataset, method = spec["base"]
    if [spec["dataset"], spec["method"]] == [dataset, method]:
        return spec
    fitting = [other for other in specs if [other["dataset"], other["method"]] == [dataset, method]]
    same = [other for other in fitting if all(other[key] == spec[key] for key in ("ratio", "schedule", "backbone"))]
    return (same or fitting)[0]


def _key(spec: Mapping[str, Any]) -> tuple:
    return tuple(spec[key] for key in KEYS)


def _metric(spec: Mapping[str, Any]) -> str:
    return "top1" if spec["target"] is None else "recall_argmax"


def _by_seed(group: pd.DataFrame, metric: str) -> dict[int, float]:
    done = group[(group["status"] == "measured") & group[metric].notna()]
    return {int(seed): float(value) for seed, value in zip(done["seed"], done[metric], strict=True)}


def _mean(values: pd.Series) -> float | None:
    return None if values.isna().any() else statistics.mean(float(value) for value in values)


def _chosen(rows: pd.DataFrame, ids: pd.DataFrame | None) -> dict[tuple, dict[tuple[int, int], frozenset[int]]]:
    """Return cell key → (seed, loop) → ids, of the loops after the first, or of the only one."""
    found: dict[tuple, dict[tuple[int, int], frozenset[int]]] = {}
    if ids is None:
        return found
    sets = {name: frozenset(group) for name, group in ids.groupby("ids_hash")["id"]}
    done = rows[rows["status"] == "measured"]
    for *key, seed, hashes in done[[*KEYS, "seed", "ids"]].itertuples(index=False):
        loops = list(enumerate(hashes.split(), start=1))
        for loop, name in loops[1:] or loops:
            if name in sets:
                found.setdefault(tuple(key), {})[int(seed), loop] = sets[name]
    return found


def _shared(chosen: Mapping, key: tuple, other: tuple) -> float | None:
    """Return the mean Jaccard index of two cells' ids; None across datasets, whose ids mean different images."""
    if key[0] != other[0]:
        return None
    both = chosen.get(key, {}).keys() & chosen.get(other, {}).keys()
    return statistics.mean(jaccard(chosen[key][at], chosen[other][at]) for at in both)


def _between(chosen: Mapping, key: tuple) -> float | None:
    sets = chosen.get(key, {})
    pairs = combinations(sorted(sets), 2)
    return statistics.mean(jaccard(sets[a], sets[b]) for a, b in pairs if a[0] != b[0] and a[1] == b[1])


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """Return |a ∩ b| / |a ∪ b|."""
    return len(a & b) / len(a | b)


def value_text(value: Any) -> str:
    """Return a reading's value as people write it."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True).replace('"', "")


def percent(values: Iterable[float]) -> str:
    """Return mean ± standard error of fractions in percent, ``n/a`` for the error of one."""
    values = [100 * value for value in values]
    if not values:
        return "not run"
    error = statistics.standard_error(values)
    return f"{statistics.mean(values):.2f} ± {'n/a' if error is None else f'{error:.2f}'}"


def gap(values: Iterable[float]) -> str:
    """Return the mean of fractions in points, with its sign, ± standard error: ``+25.7 ± 3.1``; a dash of nothing."""
    values = [100 * value for value in values]
    error = statistics.standard_error(values)
    return signed(statistics.mean(values), 1) + ("" if error is None else f" ± {error:.1f}") if values else "—"


def points(difference: Difference | None) -> str:
    """Return a difference of fractions in points with its interval: ``−1.20 (−3.10 to +0.70)``."""
    if difference is None or difference.estimate is None:
        return "—"
    text = signed(100 * difference.estimate)
    if difference.low is None:
        return text
    return f"{text} ({signed(100 * difference.low)} to {signed(100 * difference.high)})"


def signed(value: float | None, digits: int = 2) -> str:
    """Return a number with a typographic sign, a dash for None; what rounds to nothing has no sign."""
    if value is None:
        return "—"
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(text[1:]) == 0 else text


def fixed(value: float | None, digits: int = 2) -> str:
    """Return a number without a plus, a dash for None; what rounds to nothing has no sign."""
    return signed(value, digits).removeprefix("+")
