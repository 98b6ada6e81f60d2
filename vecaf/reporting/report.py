"""The report: one page without any network, in which every number leads to its command, its steps and its code."""

from __future__ import annotations

import base64
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from vecaf.reporting import sources
from vecaf.reporting.bundle import Records
from vecaf.reporting.entries import STATUSES
from vecaf.reporting.layout import KEYS, cell_path, ratio_title, schedule_title
from vecaf.reporting.sources import Function

TEMPLATE = Path(__file__).with_name("report.html.j2")
# What every selector calls says nothing of one of them.
_EVERY_SELECTOR = ("vecaf/selection/base.py", "vecaf/seeds.py")
_PIXELS = 1.6  # of a figure for each pixel of the page: sharp on fine screens, its letters as large as the page's
_READ = ("readings", "deviations", "tuning")  # tables of choices; they stand apart from those of results


def build(
    settings: Mapping[str, Any],
    *,
    tables: Mapping[str, str],
    figures: Mapping[str, tuple[bytes, str]],
    claims: str | None,
    rows: Sequence[pd.DataFrame],
    records: Records,
) -> str:
    """Return the page.

    settings: ``title``, ``root`` of the results, ``options`` (what a command line ends with), ``exhibits`` (of each
    name, title, kind, digest), ``rules`` (of each name, file, script), ``methods`` (name → title, selectors, cea),
    ``datasets`` (name → title). tables: exhibit → its part of the page. figures: exhibit → PNG and caption. claims:
    their part of the page, or None. rows: tidy metrics; records: the metrics of their cells. Raises ArtifactError for a
    record that is no JSON.
    """
    merged = _merged(rows)
    entries = [_entry(key, group, settings, records) for key, group in merged.groupby(list(KEYS), sort=False)]
    methods = [
        _method(name, settings["methods"][name])
        for name in settings["methods"]
        if any(entry["method"] == name for entry in entries)
    ]
    steps = _steps(settings["rules"])
    exhibits = [_exhibit(spec, settings, tables, figures) for spec in settings["exhibits"]]
    linked = [
        *(one for step in steps for one in step["functions"]),
        *(one for m in methods for one in (*m["equations"], *m["functions"])),
    ]
    linked += [spec["function"] for spec in exhibits if spec["function"] is not None]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(TEMPLATE.name).render(
        settings=settings,
        summary=_summary(merged),
        tables=[one for one in exhibits if one["kind"] == "table" and one["name"] not in _READ],
        choices=[one for one in exhibits if one["name"] in _READ],
        figures=[one for one in exhibits if one["kind"] == "figure"],
        claims=None if claims is None else {"html": claims, "command": _command("claims", settings)},
        cells=entries,
        methods=methods,
        steps=steps,
        functions=sorted(dict.fromkeys(linked), key=lambda function: function.name),
        provenance=_provenance(entries),
    )


def _command(target: str, settings: Mapping[str, Any]) -> str:
    return f"snakemake {shlex.quote(target)} {settings['options']}".strip()


# --- results ------------------------------------------------------------------------------------------------------


