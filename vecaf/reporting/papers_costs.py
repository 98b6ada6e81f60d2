"""What the paper's numbers of costs hold and what they leave out, where it prints those of a place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vecaf.flops import cell as flops
from vecaf.flops import papers_arithmetic as papers
from vecaf.reporting.amounts import amount, quotient, total
from vecaf.reporting.costs import COUNTED
from vecaf.reporting.priced import FULL, Row


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield them as notes below the table. rows: those of one place."""
    full = next((row for row in rows if row.redone and row.plan["method"] == FULL), None)
    row = next((row for row in rows if row.redone and row.plan["method"] != FULL), None)
    if full is None or row is None:
        return
    image = row.redone["finetune"] * 1e9 / papers.STEP / row.printed["batches"]
    tower, text, chosen = papers.IMAGE_TOWER, papers.TEXT_TOWER, flops.planned(row.plan["parameters"])[0]["k"]
    yield (
        f"The paper's finetuning is {papers.STEP} forward passes of one image for each batch, not for each of its "
        f"{papers.BATCH} images: its whole column is {papers.BATCH} times too small as a total, alike in both rows."
    )
    yield (
        f"Its CEA fits the image tower of CLIP ViT-L/14 at 336 px ({tower / 1e9:.1f} G, {tower / image:.1f} × the "
        f"backbone: its “about 11 ×”) over {chosen:,} captions, those of one loop. The text tower, which encodes "
        f"captions, has {text / 1e9:.2f} G at its full 77 positions ({text / image:.2f} ×), {tower / text:.0f} times "
        "less. But the text of the whole pool is needed, not that of a selection: the pool is augmented before it is "
        "selected from."
    )
    told = row.plan["parameters"]["selection"][0]["params"]
    drawn = "all rows of the pool" if told["rows"] is None else f"{told['rows']:,} rows"
    yield (
        f"Its selection fits one member of ODS with {papers.ODS_STEPS} steps on {papers.ODS_ROWS:,} rows and one "
        "assignment of the pool, in one loop; that is a reconstruction. Here, as section 3.1 has it, there are "
        f"{told['ensemble']} members in every loop, and a step sees {drawn} (reading ods.rows)."
    )
    one_pass = row.one_scoring()
    printed = quotient(full.printed[COUNTED], total(row.printed[COUNTED], one_pass))
    yield (
        f"It leaves out the forward pass over the whole pool that the losses and embeddings of every loop come from: "
        f"{amount(one_pass)} G in its unit, {100 * one_pass / row.printed['finetune']:.0f} % of its finetuning. With "
        f"one such pass its reduction of {full.printed[COUNTED] / row.printed[COUNTED]:.2f} becomes {printed:.2f}. "
        "Captioning the pool is left out, too."
    )
    yield (
        "Its batches are those to one accuracy (section 4.2). “At its batches” is this study's method stopped there: "
        "loops that have begun are scored and selected for. The whole budget, that of section 4.1, is the same for "
        "every method, so that with it selecting is never cheaper than not selecting."
    )
