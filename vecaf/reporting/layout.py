"""The shape of a table: which cells stand in which row and column, and what is written around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEYS = ("dataset", "backbone", "method", "ratio", "schedule")  # what tells the cells of a study apart, seeds aside


@dataclass(frozen=True)
class Row:
    """A line of the table.

    labels: the texts of the stub columns. match: part of a cell's key; it overrides the column's, so a row whose ratio
    is 100pct has one cell for all ratio columns of a dataset. printed: keys under which the paper prints this row
    where they differ from the cell's own (``{"method": "vecaf", "encoder": "bert_l"}``). own_column: what to call the
    column of a row that overrides it (``100 %``).
    """

    labels: tuple[str, ...]
    match: Mapping[str, str]
    printed: Mapping[str, Any] = field(default_factory=dict)
    own_column: str | None = None


@dataclass(frozen=True)
class Column:
    """A column of the table, under the heading ``group`` that it may share with its neighbours."""

    group: str
    title: str
    match: Mapping[str, str]
    printed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """Everything about a table that is not a number.

    exhibit: whose printed numbers it is compared with. fixed: part of the key of every cell. reference: part of the
    key of the row that directions are judged against. outside_competition: methods that are never marked best and
    are no active baseline. readings: method → reading → value. cards: method → its selector in a line. digest: of the
    configuration.
    """

    title: str
    exhibit: str
    stubs: tuple[str, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    digest: str
    fixed: Mapping[str, str] = field(default_factory=dict)
    reference: Mapping[str, str] = field(default_factory=dict)
    outside_competition: tuple[str, ...] = ()
    methods: Mapping[str, str] = field(default_factory=dict)
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cards: Mapping[str, str] = field(default_factory=dict)
    schedules: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metric: str = "top-1 accuracy"
    column_title: str = "Column"  # what the columns under one heading are

    def key(self, row: Row, column: Column) -> dict[str, str]:
        """Return the (possibly partial) key of the cell that stands in a row and a column."""
        return {**self.fixed, **column.match, **row.match}

    def is_reference(self, key: Mapping[str, str]) -> bool:
        return bool(self.reference) and all(key.get(name) == value for name, value in self.reference.items())


def ratio_title(token: str) -> str:
    """Return a ratio as a heading: ``1pct`` → ``1 %``."""
    return token.removesuffix("pct") + " %"


def schedule_title(token: str) -> str:
    """Return a schedule as a label: ``3loops`` → ``3 loops``, ``single_3x`` → ``single, 3 × the ratio``."""
    base, _, factor = token.rpartition("_")
    if base and factor.endswith("x") and factor[:-1].isdigit():
        return f"{schedule_title(base)}, {factor[:-1]} × the ratio"
    return f"{token.removesuffix('loops')} loops" if loops(token) else token


def loops(token: str) -> int | None:
    """Return n of a schedule named ``{n}loops``, else None."""
    count = token.removesuffix("loops")
    return int(count) if count != token and count.isdigit() else None
