"""The entries of a table: measured cells averaged over seeds, joined with the paper's numbers and judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from vecaf.errors import ArtifactError
from vecaf.reporting import paper, statistics
from vecaf.reporting.layout import KEYS, Layout, seed_path

# Of every table, beside its numbers.
COLUMNS = (*KEYS, "seed", "status", "reason", "origin", "digest", "published_top1")
# A cell without any measured seed has the first of these that one of its seeds has.
UNMEASURED = ("stale", "not run", "not reported")
STATUSES = ("measured", *UNMEASURED)
NOT_PLANNED = "not planned"  # the study has no such cell at all


@dataclass(frozen=True)
class Entry:
    """What stands in one row and one or more columns; accuracies and their errors in percent.

    columns: the positions it spans. planned: seeds of the study, measured or not. beside: further means by the names
    of ``Layout.beside``, None where a measured seed lacks the number. sides: see ``statistics.verdict``.
    """

    row: int
    columns: tuple[int, ...]
    key: Mapping[str, str]
    status: str
    reasons: tuple[str, ...] = ()
    planned: int = 0
    seeds: tuple[int, ...] = ()
    mean: float | None = None
    se: float | None = None
    sd: float | None = None
    beside: Mapping[str, float | None] = field(default_factory=dict)
    origins: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    printed: paper.Printed | None = None
    comparison: statistics.Comparison | None = None
    verdict: str = statistics.NOT_COMPARABLE
    best: tuple[int, ...] = ()  # the columns in which it is best

    @property
    def n(self) -> int:
        return len(self.seeds)

    def text(self) -> str:
        """Return what a reader sees: the mean ± its error, or in words why there is none."""
        if self.mean is None:
            return "·" if self.status == NOT_PLANNED else self.status
        error = "n/a" if self.se is None else f"{self.se:.2f}"
        missing = f" ({self.n} of {self.planned})" if self.n < self.planned else ""
        return f"{self.mean:.2f} ± {error}{missing}{'†' if 'published' in self.origins else ''}"


def checked(rows: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return the tidy rows in the order of their keys and seeds.

    Raises ArtifactError naming the cell for a missing column, an unknown status, a measured cell whose number is not
    in [0, 1] (percent would be averaged unseen) or one that stands there twice.
    """
    beside = [name for name in layout.beside if "{" not in name]
    values = dict.fromkeys([layout.value, *(layout.shown(column) for column in range(len(layout.columns)))])
    absent = [column for column in (*COLUMNS, *values, *beside) if column not in rows.columns]
    if absent:
        raise ArtifactError(f"the rows of the table lack {', '.join(absent)}; collect the exhibit's metrics again")
    rows = rows.sort_values([*KEYS, "seed"], kind="stable").reset_index(drop=True)
    for row in rows.itertuples(index=False):
        cell = seed_path(row._asdict())
        if row.status not in STATUSES:
            raise ArtifactError(f"{cell}: status {row.status!r} is none of {', '.join(STATUSES)}")
        for name in values:
            value = getattr(row, name)
            missing = pd.isna(value) and name == layout.value
            if row.status == "measured" and (missing or not (pd.isna(value) or 0 <= value <= 1)):
                raise ArtifactError(
                    f"{cell} is measured, but its {name} is {value}; it must be a fraction from 0 to 1. "
                    "Evaluate the cell again"
                )
    if (twice := rows.duplicated([*KEYS, "seed"])).any():
        cell = seed_path(rows.loc[twice.idxmax()])
        raise ArtifactError(f"{cell} stands in the rows of the table more than once; a cell has one result")
    return rows


def entries(rows: pd.DataFrame, layout: Layout) -> list[Entry]:
    """Return the entries of a table, row by row, joined, judged and marked.

    rows: columns ``COLUMNS``, the layout's value and what stands beside it, one row a cell and seed, numbers as
    fractions. Neighbouring columns in which a row has one and the same cell are one entry. Raises ArtifactError as
    ``checked`` does, when a place of the table fits cells of two keys, and when a cell fits no place: nothing is
    dropped unseen.
    """
    groups = {tuple(key): group for key, group in checked(rows, layout).groupby(list(KEYS), sort=True, dropna=False)}
    found: list[Entry] = []
    for number, row in enumerate(layout.rows):
        for position, column in enumerate(layout.columns):
            wanted = layout.key(row, column)
            before = found[-1] if found and found[-1].row == number else None
            same = before and layout.shown(before.columns[-1]) == layout.shown(position)
            if same and wanted.items() <= before.key.items() and before.columns[-1] == position - 1:
                found[-1] = replace(before, columns=(*before.columns, position))
                continue
            found.append(_measured(number, position, wanted, groups, layout))
    placed = {tuple(entry.key.values()) for entry in found if entry.planned}
    if homeless := ["/".join(key) for key in groups if key not in placed]:
        raise ArtifactError(
            f"{len(homeless)} cells have no place in the table, the first is {homeless[0]}; name their "
            "method, schedule, dataset and ratio in its layout"
        )
    found = [_compared(entry, layout) for entry in found]
    return _marked([replace(entry, verdict=_verdict(entry, found, layout)) for entry in found], layout)


