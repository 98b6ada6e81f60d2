"""Table 5: top-1 accuracy of one method with other backbones and other text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vecaf.reporting import table
from vecaf.reporting.layout import Column, Layout, Row, complete, described, only, ratio_title

REFERENCE = {"encoder": "clip_l"}


def build(rows: pd.DataFrame, layout: Mapping[str, Any]) -> table.Table:
    """Return Table 5 of the metrics of its cells.

    rows: see ``table.build``. layout: as of ``table1.build``, with variants (method → the method it varies and its
    text encoder) and backbones (name → title, timm name, pretraining in words). The encoders of a backbone are
    compared with one another, and not the backbones: some were pretrained with labels, others without. Source: Table 5
    of the VeCAF paper.
    """
    return table.build(rows, layout_of(layout))


def layout_of(layout: Mapping[str, Any]) -> Layout:
    """Return the typed layout of Table 5."""
    settings = complete(layout, "table5")
    place = only(settings, "table5", "dataset", "dataset_title", "ratio", "schedule")
    group = f"{place.pop('dataset_title')}, {ratio_title(place['ratio'])}"
    columns = tuple(_column(group, method, variant) for method, variant in settings["variants"].items())
    return described(
        settings,
        "table5",
        fixed=place,
        stubs=("Backbone", "Pretraining"),
        rows=tuple(
            Row((backbone["title"], backbone["pretraining"]), {"backbone": name})
            for name, backbone in settings["backbones"].items()
        ),
        columns=columns,
        column_title="Encoder",
        contest="row",
        reference=REFERENCE,
        reference_title=next((column.title for column in columns if REFERENCE.items() <= column.printed.items()), ""),
        notes=(_weights(settings), *settings["notes"]),
        readings={name: said | {"encoder": "the column's"} for name, said in settings["readings"].items()},
    )


def _column(group: str, method: str, variant: Mapping[str, Any]) -> Column:
    printed = {"method": variant["of"], "encoder": variant["encoder"]}
    return Column(group, variant["encoder_title"] or method, {"method": method}, printed)


def _weights(settings: Mapping[str, Any]) -> str:
    """Say which weights each row starts from."""
    said = (f"{row['title']}: {row['timm']}, {row['pretraining']}" for row in settings["backbones"].values())
    return f"Weights (names of timm): {'; '.join(said)}."
