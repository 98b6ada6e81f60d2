"""Table 2: how well one class is told from all others, by method and target class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vecaf.errors import ConfigError
from vecaf.reporting import table
from vecaf.reporting.layout import Column, Layout, Row, complete, described, only, ratio_title

REFERENCE = {"method": "vecaf"}
BESIDE = {
    "recall_half": "Recall, p > .5",
    "binary_accuracy": "Binary accuracy",
    "balanced_accuracy": "Balanced accuracy",
}


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> table.Table:
    """Return Table 2 of the metrics of its cells.

    rows: see ``table.build``, with ``metrics.ONE_VS_ALL``. layout: as of ``table1.build``, with variants (method → the
    method it varies and its target class). A cell of the study is a method with a target, a line of the paper a method
    and a class. The main number is the recall that the released code measures. Raises ConfigError for a method without
    a target class. Source: Table 2 of the VeCAF paper.
    """
    return table.build(rows, layout_of(layout))


def layout_of(layout: Mapping[str, Any]) -> Layout:
    """Return the typed layout of Table 2."""
    settings = complete(layout, "table2")
    place = only(settings, "table2", "dataset", "dataset_title", "backbone", "ratio", "schedule")
    group = f"{place.pop('dataset_title')}, {ratio_title(place['ratio'])}"
    methods, classes = _methods(settings), _classes(settings)
    return described(
        settings,
        "table2",
        fixed=place,
        stubs=("Method",),
        rows=tuple(Row((title,), {"method": name}, {"method": name}) for name, title in methods.items()),
        columns=tuple(_column(group, target, variants) for target, variants in classes.items()),
        column_title="Class",
        reference=REFERENCE,
        reference_title=methods.get(REFERENCE["method"], REFERENCE["method"]),
        value="recall_argmax",
        metric="recall of the target class, by argmax over all classes,",
        beside=BESIDE,
        readings=_readings(settings),
    )


def _methods(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the methods that the table's methods vary, with their titles."""
    return {variant["of"]: variant["of_title"] for variant in settings["variants"].values()}


def _classes(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return for each target class the methods that stand for the rows' methods there."""
    classes: dict[str, dict[str, str]] = {}
    for method, variant in settings["variants"].items():
        if variant["target_class"] is None:
            raise ConfigError(f"exhibits.table2 shows {method}, whose objective has no target class (one_vs_all)")
        classes.setdefault(variant["target_class"], {})[variant["of"]] = method
    return classes


def _column(group: str, target: str, variants: Mapping[str, str]) -> Column:
    printed = {"metric": "one_vs_all", "target_class": target}
    return Column(group, target.capitalize(), {}, printed, variants)


def _readings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the readings of each row once, where its methods differ in nothing but the target class."""
    said: dict[str, Any] = {}
    for name, readings in settings["readings"].items():
        if (variant := settings["variants"].get(name)) is not None:
            readings = {**readings, "objective": {**readings["objective"], "one_vs_all": "the column's class"}}
            row = variant["of_title"]
            name = row if said.get(row, readings) == readings else name
        said[name] = readings
    return said