def _merged(rows: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return every cell of the exhibits once, in the order in which they show them.

    Where they say different things of it, it has the first of ``STATUSES`` that one of them says.
    """
    merged = pd.concat(list(rows), ignore_index=True)
    merged["order"] = merged["status"].map(STATUSES.index)
    merged["place"] = range(len(merged))
    best = merged.sort_values(["order", "place"]).drop_duplicates([*KEYS, "seed"])
    first = merged.groupby([*KEYS, "seed"])["place"].min()
    best["place"] = [first[key] for key in best[[*KEYS, "seed"]].itertuples(index=False, name=None)]
    return best.sort_values("place").reset_index(drop=True)


def _exhibit(spec: Mapping[str, Any], settings: Mapping[str, Any], tables: Mapping, figures: Mapping) -> dict[str, Any]:
    """Return what is shown of a table or figure, with its command and the function that builds it."""
    name = spec["name"]
    module = f"vecaf/reporting/{name}.py"
    function = next((one for one in sources.documented(module) if one.name.endswith(".build")), None)
    found = dict(spec) | {"command": _command(name, settings), "module": module, "function": function}
    if spec["kind"] == "table":
        return found | {"html": tables[name]}
    image, caption = figures[name]
    width = round(int.from_bytes(image[16:20]) / _PIXELS)  # of a PNG's header
    caption = caption.partition("\n\n")[2].strip()
    return found | {"image": base64.b64encode(image).decode(), "width": width, "caption": caption}


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    counts = Counter(rows["status"])
    return {
        "cells": [(counts[status], status) for status in STATUSES if counts[status]],
        "total": len(rows),
        "published": int(((rows["status"] == "measured") & (rows["origin"] == "published")).sum()),
    }


def _entry(key: tuple, rows: pd.DataFrame, settings: Mapping[str, Any], records: Records) -> dict[str, Any]:
    """Return what is known of the cells of one key: of each seed its command and result, of all their steps."""
    named = dict(zip(KEYS, key, strict=True))
    path, seeds, stages, made = cell_path(named), [], {}, []
    order = dict.fromkeys(rule["script"] for rule in settings["rules"])
    for row in rows.sort_values("seed").itertuples(index=False):
        cell = f"{path}/seed{row.seed}"
        seed = {"seed": int(row.seed), "status": row.status, "origin": row.origin, "reason": _text(row.reason)}
        seed |= {"digest": _text(row.digest), "command": None, "top1": None, "recall": None, "published_top1": None}
        if row.status in ("measured", "stale", "not run"):
            seed["command"] = _command(f"{settings['root']}/cells/{cell}/metrics.json", settings)
        if row.status == "measured" and (record := records.find(cell)) is not None:
            seed |= {"top1": 100 * row.top1, "recall": None if pd.isna(row.recall_argmax) else 100 * row.recall_argmax}
            seed["published_top1"] = None if pd.isna(row.published_top1) else 100 * row.published_top1
            made.append(record.content)
            for name, stage in record.content["provenance"]["stages"].items():
                stages.setdefault(name.rpartition("/")[2], []).append(stage["seconds"])
        seeds.append(seed)
    return named | {
        "anchor": f"cell/{path}",
        "path": path,
        "title": f"{settings['methods'][named['method']]['title']}, {settings['datasets'][named['dataset']]} "
        f"{ratio_title(named['ratio'])}, {schedule_title(named['schedule'])}",
        "seeds": seeds,
        "seconds": [(step, sum(stages[step]) / len(made)) for step in order if step in stages],
        "records": made,
    }


def _text(value: Any) -> str | None:
    return None if value is None or pd.isna(value) else str(value)


def _provenance(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return facts of what was run: of each its values and how many cells have them, the commonest first."""
    found: dict[str, Counter] = {name: Counter() for name in ("Commit", "Device", "Threads", "Processor", "Packages")}
    for record in (record for entry in entries for record in entry["records"]):
        origin = record["provenance"]
        git, host = origin["git"] or {}, origin["host"] or {}
        found["Commit"][git.get("commit", "unknown")[:12] + (", with changes" if git.get("dirty") else "")] += 1
        found["Device"][origin["device"] or "unknown"] += 1
        found["Threads"][str(origin["threads"] or "unknown")] += 1
        vectors = "".join(f", {name}" for name in host.get("instructions") or [])
        found["Processor"][f"{host.get('cpu') or 'unknown'}, {host.get('cores')} cores{vectors}"] += 1
        found["Packages"][", ".join(f"{name} {number}" for name, number in (origin["versions"] or {}).items())] += 1
    return [(name, counts.most_common()) for name, counts in found.items() if counts]


# --- code ---------------------------------------------------------------------------------------------------------


def _steps(rules: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return of each script the rules that run it, what it says of itself and what of the library it calls."""
    names = dict.fromkeys(rule["script"] for rule in rules)
    return [
        {
            "name": name,
            "file": (file := f"scripts/{name}.py"),
            "rules": [rule for rule in rules if rule["script"] == name],
            "text": sources.described(file),
            "functions": _distinct([*sources.called(file), *sources.equations(file)]),
        }
        for name in names
    ]


def _method(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a method's selectors say of themselves and the functions behind them and behind its augmentation."""
    files = [f"vecaf/selection/{selector}.py" for selector in spec["selectors"]]
    functions = [one for file in files for one in (*sources.documented(file), *sources.called(file))]
    functions = [one for one in functions if one.file not in _EVERY_SELECTOR]
    holding = sources.equations(*files) + (sources.equations("vecaf/augmentation/cea.py") if spec["cea"] else [])
    about = [{"file": file, "text": sources.described(file)} for file in files]
    plain = [one for one in functions if one not in holding]
    return dict(spec) | {
        "name": name,
        "about": about,
        "equations": _distinct(holding),
        "functions": _distinct(plain),
    }


def _distinct(functions: Iterable[Function]) -> list[Function]:
    return list(dict.fromkeys(functions))
