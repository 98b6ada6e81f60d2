"""What a domain prompt selects before anything is trained: overlap, likeness to it, and planted images found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vecaf.reporting import bundle, statistics
from vecaf.reporting.comparison import Group
from vecaf.reporting.contrasts import fixed, jaccard, points, signed
from vecaf.reporting.layout import ratio_title
from vecaf.reporting.listing import Listing

_HEADER = ("Method", "Prompt", "Jaccard", "Captions of the selection", "of the set without", "of the pool")
_PLANTED = ("Planted found", "by chance", "z", "minus without")
_NUMERIC = 2
_PLACE = ("backbone", "ratio", "schedule")


@dataclass(frozen=True)
class Chosen:
    """What one method selects under one seed, beside the set that it would select without its prompt.

    jaccard: of both sets. likeness, likeness_without, likeness_pool: mean cosine of captions to the method's prompt,
    of the selection, of the set without the prompt and of the whole pool; None without a prompt. found: share of the
    planted images that is selected; None in a pool without any. chance, z: of a random set of K.
    """

    dataset: str
    place: tuple[str, ...]
    method: str
    seed: int
    k: int
    jaccard: float | None
    likeness: float | None
    likeness_without: float | None
    likeness_pool: float | None
    found: float | None
    chance: float | None
    z: float | None


def measure(selected: Sequence[pd.DataFrame], layout: Mapping[str, Any]) -> list[Chosen]:
    """Return what every method selects, dataset by dataset, method by method and seed by seed.

    selected: a table per dataset, as scripts.selected writes it. layout: as ``vecaf.prompts.layout`` says it.
    """
    found = []
    for table in selected:
        sets = dict(iter(table.groupby([*_PLACE, "method", "seed"], sort=False)))
        found += [_chosen(table.attrs, key, rows, sets, layout) for key, rows in sets.items()]
    return found


def _chosen(facts: Mapping[str, Any], key: tuple, rows: pd.DataFrame, sets: Mapping, layout: Mapping) -> Chosen:
    *place, method, seed = key
    told = layout["methods"][method]
    without = sets.get((*place, told["unprompted"], seed))
    likeness = [None, None, None]
    if told["prompt"] is not None:
        column = f"to_{told['prompt']}"
        likeness = [None if part is None else float(part[column].mean()) for part in (rows, without)]
        likeness.append(facts["pool_similarity"][told["prompt"]])
    shared = None if without is None else jaccard(frozenset(rows["id"]), frozenset(without["id"]))
    size, planted, k = facts["pool_size"], facts["planted_size"], len(rows)
    hits = (None, None, None)
    if planted:
        count = int(rows["planted"].sum())
        # The number of planted images in a random set is hypergeometric.
        variance = k * (planted / size) * (1 - planted / size) * (size - k) / max(size - 1, 1)
        z = (count - k * planted / size) / math.sqrt(variance) if variance else None
        hits = (count / planted, k / size, z)
    return Chosen(facts["dataset"], tuple(place), method, int(seed), k, shared, *likeness, *hits)


def against_unprompted(found: Sequence[Chosen], one: Chosen, layout: Mapping[str, Any]) -> statistics.Difference | None:
    """Return the share of planted images that a method finds minus that of the one without its prompt, by seed."""
    base = layout["methods"][one.method]["unprompted"]
    shares = {
        method: {
            other.seed: other.found
            for other in found
            if (other.dataset, other.place, other.method) == (one.dataset, one.place, method)
            and other.found is not None
        }
        for method in (one.method, base)
    }
    return statistics.paired_difference(shares[one.method], shares[base]) if base and shares[base] else None


def build(layout: Mapping[str, Any], selected: Sequence[pd.DataFrame]) -> Listing:
    """Return the table of what prompts select; see ``measure`` for its arguments."""
    found = measure(selected, layout)
    groups = []
    for dataset, place in dict.fromkeys((one.dataset, one.place) for one in found):
        inside = [one for one in found if (one.dataset, one.place) == (dataset, place)]
        groups.append(_group(inside, layout))
    records = tuple(_record(one, layout) for one in found)
    notes = [note for note in (*_notes(found, layout), *map(bundle.said, selected[:1])) if note]
    return Listing(layout["title"], tuple(groups), tuple(notes), records)


def _group(inside: Sequence[Chosen], layout: Mapping[str, Any]) -> Group:
    first = inside[0]
    planted = first.found is not None
    lines = []
    for method in dict.fromkeys(one.method for one in inside):
        ours, told = [one for one in inside if one.method == method], layout["methods"][method]
        line = [told["title"], told["text"] or "none", fixed(_mean(ours, "jaccard"))]
        line += [fixed(_mean(ours, name), 3) for name in ("likeness", "likeness_without", "likeness_pool")]
        if planted:
            z = statistics.mean(one.z for one in ours if one.z is not None)
            line += [_percent(ours, "found"), _percent(ours, "chance"), signed(z, 1)]
            line.append(points(against_unprompted(inside, ours[0], layout)))
        lines.append(tuple(line))
    heading = f"{layout['datasets'][first.dataset]['title']}, {ratio_title(first.place[1])} (K = {first.k})"
    return Group(heading, (*_HEADER, *(_PLANTED if planted else ())), tuple(lines), _NUMERIC)


def _mean(ours: Sequence[Chosen], name: str) -> float | None:
    return statistics.mean(value for one in ours if (value := getattr(one, name)) is not None)


def _percent(ours: Sequence[Chosen], name: str) -> str:
    value = _mean(ours, name)
    return "—" if value is None else f"{100 * value:.1f}"


def _notes(found: Sequence[Chosen], layout: Mapping[str, Any]) -> Iterator[str]:
    seeds = {one.seed for one in found}
    texts = [f"{told['title']}: {told['captioner']}, {told['encoder']}" for told in layout["datasets"].values()]
    yield (
        f"Selections of loop 1, from the pretrained backbone alone; nothing is finetuned. Means over {len(seeds)} "
        f"seed{'s' * (len(seeds) > 1)}. Jaccard: with the set of the same method and seed without its prompt."
    )
    yield (
        "Captions: mean cosine of caption and prompt, without the prompt added, in the eyes of each dataset's text "
        f"encoder ({'; '.join(texts)}): of what is selected, of what is selected without the prompt, of the whole pool."
    )
    if any(one.found is not None for one in found):
        yield (
            "Planted found: percent of the corrupted images of the pool that are selected; by chance: of a random set "
            "of K; z: the difference in standard deviations of random sets; minus without: points against the same "
            "method without its prompt, paired by seed, with Student's 95 % interval."
        )
    yield from layout["notes"]
    yield f"Digest of the configuration: {layout['config_digest']}."


def _record(one: Chosen, layout: Mapping[str, Any]) -> dict[str, Any]:
    names = ("k", "jaccard", "likeness", "likeness_without", "likeness_pool", "found", "chance", "z")
    return {
        "dataset": one.dataset,
        **dict(zip(_PLACE, one.place, strict=True)),
        "method": one.method,
        "prompt": layout["methods"][one.method]["text"],
        "seed": one.seed,
        **{name: getattr(one, name) for name in names},
    }
