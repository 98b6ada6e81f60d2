"""Say what of a study is done, running, stale, failed or missing, and what its means are so far.

    python -m tools.status --profile demo                          every exhibit of the demo
    python -m tools.status table1 table5 --configfile my.yaml      two exhibits of a study of one's own
    python -m tools.status --tables snapshot                       and write the tables of what is there

Everything is told from files: metrics, logs, and what snakemake notes of its jobs. Nothing is planned or run, so it can
be asked while the study runs. Options are those of snakemake (--profile, --configfile, --config), and --tables.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from scripts import metrics
from tools import configuration
from vecaf import artifacts, claims, command, readings
from vecaf.errors import ConfigError
from vecaf.reporting import bundle, statistics
from vecaf.reporting import claims as claims_table
from vecaf.reporting.layout import ratio_title, schedule_title
from vecaf.study import Study

# The mark of each state in a grid, in the order in which they are counted.
MARKS = {"done": "#", "published": "+", "running": ">", "stale": "~", "failed": "!", "missing": ".", "not planned": "-"}
_ERROR = re.compile(r"^(error: .*|Traceback \(most recent call last\):)", re.MULTILINE)


@dataclass(frozen=True)
class Told:
    """A cell: its state, its tidy row, and what is known of a failure."""

    state: str
    row: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


class Status:
    """What the files say of a study's cells. folder: where snakemake runs, which holds its notes."""

    def __init__(self, study: Study, folder: Path = Path()):
        self.study, self.root = study, folder / study.config.root
        self._notes = folder / ".snakemake"
        records = folder / "results/published" / bundle.RECORDS
        self._records = bundle.Records(self.root / "cells", [records] if records.exists() else [])
        self._told: dict[str, Told] = {}

    def cells(self, exhibit: str) -> dict[Any, Told]:
        """Return what is known of every cell of an exhibit, in the order of the configuration."""
        expected = self.study.expected(exhibit, self.study.config.ood.corruptions)
        return {cell: self._cell(*line) for cell, line in zip(self.study.shown(exhibit), expected, strict=True)}

    def rows(self, exhibit: str) -> pd.DataFrame:
        """Return the tidy rows of an exhibit, as ``scripts/metrics.py`` would collect them now."""
        return pd.DataFrame([told.row for told in self.cells(exhibit).values()])

    def _cell(self, cell: str, digest: str | None, *told: Any) -> Told:
        if digest is None:  # not reported in one exhibit, perhaps run for another
            return Told("not planned", self._row(cell, digest, *told))
        if cell not in self._told:
            self._told[cell] = self._look(cell, self._row(cell, digest, *told))
        return self._told[cell]

    def _row(self, cell: str, digest: str | None, status: str | None, reason: str | None, domains) -> dict[str, Any]:
        return metrics.row(self._records, cell, digest, status, reason) | metrics.ood(self._records, cell, domains)

    def _look(self, cell: str, row: dict[str, Any]) -> Told:
        if cell in self.running:
            return Told("running", row)
        if row["status"] == "measured":
            return Told("done" if row["origin"] == "run" else "published", row)
        if problem := next(failures(self.root / "logs/cells" / cell), ""):
            return Told("failed", row, problem)
        if cell in self._marked:
            return Told("failed", row, "snakemake was killed while one of its jobs ran; start it again")
        return Told("stale", row, row["reason"]) if row["status"] == "stale" else Told("missing", row)

    @cached_property
    def _marked(self) -> set[str]:
        """Cells of which snakemake has begun a job and not noted its end."""
        return self._cells_of(decoded(self._notes / "incomplete"))

    @cached_property
    def running(self) -> set[str]:
        """Cells with a job that has begun, under a snakemake that holds its lock."""
        locked = (
            line
            for file in (self._notes / "locks").glob("*.output.lock")
            for line in file.read_text(encoding="utf-8").split("\n")
        )
        return self._marked & self._cells_of(locked)

    def _cells_of(self, outputs: Iterable[str]) -> set[str]:
        before = f"{self.study.config.root}/cells/"
        return {"/".join(name.removeprefix(before).split("/")[:6]) for name in outputs if name.startswith(before)}


def decoded(folder: Path) -> Iterator[str]:
    """Yield the outputs that snakemake's notes stand for: their names in Base64, cut where they are too long."""
    for path in folder.rglob("*"):
        if path.is_file():
            text = "".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
            try:
                yield base64.urlsafe_b64decode(text).decode()
            except ValueError:  # a note of another kind
                continue


def failures(folder: Path) -> Iterator[str]:
    """Yield (log: its error) of every log below a folder whose last attempt failed."""
    for log in sorted(folder.rglob("*.log")):
        if found := _ERROR.search(text := log.read_text(encoding="utf-8", errors="replace")):
            last = found[0] if found[0].startswith("error") else text.strip().rpartition("\n")[2]
            yield f"{log}: {last}"


# --- words --------------------------------------------------------------------------------------------------------


