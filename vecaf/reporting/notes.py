"""The notes under a table: what its numbers are, which are missing and why, and under which readings they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vecaf.reporting.contrasts import signed, value_text
from vecaf.reporting.entries import STATUSES, Entry
from vecaf.reporting.layout import Layout, loops, schedule_title
from vecaf.reporting.statistics import MARGIN

_MEANING = {
    "stale": "run under another configuration than the present one; run its metrics again",
    "not run": "planned, no result yet",
    "not reported": "the paper has no such number, and no job is planned",
}
_REASONS = 4  # written out under a status; a stale cell's reason may be its own alone


def notes(rows: pd.DataFrame, entries: Sequence[Entry], layout: Layout) -> list[str]:
    """Return the notes of a table in reading order, as plain sentences."""
    return [
        *_unreported(entries, layout),
        *_numbers(entries, layout),
        *_schedules(layout),
        *_marks(entries, layout),
        *_counts(rows),
        *_paper(entries, layout),
        *layout.notes,
        *_cards(layout),
        *_readings(layout),
        f"Digest of the configuration: {layout.digest}.",
    ]


def _numbers(entries: Sequence[Entry], layout: Layout) -> Iterator[str]:
    shown = [entry for entry in entries if entry.mean is not None]
    text = f"Numbers are {layout.metric} in percent: mean ± standard error (sd with n − 1, divided by √n) over n seeds"
    seeds: dict[str, set[tuple[int, ...]]] = {}
    for entry in shown:
        seeds.setdefault(layout.columns[entry.columns[0]].group, set()).add(tuple(sorted(entry.seeds)))
    if len({frozenset(values) for values in seeds.values()}) == 1:
        text += f": {_seeds(next(iter(seeds.values())))}"
    elif seeds:
        text += ": " + "; ".join(f"{_seeds(values)} on {group}" for group, values in seeds.items())
    yield text + "."
    if any(entry.se is None for entry in shown):
        yield "± n/a: one seed only, which says nothing about the spread."
    if any(entry.n < entry.planned for entry in shown):
        yield "(2 of 3): 2 of 3 planned seeds are measured, and mean and error are over these."


def _seeds(sets: set[tuple[int, ...]]) -> str:
    """Return how many seeds stand behind the entries, which may differ, and which."""
    counts, names = sorted({len(seeds) for seeds in sets}), sorted({seed for seeds in sets for seed in seeds})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    noun = "of seeds" if len(sets) > 1 else "seeds" if len(names) > 1 else "seed"
    return f"n = {number} ({noun} {', '.join(map(str, names))})"


def _schedules(layout: Layout) -> Iterator[str]:
    used = [layout.fixed.get("schedule"), *(part.match.get("schedule") for part in (*layout.rows, *layout.columns))]
    for schedule in dict.fromkeys([*(name for name in used if name), *layout.schedules]):
        meaning = layout.schedules.get(schedule)
        if meaning is None and schedule == "single":
            meaning = "one selection, then the whole budget of batches on it"
        elif meaning is None and (count := loops(schedule)):
            meaning = f"{count} times a selection, each followed by 1/{count} of the same budget of batches on it"
        if meaning is not None:
            token, blank, qualifier = schedule.partition(" ")  # "3loops (TA-VAAL)": a form that one method has
            yield f"{schedule_title(token)}{blank}{qualifier}: {meaning}."


def _marks(entries: Sequence[Entry], layout: Layout) -> Iterator[str]:
    outside = [
        layout.methods.get(name, name)
        for name in layout.outside_competition
        if any(entry.key.get("method") == name for entry in entries)
    ]
    if any(entry.best for entry in entries):
        text = f"Bold: the highest mean of its {layout.contest} to two decimals, ties included, whatever the errors"
        yield text + (f"; not in the competition: {', '.join(outside)}." if outside else ".")
    elif any(entry.mean is not None for entry in entries):
        yield f"No best is marked: no {layout.contest} has two measured {_rival(layout)}s to compare."
    for row in layout.rows:
        if row.own_column is not None:
            yield f"{row.labels[0]} ({row.own_column}): one value under each heading, which stands in all its columns."


def _rival(layout: Layout) -> str:
    return "row" if layout.contest == "column" else "column"


def _counts(rows: pd.DataFrame) -> Iterator[str]:
    present = Counter(rows["status"])
    total = f"Of {len(rows)} cells (one for each method, schedule, dataset, backbone, ratio and seed): "
    yield total + (", ".join(f"{present[status]} {status}" for status in STATUSES if present[status]) or "none") + "."
    for status, meaning in _MEANING.items():
        if not present[status]:
            continue
        given = rows.loc[rows["status"] == status, "reason"]
        reasons = Counter(str(reason) for reason in given if not pd.isna(reason) and reason)
        ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        known = "; ".join(f"{reason} ({count})" for reason, count in ranked[:_REASONS])
        if len(ranked) > _REASONS:
            known += f"; {len(ranked) - _REASONS} more, all in the CSV"
        yield f"{status}: {meaning}" + (f". Reasons: {known}." if known else ".")
    published = int(((rows["status"] == "measured") & (rows["origin"] == "published")).sum())
    if published:
        share = f"{published} of {present['measured']} measured cells"
        yield f"†: from the published bundle, in whole or in part ({share})."
    yield from _again(rows[rows["status"] == "measured"])


def _again(measured: pd.DataFrame) -> Iterator[str]:
    """Say how far cells that were run here are from their published results."""
    again = measured.dropna(subset=["published_top1"])
    if len(again):
        points = 100 * (again["top1"] - again["published_top1"]).astype(float)
        yield (
            f"Run here and published, too: {len(again)} of these cells; top-1 here minus published "
            f"{signed(points.min())} to {signed(points.max())} points, mean {signed(points.mean())}."
        )


def _unreported(entries: Sequence[Entry], layout: Layout) -> Iterator[str]:
    printed = {layout.columns[entry.columns[0]].group for entry in entries if entry.printed is not None}
    for group in dict.fromkeys(column.group for column in layout.columns):
        if group in printed:
            continue
        inside = [entry for entry in entries if layout.columns[entry.columns[0]].group == group]
        backbones = sorted({entry.key["backbone"] for entry in inside if "backbone" in entry.key})
        using = f" with backbone {', '.join(backbones)}" if backbones else ""
        yield f"These are not the paper's numbers: it reports nothing for {group}{using}, so nothing is compared."


def _paper(entries: Sequence[Entry], layout: Layout) -> Iterator[str]:
    if any(entry.comparison is not None for entry in entries):
        reference, rival = layout.reference_title, _rival(layout)
        yield "Difference: measured − paper, in points; z: difference / √(se² + se of the paper²)."
        yield f"reproduced: at most {MARGIN:g} points from the paper."
        if not reference:
            yield "outside margin: further off."
        else:
            yield (
                f"same direction: further off, but on the same side of the {rival} {reference} as in the paper "
                f"({reference} itself: of its competitor with the paper's best number); not reproduced: neither; "
                f"outside margin: further off, and that {rival} is not measured, so no direction can be told."
            )
    if any(entry.printed is not None for entry in entries):
        yield "—: nothing to compare, since the paper or this study has no number."


def _cards(layout: Layout) -> Iterator[str]:
    if layout.cards:
        yield f"Selectors: {'; '.join(dict.fromkeys(layout.cards.values()))}."


def _readings(layout: Layout) -> Iterator[str]:
    yield from readings_in_words(layout.readings, layout.methods)


def readings_in_words(readings: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> Iterator[str]:
    """Yield the readings of the methods, those that share all of them together; titles: of methods by name."""
    sharing: dict[str, list[str]] = {}
    for name, chosen in readings.items():
        values = ", ".join(f"{key} = {value_text(value)}" for key, value in chosen.items())
        sharing.setdefault(values, []).append(titles.get(name, name))
    for values, titles in sharing.items():
        yield f"Readings of {'; '.join(titles)}: {values or 'none'}."
