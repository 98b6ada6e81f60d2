"""Table 4: what methods cost, in the unit that the paper counts in and in full, and in measured seconds.

The paper multiplies the multiply-accumulates (MACs) of one image with the number of batches and not with their size;
in full, every image of every batch counts, and so does all that it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vecaf.errors import ConfigError
from vecaf.flops import TRAINING_STEP
from vecaf.flops import cell as flops
from vecaf.reporting import costs as measured
from vecaf.reporting import papers_costs
from vecaf.reporting.amounts import amount, quotient, signed, spread, total, unit
from vecaf.reporting.comparison import Group
from vecaf.reporting.contrasts import fixed
from vecaf.reporting.costs import ALL, COUNTED, PARTS, SUMS, Cost
from vecaf.reporting.layout import KEYS, cell_path
from vecaf.reporting.listing import Listing
from vecaf.reporting.notes import readings_in_words
from vecaf.reporting.priced import FULL, Row, price
from vecaf.reporting.statistics import mean, standard_error

TITLES = {
    "captions": "Captions of the pool",
    "scoring": "Scoring the pool",
    "cea": "CEA (text encoder, attention)",
    "selection": "Selection (ODS/DS)",
    "style": "Style transfer of training images",
    "finetune": "Finetuning",
    COUNTED: "What the paper counts of these",
    ALL: "All",
}
STEPS = {
    "caption": "Caption",
    "embed_text": "Embed text",
    "score": "Score",
    "augment": "Augment",
    "select": "Select",
    "train_styler": "Train styler",
    "stylize": "Stylize",
    "finetune": "Finetune",
    "curve": "Curve",
    "evaluate": "Evaluate",
}


def build(
    rows: pd.DataFrame, layout: Mapping[str, Any], costs: pd.DataFrame, profiles: Sequence[Mapping[str, Any]]
) -> Listing:
    """Return Table 4 of an exhibit's cells.

    rows: tidy metrics of the cells. layout: as ``Study.layout`` says it, with ``plans`` (``Study.plans``). costs: of
    the cells (``costs.COLUMNS``). profiles: counts of the models (``scripts/profile_flops.py``). A method without a
    measured cell has the MACs that its parameters allow at most. Raises ConfigError for a layout without plans.
    Source: Table 4 and section 4.2 of the VeCAF paper.
    """
    if "plans" not in layout:
        raise ConfigError("the layout lacks plans; write the exhibit's layout again")
    counts = flops.by_model(profiles)
    places: dict[tuple, list[Row]] = {}
    for plan in layout["plans"]:
        places.setdefault((plan["dataset"], plan["backbone"]), []).append(price(plan, costs, counts))
    every = [row for found in places.values() for row in found]
    groups = [group for found in places.values() for group in _groups(found, len(places) > 1)]
    notes = [*_units(), *(note for found in places.values() for note in papers_costs.notes(found))]
    return Listing(
        layout["title"],
        (*groups, _models(layout, counts)),
        (*notes, *_status(rows, every), *_given(layout)),
        tuple(record for row in every for record in _records(row)),
    )


# --- the parts of the table ---------------------------------------------------------------------------------------


def _groups(rows: Sequence[Row], several: bool) -> Iterator[Group]:
    place = f": {rows[0].plan['dataset_title']}, {rows[0].plan['backbone_title']}" if several else ""
    yield _costs(rows, place)
    full = next((row for row in rows if row.plan["method"] == FULL), None)
    if ratios := [line for row in rows if full and row is not full for line in _ratios(row, full)]:
        header = ("Ratio", "Paper", "Its arithmetic, redone", "Here, at its batches", "Here")
        yield Group(f"Full finetuning over a method{place}", header, tuple(ratios), 1)
    if any(row.seeds for row in rows):
        yield _seconds(rows, place)


def _costs(rows: Sequence[Row], place: str) -> Group:
    """Return the multiply-accumulates of every part, beside the paper's where it prints any."""
    scale, prefix = unit(max(row.macs(ALL) or 0 for row in rows))
    compared = any(row.printed for row in rows)
    beside = ("Paper (G)", "Its arithmetic, redone (G)", "Here, at its batches (G)", "Here − paper (G)")
    header = (
        "Method",
        "Part",
        *(beside if compared else ()),
        "Here (G)",
        f"Here, in full ({prefix} MACs)",
        "Share",
        "n",
    )
    lines = [(line, cell_path(row.plan)) for row in rows for line in _lines(row, scale, compared)]
    heading = f"{'Paper and this study' if compared else 'Multiply-accumulates'}{place}"
    return _group(heading, header, lines)