def counted(cells: Mapping[Any, Told]) -> str:
    counts = Counter(told.state for told in cells.values())
    planned = len(cells) - counts["not planned"]
    said = [f"{counts[state]} {state}" for state in MARKS if counts[state] and state != "not planned"]
    return f"{', '.join(said) or 'nothing to run'} (of {planned})"


def grid(study: Study, cells: Mapping[Any, Told]) -> str:
    """Return a line for each method and schedule and a column for each dataset, backbone and ratio.

    A place has the mark of every seed and the mean so far, in percent.
    """
    backbones = {(cell.dataset, cell.backbone) for cell in cells}
    several = len(backbones) > len({dataset for dataset, _ in backbones})
    places: dict[tuple[str, str], dict[str, list[Told]]] = {}
    for cell, told in cells.items():
        column = f"{cell.dataset} {cell.backbone if several else ''} {ratio_title(cell.ratio)}".replace("  ", " ")
        line = (study.title(cell.method), schedule_title(cell.schedule))
        places.setdefault(line, {}).setdefault(column, []).append(told)
    columns = list(dict.fromkeys(column for line in places.values() for column in line))
    lines = [["", "", *columns]] + [
        [*names, *(_place(found.get(column, [])) for column in columns)] for names, found in places.items()
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 2)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _place(told: list[Told]) -> str:
    values = [value for one in told if (value := number(one.row)) is not None]
    mean = statistics.mean(100 * value for value in values)
    return "".join(MARKS[one.state] for one in told) + ("" if mean is None else f" {mean:.2f}")


def number(row: Mapping[str, Any]) -> float | None:
    """Return a cell's accuracy as a fraction: top-1, or the recall of its target class."""
    if row.get("status") != "measured":
        return None
    return row["top1"] if row["recall_argmax"] is None else row["recall_argmax"]


def report(status: Status, exhibits: list[str]) -> Iterator[str]:
    """Yield the whole text, part by part."""
    problems: dict[str, str] = {}
    for name in exhibits:
        cells = status.cells(name)
        yield f"{name}: {status.study.config.exhibits[name].title}\n{counted(cells)}"
        if {told.state for told in cells.values()} - {"missing", "not planned"}:
            yield grid(status.study, cells) + "\n"
        problems |= {str(cell): told.problem for cell, told in cells.items() if told.state == "failed"}
    for folder in sorted(path for path in (status.root / "logs").glob("*") if path.name != "cells" and path.is_dir()):
        problems |= dict.fromkeys(failures(folder), "")
    if problems:
        yield f"failed ({len(problems)}):"
        yield "\n".join(f"  {problem or name}" for name, problem in problems.items())
    yield "each mark a seed: " + "  ".join(f"{mark} {state}" for state, mark in MARKS.items())


# --- tables -------------------------------------------------------------------------------------------------------


def tables(status: Status, exhibits: list[str], folder: Path) -> Iterator[str]:
    """Write the tables that are made of metrics alone, and the claims; yield the names of what is written.

    The claims read every table of the study, whichever are asked for.
    """
    shown = status.study.exhibits("table")
    for name in exhibits:
        if name not in shown or not _of_rows_alone(name):
            continue
        table = importlib.import_module(f"vecaf.reporting.{name}").build(
            status.rows(name), readings.layout(status.study, name)
        )
        artifacts.write_text(folder / f"{name}.md", table.to_markdown())
        artifacts.write_text(folder / f"{name}.csv", table.to_csv_text())
        yield name
    if status.study.config.claims.statements:
        plan = claims.plan(status.study, [name for name in shown if find_spec(f"vecaf.reporting.{name}")])
        listing = claims_table.build(plan, {name: status.rows(name) for name in plan["places"]})
        artifacts.write_text(folder / "claims.md", listing.to_markdown())
        artifacts.write_text(folder / "claims.csv", listing.to_csv_text())
        yield "claims"


def _of_rows_alone(exhibit: str) -> bool:
    """Say whether code makes this table of nothing but tidy rows and a layout."""
    module = f"vecaf.reporting.{exhibit}"
    if not find_spec(module):
        return False
    read = inspect.signature(importlib.import_module(module).build).parameters.values()
    return {one.name for one in read if one.default is one.empty} == {"rows", "layout"}


def main(argv: list[str]) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, metavar="DIR", help="write the tables of what is there into this folder")
    args, others = parser.parse_known_args(argv)
    study, targets = configuration.read(others)
    exhibits = targets or [name for name in study.exhibits() if not study.config.exhibits[name].selections_only]
    if unknown := [name for name in exhibits if name not in study.exhibits()]:
        raise ConfigError(f"this study shows no {', '.join(unknown)}; it has: {', '.join(study.exhibits())}")
    status = Status(study)
    for part in report(status, exhibits):
        print(part)
    if args.tables is None:
        return counted({cell: told for name in exhibits for cell, told in status.cells(name).items()})
    written = list(tables(status, exhibits, args.tables))
    left_out = [name for name in exhibits if name in study.exhibits("table") and name not in written]
    more = f"; left out, not of metrics alone: {', '.join(left_out)}" if left_out else ""
    return f"{args.tables}: {', '.join(written) or 'no tables'}{more}"


if __name__ == "__main__":
    command.run(main)