def _measured(
    row: int, position: int, wanted: Mapping[str, str], groups: Mapping[tuple, pd.DataFrame], layout: Layout
) -> Entry:
    fitting = [key for key in groups if wanted.items() <= dict(zip(KEYS, key, strict=True)).items()]
    if not fitting:
        return Entry(row, (position,), wanted, NOT_PLANNED)
    if len(fitting) > 1:
        cells = ", ".join("/".join(key) for key in fitting)
        raise ArtifactError(f"one place of the table fits several cells: {cells}; make its layout name more of the key")
    group = groups[fitting[0]]
    shown = layout.shown(position)
    done = group[(group["status"] == "measured") & group[shown].notna()]
    values = [100 * float(value) for value in done[shown]]
    return Entry(
        row=row,
        columns=(position,),
        key=dict(zip(KEYS, fitting[0], strict=True)),
        status=_status(group, values),
        reasons=_distinct(group[group["status"] != "measured"]["reason"]),
        planned=len(group),
        seeds=tuple(int(seed) for seed in done["seed"]),
        mean=statistics.mean(values),
        se=statistics.standard_error(values),
        sd=statistics.standard_deviation(values),
        beside={name: _mean_of_all(done, name.format(value=shown)) for name in layout.beside},
        origins=_distinct(done["origin"]),
        digests=_distinct(done["digest"]),
    )


def _status(group: pd.DataFrame, values: list[float]) -> str:
    """Return the status of a place; cells that were measured, but not for what this column shows, have not run."""
    present = [status for status in UNMEASURED if (group["status"] == status).any()]
    return "measured" if values else (present or ["not run"])[0]


def _mean_of_all(rows: pd.DataFrame, name: str) -> float | None:
    """Return the mean in percent; None where a seed lacks the number, since a mean of the others compares with none."""
    if name not in rows.columns or rows[name].isna().any():
        return None
    return statistics.mean(100 * float(value) for value in rows[name])


def _distinct(values: pd.Series) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values if not pd.isna(value) and value != ""))


def _compared(entry: Entry, layout: Layout) -> Entry:
    """Join the paper's number; only whole keys are looked up, since a part of one could fit a foreign number."""
    key = _printed_key(entry, layout)
    if not {"dataset", "backbone", "method"} <= key.keys():
        return entry
    printed = paper.printed_value(exhibit=layout.exhibit, **key)
    if printed is None or entry.mean is None:
        return replace(entry, printed=printed)
    comparison = statistics.compare_with_paper(entry.mean, entry.se, printed.value, printed.stderr)
    return replace(entry, printed=printed, comparison=comparison)


def _printed_key(entry: Entry, layout: Layout) -> dict[str, Any]:
    return layout.printed_key(entry.row, entry.columns[0], entry.key)


def _contests(entry: Entry, layout: Layout) -> tuple[int, ...]:
    """Return the contests that an entry takes part in: its columns, or its row."""
    return entry.columns if layout.contest == "column" else (entry.row,)


def _verdict(entry: Entry, found: list[Entry], layout: Layout) -> str:
    sides = []
    for contest in _contests(entry, layout):
        other = _opponent(entry, [rival for rival in found if contest in _contests(rival, layout)], layout)
        if other is not None and other.mean is not None and entry.comparison is not None:
            sides.append((entry.mean - other.mean, entry.printed.value - other.printed.value))
    return statistics.verdict(entry.comparison, sides)


def _opponent(entry: Entry, rivals: list[Entry], layout: Layout) -> Entry | None:
    """Return the reference among the rivals; for the reference itself, the best printed active baseline."""
    printed = [rival for rival in rivals if rival.printed is not None and rival is not entry]
    if not layout.is_reference(_printed_key(entry, layout)):
        return next((rival for rival in printed if layout.is_reference(_printed_key(rival, layout))), None)
    active = [rival for rival in printed if rival.key["method"] not in layout.outside_competition]
    return max(active, key=lambda rival: rival.printed.value, default=None)


def _marked(found: list[Entry], layout: Layout) -> list[Entry]:
    """Mark the best of each contest by the mean as printed: equal print is a tie, and one value alone is no contest."""
    best: dict[int, set[int]] = {}
    for contest in range(len(layout.columns if layout.contest == "column" else layout.rows)):
        rivals = [
            (number, round(entry.mean, 2))
            for number, entry in enumerate(found)
            if contest in _contests(entry, layout)
            and entry.mean is not None
            and entry.key["method"] not in layout.outside_competition
        ]
        top = max((value for _, value in rivals), default=-math.inf)
        for number, value in rivals if len(rivals) > 1 else ():
            if value == top:
                columns = (contest,) if layout.contest == "column" else found[number].columns
                best.setdefault(number, set()).update(columns)
    return [replace(entry, best=tuple(sorted(best.get(number, ())))) for number, entry in enumerate(found)]