def _group(heading: str, header: tuple[str, ...], lines: Sequence[tuple[tuple[str, ...], str]]) -> Group:
    """Return a group of lines that each have the folders of their cells beside them."""
    return Group(heading, header, tuple(line for line, _ in lines), 2, tuple(cells for _, cells in lines))


def _lines(row: Row, scale: float, compared: bool) -> Iterator[tuple[str, ...]]:
    n, budget, whole = str(len(row.seeds)) if row.seeds else "planned", row.printed.get("batches"), row.macs(ALL)
    beside = (amount(budget),) * 3 + (signed(None if budget is None else 0.0),)
    yield (row.name, "Training batches", *(beside if compared else ()), amount(row.batches), "—", "—", n)
    # A method without what the paper leaves out has one sum.
    sums = {COUNTED: TITLES[ALL]} if whole == row.macs(COUNTED) else {part: TITLES[part] for part in SUMS}
    for part, title in ({part: TITLES[part] for part in PARTS} | sums).items():
        macs, printed = row.macs(part), row.printed.get(part)
        if macs == 0 and printed is None:
            continue
        then = row.in_papers_unit(part, row.then)
        beside = (
            amount(printed),
            amount(row.redone.get(part)),
            amount(then),
            signed(None if printed is None or then is None else then - printed),
        )
        yield (
            row.name,
            title,
            *(beside if compared else ()),
            amount(row.in_papers_unit(part, row.costs), "not counted"),
            amount(None if macs is None else macs / scale, "not counted"),
            "—" if not whole or macs is None else f"{100 * macs / whole:.1f} %",
            n,
        )


def _ratios(row: Row, full: Row) -> Iterator[tuple[str, ...]]:
    """Yield what full finetuning costs over a method: in batches, as the paper counts, with what it leaves out."""
    pass_of_paper = row.one_scoring()

    def paper_and_redone(key: str, more: float | None = 0.0) -> tuple[float | None, float | None]:
        return tuple(
            quotient(getattr(full, of).get(key), total(getattr(row, of).get(key), more)) for of in ("printed", "redone")
        )

    def ours(*parts: str) -> tuple[float | None, float | None]:
        def summed(costs: Sequence[Cost] | None) -> float | None:
            return total(*(measured.macs(costs, part) for part in parts))

        pairs = ((full.then, row.then), (full.costs, row.costs))
        return tuple(quotient(summed(a), summed(b)) for a, b in pairs)

    budgets = quotient(full.printed.get("batches"), row.printed.get("batches"))
    name = row.plan["title"]
    yield (f"{name}: batches", *map(fixed, (budgets, budgets, budgets, quotient(full.batches, row.batches))))
    yield (f"{name}: MACs that the paper counts", *map(fixed, (*paper_and_redone(COUNTED), *ours(COUNTED))))
    scored = (*paper_and_redone(COUNTED, pass_of_paper), *ours(COUNTED, "scoring"))
    yield (f"{name}: these and scoring the pool", *map(fixed, scored))
    yield (f"{name}: all MACs", "—", "—", *map(fixed, ours(ALL)))


def _seconds(rows: Sequence[Row], place: str) -> Group:
    """Return the seconds of every step by loop, and over all loops, mean ± standard error over seeds."""
    timed = [(row, [cost for cost in row.costs if cost.seconds]) for row in rows if row.seeds]
    steps = [step for step in STEPS if any(cost.step == step for _, costs in timed for cost in costs)]
    lines = []
    for row, costs in timed:
        loops = sorted({cost.loop for cost in costs})
        for loop in (*loops, None):
            when = {flops.ONCE: "Once", None: "All"}.get(loop, f"Loop {loop}")
            mine = [cost for cost in costs if loop in (cost.loop, None)]
            spent = [spread(_by_seed([cost for cost in mine if cost.step == step])) for step in steps]
            lines.append(((row.name, when, *spent, str(len(row.seeds))), cell_path(row.plan)))
    return _group(f"Measured seconds{place}", ("Method", "When", *(STEPS[step] for step in steps), "n"), lines)


def _by_seed(costs: Sequence[Cost]) -> list[float]:
    """Return the seconds of each seed over some steps, of the seeds that have all of them."""
    seeds = set.intersection(*(set(cost.seconds) for cost in costs)) if costs else set()
    return [sum(cost.seconds[seed] for cost in costs) for seed in sorted(seeds)]


