"""What the paper prints: its numbers under this project's names, and its checkable sentences."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from vecaf.config.claims import KEYS as NAMED

# A rule that compares with the paper names these as inputs: the digest of its code does not see data.
REPORTED = Path(__file__).with_name("paper") / "reported.csv"
STATEMENTS = Path(__file__).with_name("paper") / "statements.csv"

NAMES = {"pvm": "backbone", "lm": "encoder"}
REPETITIONS = 3  # behind every printed standard error (caption of table 1)


class Printed(NamedTuple):
    """One number of the paper, in the unit the paper prints (percent for accuracies)."""

    value: float
    stderr: float | None
    note: str | None


def ratio_token(decimal: str) -> str:
    """Return the ratio's name in this project, exactly: ``0.01`` → ``1pct``, ``1.0`` → ``100pct``."""
    percent = (Decimal(decimal) * 100).normalize()
    return f"{percent:f}pct"


def _schedule(schedule: str, loops: str) -> str | None:
    """``multi`` of n loops is ``{n}loops`` here; None where the paper does not say how many."""
    if schedule == "multi":
        return f"{loops}loops" if loops else None
    return schedule or None


@cache
def _lines() -> pd.DataFrame:
    lines = pd.read_csv(REPORTED, dtype=str, keep_default_na=False).rename(columns=NAMES)
    lines["schedule"] = [_schedule(*pair) for pair in zip(lines["schedule"], lines["loops"], strict=True)]
    lines["ratio"] = [ratio_token(text) if text else None for text in lines["ratio"]]
    lines["loops"] = pd.to_numeric(lines["loops"]).astype("Int64")
    for column in ("value", "stderr"):
        lines[column] = pd.to_numeric(lines[column])
    for column in ("ods", "cea"):
        lines[column] = lines[column].map({"yes": True, "no": False}).astype("boolean")
    texts = ("exhibit", "dataset", "backbone", "method", "encoder", "target_class", "domain", "metric", "note")
    for column in (*texts, "schedule", "ratio"):
        lines[column] = lines[column].astype("string").replace("", pd.NA)
    return lines


def reported(exhibit: str | None = None) -> pd.DataFrame:
    """Return the printed numbers of one exhibit (all, if none is named), one line each.

    Columns: exhibit, dataset, backbone, method, encoder, schedule, ratio, target_class, domain, metric, note (string),
    loops (Int64), ods, cea (boolean), value, stderr (float64, as printed: percent for accuracies). A line without a
    value is a cell that the paper leaves out. Source: Tables 1–7 and Figure 5 of the VeCAF paper.
    """
    lines = _lines()
    return (lines if exhibit is None else lines[lines["exhibit"] == exhibit]).reset_index(drop=True).copy()


def statements() -> pd.DataFrame:
    """Return the paper's checkable sentences: columns id, where, statement, kind, own_numbers (what these say)."""
    lines = pd.read_csv(STATEMENTS, dtype=str, keep_default_na=False)
    said = {"statement (in our words)": "statement", "what the paper's own numbers say": "own_numbers"}
    return lines.rename(columns=said)


@cache
def numbers(exhibit: str) -> list[tuple[dict[str, Any], dict[str, Printed]]]:
    """Return what an exhibit prints: (what names a number, metric → number) of every place, as far as it is stated.

    A name is one of dataset, backbone, method, encoder, ratio, schedule, target_class, domain, ods, cea.
    """
    found: dict[tuple, dict[str, Printed]] = {}
    for line in reported(exhibit).dropna(subset="value").to_dict("records"):
        keys = tuple((key, line[key]) for key in NAMED if not pd.isna(line[key]))
        found.setdefault(keys, {})[line["metric"]] = _number(line)
    return [(dict(keys), metrics) for keys, metrics in found.items()]


def _number(line: Mapping[str, Any]) -> Printed:
    stderr, note = line["stderr"], line["note"]
    return Printed(
        float(line["value"]), None if pd.isna(stderr) else float(stderr), None if pd.isna(note) else str(note)
    )


def printed_value(
    dataset: str,
    backbone: str,
    method: str,
    schedule: str | None = None,
    ratio: str | None = None,
    *,
    exhibit: str = "table1",
    metric: str = "top1",
    **conditions: Any,
) -> Printed | None:
    """Return the number that an exhibit prints for one cell, or None where it prints none.

    ``conditions`` are further columns of ``reported``: encoder, target_class, domain, ods, cea. A key that is None or
    not given is not asked for. Raises LookupError when more than one line fits, since a table may then not choose.
    """
    wanted = {"dataset": dataset, "backbone": backbone, "method": method, "schedule": schedule, "ratio": ratio}
    wanted |= {"metric": metric, **conditions}
    lines = _lines()
    lines = lines[lines["exhibit"] == exhibit]
    for column, value in wanted.items():
        if value is not None:
            lines = lines[(lines[column] == value).fillna(False)]
    lines = lines[lines["value"].notna()]
    if len(lines) > 1:
        raise LookupError(f"{exhibit} prints {len(lines)} values for {wanted}; give further columns to choose one")
    if lines.empty:
        return None
    return _number(lines.iloc[0])
