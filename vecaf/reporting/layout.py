"""The shape of a table: which cells stand in which row and column, and what is written around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vecaf.errors import ConfigError

KEYS = ("dataset", "backbone", "method", "ratio", "schedule")  # what tells the cells of a study apart, seeds aside
PLACE = tuple(key for key in KEYS if key != "method")  # where methods are compared
WHOLE_POOL = "100pct"


def cell_path(key: Mapping[str, Any]) -> str:
    """Return the folders that the cells of a key share, seeds aside."""
    return "/".join(str(key[name]) for name in KEYS)


def seed_path(key: Mapping[str, Any]) -> str:
    """Return the folders of one cell, its seed's included."""
    return f"{cell_path(key)}/seed{key['seed']}"


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
    """A column of the table, under the heading ``group`` that it may share with its neighbours.

    match, printed: as of a row. variants: a row's method → the method that stands for it in this column, for tables
    whose columns are variants of the rows' methods. value: the number shown here, where it is not the layout's.
    """

    group: str
    title: str
    match: Mapping[str, str]
    printed: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    value: str | None = None


@dataclass(frozen=True)
class Layout:
    """Everything about a table that is not a number.

    exhibit: whose printed numbers it is compared with. fixed: part of the key of every cell. contest: along what a
    best is marked, and along which its rivals stand: a column, or a row where rows cannot be compared. reference: part
    of the key, as the paper prints it, of the rival that directions are judged against. outside_competition: methods
    that are never marked best and are no active baseline. readings: method → reading → value. cards: method → its
    selector in a line. digest: of the configuration. value: the number shown, a column of the tidy rows; metric: the
    same in words. beside: further numbers for the comparison, column of the tidy rows → title; ``{value}`` in a name
    stands for the number shown in the table's column.
    """

    title: str
    exhibit: str
    stubs: tuple[str, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    digest: str
    fixed: Mapping[str, str] = field(default_factory=dict)
    contest: Literal["column", "row"] = "column"
    reference: Mapping[str, Any] = field(default_factory=dict)
    reference_title: str = ""
    outside_competition: tuple[str, ...] = ()
    methods: Mapping[str, str] = field(default_factory=dict)
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cards: Mapping[str, str] = field(default_factory=dict)
    schedules: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    value: str = "top1"
    metric: str = "top-1 accuracy"
    beside: Mapping[str, str] = field(default_factory=lambda: {"mean_per_class": "Mean per class"})
    column_title: str = "Column"  # what the columns under one heading are

    def shown(self, column: int) -> str:
        """Return the name of the number that a column shows."""
        return self.columns[column].value or self.value

    def key(self, row: Row, column: Column) -> dict[str, str]:
        """Return the (possibly partial) key of the cell that stands in a row and a column."""
        key = {**self.fixed, **column.match, **row.match}
        if key.get("method") in column.variants:
            key["method"] = column.variants[key["method"]]
        return key

    def printed_key(self, row: int, column: int, key: Mapping[str, str]) -> dict[str, Any]:
        """Return the key under which the paper prints the cell ``key`` that stands in a row and a column."""
        return {**key, **self.columns[column].printed, **self.rows[row].printed}

    def is_reference(self, printed_key: Mapping[str, Any]) -> bool:
        return bool(self.reference) and self.reference.items() <= printed_key.items()


_NEEDED = ("title", "rows", "columns", "config_digest")
_OPTIONAL = ("methods", "schedules", "readings", "cards", "variants", "backbones", "domains")


def complete(settings: Mapping[str, Any], exhibit: str) -> dict[str, Any]:
    """Return what ``Study.layout`` says of an exhibit, with nothing for what it may leave out.

    Raises ConfigError naming everything that is missing.
    """
    absent = [key for key in _NEEDED if key not in settings]
    if absent:
        raise ConfigError(f"the layout of {exhibit} lacks {', '.join(absent)}; write the exhibit's layout again")
    optional = {key: settings.get(key) or {} for key in _OPTIONAL}
    # Mappings come sorted by name out of JSON; rows and columns are lists and keep the configuration's order.
    for named, key, parts in (
        ("variants", "method", "rows"),
        ("readings", "method", "rows"),
        ("backbones", "backbone", "columns"),
    ):
        order = [part[key] for part in settings[parts] if part.get(key) in optional[named]]
        optional[named] = {name: optional[named][name] for name in (*order, *optional[named])}
    return {**settings, **optional, "notes": settings.get("notes") or ()}


def described(settings: Mapping[str, Any], exhibit: str, **shape: Any) -> Layout:
    """Return a layout of the given shape (any field of ``Layout``) with all that is written around every table.

    settings: as ``complete`` returns them.
    """
    common = {name: settings[name] for name in ("title", "methods", "schedules", "readings", "cards")}
    common |= {"exhibit": exhibit, "digest": settings["config_digest"], "notes": tuple(settings["notes"])}
    return Layout(**common | shape)


def only(settings: Mapping[str, Any], exhibit: str, *keys: str) -> dict[str, str]:
    """Return the one value of each of these keys of an exhibit's cells.

    Raises ConfigError when the configuration shows several, since the exhibit has no place to tell them apart.
    """
    found = {}
    for key in keys:
        values = dict.fromkeys(part[key] for part in (*settings["columns"], *settings["rows"]) if key in part)
        if len(values) != 1:
            raise ConfigError(
                f"exhibits.{exhibit} shows {len(values)} values of {key} ({', '.join(values)}); it has room for one"
            )
        found[key] = next(iter(values))
    return found


def by_dataset_and_ratio(settings: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return a column for every ratio, grouped by dataset."""
    return tuple(
        Column(
            column.get("dataset_title") or column["dataset"],
            ratio_title(column["ratio"]),
            {key: column[key] for key in ("dataset", "ratio", "backbone") if column.get(key) is not None},
        )
        for column in settings["columns"]
    )


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