def _models(layout: Mapping[str, Any], counts: flops.Counts) -> Group:
    """Return what one image or caption costs each model, beside the forward pass of the backbone it works for."""
    lines: dict[tuple[str, ...], None] = {}
    for plan in layout["plans"]:
        profiles = flops.profiles_of(plan["backbone"], plan["parameters"], counts)
        image, side = profiles.backbone, plan["parameters"]["backbone"]["input_size"]
        step = image | {"macs": image["training_step"], "source": f"{TRAINING_STEP} forward passes"}
        lines[_model(plan["backbone"], f"an image of {side} px", image, image)] = None
        lines[_model(plan["backbone"], f"an image of {side} px in training", step, image)] = None
        for found, how in ((profiles.encoder, "read"), (profiles.captioner, "written")):
            if found is not None:
                length = f" of {found['tokens']} tokens" if found["tokens"] else ""
                lines[_model(found["name"], f"a caption{length}, {how}", found, image)] = None
    header = ("Model", "For", "Architecture", "G MACs", "× backbone", "Parameters (M)")
    return Group("Models", header, tuple(lines), 3)


def _model(name: str, what: str, found: Mapping[str, Any], image: Mapping[str, Any]) -> tuple[str, ...]:
    macs, size = found["macs"], found["parameters"]
    return (
        name,
        what,
        found["source"],
        amount(None if macs is None else macs / 1e9, "not counted"),
        "—" if macs is None else f"{macs / image['macs']:.2f}",
        amount(None if size is None else size / 1e6),
    )


# --- notes ---------------------------------------------------------------------------------------------------------


def _units() -> Iterator[str]:
    yield (
        "(G): the paper's unit, billions of multiply-accumulates of one image times the number of batches; what is "
        "done sample by sample counts as so many samples divided by the batch size. In full: every image of every "
        "batch, all loops, all members of the ensemble. The two differ by the batch size alone; one "
        "multiply-accumulate is two floating-point operations."
    )
    yield (
        "Products are counted (fvcore, fused attention switched off, nothing with a product left out); norms, "
        f"activations, sorting and optimiser steps are not. A training step is {TRAINING_STEP} forward passes. "
        "Selection and CEA are formulas of N, K, d and the iterations that the selection logged "
        "(vecaf/flops/selection.py); where no cell has run (“planned”), of those allowed at most."
    )
    yield (
        "Captions, their embeddings and the first pass over the pool are shared by all cells that read them and stand "
        "here in full. Captions are counted at their longest, an upper bound. The accuracy curve and the final "
        "evaluation are no part of a method and not counted."
    )


def _status(rows: pd.DataFrame, every: Sequence[Row]) -> Iterator[str]:
    for status, some in rows[rows["status"] != "measured"].groupby("status", sort=True):
        yield f"{len(some)} of {len(rows)} cells are {status}: no mean holds them."
    if planned := [row.name for row in every if not row.seeds]:
        yield f"Planned, since no cell has run: {'; '.join(planned)}."
    if any(row.seeds for row in every):
        yield (
            "Seconds are wall time of the step alone, without starting Python and loading libraries: mean ± standard "
            "error over n seeds. Machines are in the cells' provenance; a step that cells share was run once."
        )


def _given(layout: Mapping[str, Any]) -> Iterator[str]:
    yield from layout.get("notes") or ()
    yield from readings_in_words(layout["readings"], layout["methods"])
    yield f"Digest of the configuration: {layout['config_digest']}."


# --- for machines --------------------------------------------------------------------------------------------------


def _records(row: Row) -> Iterator[dict[str, Any]]:
    """Yield a line for every part (without a loop) and for every step of every loop; G MACs and seconds."""
    same = {key: row.plan[key] for key in KEYS}
    same |= {"batches": row.batches, "paper_batches": row.printed.get("batches")}
    same |= {"n": len(row.seeds), "basis": "run" if row.seeds else "planned"}
    for part in (*PARTS, *SUMS):
        yield same | {
            **{"part": part, "loop": None, "step": None},
            "paper_g": row.printed.get(part),
            "redone_g": row.redone.get(part),
            "at_paper_batches_g": row.in_papers_unit(part, row.then),
            **_both_units(row, part, row.costs),
            **{"seconds": None, "seconds_se": None},
        }
    for cost in row.costs:
        part = next((name for name, steps in PARTS.items() if cost.step in steps), None)
        yield same | {
            **{"part": part, "loop": cost.loop, "step": cost.step},
            **dict.fromkeys(("paper_g", "redone_g", "at_paper_batches_g")),
            **(_both_units(row, part, [cost]) if part else dict.fromkeys(("papers_unit_g", "total_g"))),
            **{"seconds": mean(cost.seconds.values()), "seconds_se": standard_error(cost.seconds.values())},
        }


def _both_units(row: Row, part: str, costs: Sequence[Cost]) -> dict[str, float | None]:
    macs = measured.macs(costs, part)
    return {
        "papers_unit_g": row.in_papers_unit(part, costs),
        "total_g": None if macs is None else macs / 1e9,
    }
