"""Table 3: accuracy under snow and fog after finetuning on clear images, and the controls that cost no training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vecaf.reporting import table
from vecaf.reporting.layout import Column, Layout, Row, complete, described, only

REFERENCE = {"method": "vecaf"}
_FAMILY = "made for the column: "  # of a row that is another model in each column


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> table.Table:
    """Return Table 3 of the metrics of its cells.

    rows: see ``table.build``, with a column for each domain (mean over its severities) and for each of its severities
    (``snow_3``). layout: as of ``table1.build``, with variants (method → its family, the domain that it is made for,
    if any, and titles), domains and severities. A line of the paper is a family; where its methods are made for a
    domain, each stands in the column of its own. Below, these methods stand in all columns one by one, and with them
    the method that they vary, made for none. Source: Table 3 of the VeCAF paper.
    """
    return table.build(rows, layout_of(layout))


def layout_of(layout: Mapping[str, Any]) -> Layout:
    """Return the typed layout of Table 3."""
    settings = complete(layout, "table3")
    place = only(settings, "table3", "dataset", "dataset_title", "backbone")
    group = f"{place.pop('dataset_title')}, clear to"
    severities = settings["severities"]
    methods, schedules = settings["variants"], {row["method"]: row["schedule"] for row in settings["rows"]}
    families: dict[str, dict[str, str]] = {}
    for method, said in methods.items():
        if said["domain"] is not None:
            families.setdefault(said["family"], {})[said["domain"]] = method

    def alone(method: str, printed: Mapping[str, str]) -> Row:
        match = {"method": method, "schedule": schedules[method]}
        # Beside a line of the paper that has the same name and is another model in each column.
        remark = ", no prompt" if methods[method]["domain"] is None and method in families else ""
        return Row((settings["methods"][method] + remark,), match, printed)

    lines: list[Row] = []
    for method, said in methods.items():
        family = said["family"]
        if family not in families:
            lines.append(alone(method, {"method": family}))
        elif method == next(iter(families[family].values())):
            match = {"method": _FAMILY + family, "schedule": schedules[method]}
            lines.append(Row((said["family_title"],), match, {"method": family}))
    # The paper has no line for these; a printed method that it does not have keeps them from its numbers.
    controls = [alone(method, {"method": "none"}) for method, said in methods.items() if said["family"] in families]
    columns = [
        Column(
            group,
            domain,
            {},
            {"domain": domain},
            {_FAMILY + family: made.get(domain, "") for family, made in families.items()},
            value=domain,
        )
        for domain in settings["domains"]
    ]
    nobody = {_FAMILY + family: "" for family in families}
    columns.append(Column(group, "clear", {}, {"domain": "clear"}, nobody, value="top1"))
    return described(
        settings,
        "table3",
        fixed=place,
        stubs=("Method",),
        rows=(*lines, *controls),
        columns=tuple(columns),
        column_title="Domain",
        reference=REFERENCE,
        reference_title=next((row.labels[0] for row in lines if row.printed == REFERENCE), "VeCAF"),
        metric=f"top-1 accuracy, under a corruption its mean over severities {', '.join(map(str, severities))},",
        beside={f"{{value}}_{severity}": f"Severity {severity}" for severity in severities},
    )
