"""The table of claims: what the paper says, asked of this study's cells and of the paper's own printed numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vecaf.config.claims import Assertion
from vecaf.errors import ArtifactError
from vecaf.reporting import statistics
from vecaf.reporting.comparison import Group
from vecaf.reporting.contrasts import signed
from vecaf.reporting.listing import Listing
from vecaf.reporting.statistics import Difference
from vecaf.reporting.verdicts import VERDICTS, Judged, Numbers, of_paper, of_study

_HEADER = (
    "Claim",
    "Verdict",
    "The paper's own numbers",
    "Estimate [95 %]",
    "Asked",
    "p",
    "Holm",
    "n",
    "Holding",
    "Cells",
)
_TEXTS = ("Claim", "The paper says", "Decided by", "How it is asked")


def build(
    plan: Mapping[str, Any], rows: Mapping[str, pd.DataFrame], measures: Mapping[str, pd.DataFrame] | None = None
) -> Listing:
    """Return the table of claims.

    plan: as ``vecaf.claims.plan`` says it. rows: exhibit → tidy rows of ``metrics.table_row``, accuracies as fractions.
    measures: measure → rows of its file, where there is one: keys of cells, ``seed`` and a column a number, in the unit
    that the paper prints (top-1 as a fraction). Raises ArtifactError for an exhibit without rows and a measure that
    lacks a column.
    """
    if absent := [name for name in plan["places"] if name not in rows]:
        raise ArtifactError(f"no rows of {', '.join(absent)} are given; collect their metrics and name the files")
    sources = {name: Numbers(rows[name], places) for name, places in plan["places"].items()}
    sources |= {name: Numbers.of_measure(name, table) for name, table in (measures or {}).items()}
    measured = [of_study(claim, sources, plan["lacking"]) for claim in plan["claims"]]
    printed = [of_paper(claim) for claim in plan["claims"]]
    adjusted = statistics.holm([judged.p for judged in measured])
    lines = list(zip(plan["claims"], measured, adjusted, printed, strict=True))
    groups = (
        Group("Verdicts", _HEADER, tuple(_verdict_line(*line) for line in lines), 3),
        Group("What is compared", _TEXTS, tuple(_text_line(*line) for line in lines), len(_TEXTS)),
    )
    records = tuple(record for line in lines for record in _records(*line))
    return Listing("The paper's claims", groups, tuple(_notes(plan, measured)), records)


def verdicts(listing: Listing) -> dict[str, str]:
    """Return the verdict on each claim of a table of claims."""
    return {record["claim"]: record["verdict"] for record in listing.records}


# --- words --------------------------------------------------------------------------------------------------------


def _verdict_line(claim: Mapping[str, Any], judged: Judged, holm: float | None, printed: tuple) -> tuple[str, ...]:
    holding = Counter(comparison.verdict for comparison in judged.compared)["holds"]
    cells, planned = _cells(judged)
    decisive = judged.decisive
    return (
        claim["id"],
        judged.verdict,
        _own_numbers(*printed),
        "—" if decisive is None else _estimate(decisive.difference, judged.assertion),
        "—" if judged.assertion is None else _threshold(judged.assertion),
        _p(judged.p),
        _p(holm),
        "—" if decisive is None or decisive.difference is None else str(decisive.difference.n),
        f"{holding} of {len(judged.compared)}" if judged.compared else "—",
        f"{cells} of {planned}" if planned else "—",
    )


def _text_line(claim: Mapping[str, Any], judged: Judged, holm: float | None, printed: tuple) -> tuple[str, ...]:
    decided = judged.reason if judged.decisive is None else judged.decisive.label
    if judged.decisive is not None and judged.reason:
        decided += f"; {judged.reason}"
    said = f"{claim['statement']} ({claim['where']})" if claim["where"] else claim["statement"]
    return claim["id"], said, decided, claim["note"]


def _own_numbers(exact: Judged, with_errors: Judged) -> str:
    """Return in words what the printed means say, and whether their printed errors leave it open."""
    if exact.decisive is None:
        return exact.verdict
    said = f"{exact.verdict}: {_estimate(exact.decisive.difference, exact.assertion, limits=False)}"
    if exact.assertion is not None and len(exact.compared) > 1:
        said += f", {exact.decisive.label}"
    doubt = with_errors.verdict == "undecided" and exact.decisive.difference.low is not None
    return f"{said} (within its errors)" if doubt else said


def _estimate(difference: Difference | None, assertion: Assertion | None, limits: bool = True) -> str:
    if difference is None or difference.estimate is None or assertion is None:
        return "—"
    is_difference = assertion.minus is not None or assertion.along is not None
    said = signed if is_difference else lambda value: f"{value:.3g}".replace("-", "−")
    text = said(difference.estimate)
    if not limits or difference.low is None:
        return text
    return f"{text} [{said(difference.low)}, {said(difference.high)}]"


def _threshold(assertion: Assertion) -> str:
    where = {"all": "each", "any": "one", "mean": "mean"}[assertion.across]
    return f"{where} {'>' if assertion.above is not None else '<'} {assertion.threshold:g}"


def _p(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _cells(judged: Judged) -> tuple[int, int]:
    """Return how many cells, seeds counted, are measured and planned."""
    done, planned = (
        {cell for comparison in judged.compared for cell in getattr(comparison, name)} for name in ("cells", "planned")
    )
    return len(done), len(planned)


def _records(
    claim: Mapping[str, Any], judged: Judged, holm: float | None, printed: tuple[Judged, Judged]
) -> Iterator[dict[str, Any]]:
    """Yield a record for each comparison, or one without a comparison where there is none."""
    exact, with_errors = printed
    own = {comparison.label: comparison.difference.estimate for comparison in exact.compared}
    cells, planned = _cells(judged)
    common = {"claim": claim["id"], "where": claim["where"], "kind": claim["kind"], "statement": claim["statement"]}
    common |= {"verdict": judged.verdict, "p": judged.p, "holm_p": holm, "cells": cells, "planned": planned}
    common |= {"reason": judged.reason or None, "paper": exact.verdict, "paper_with_errors": with_errors.verdict}
    for comparison in judged.compared or exact.compared or (None,):
        mine = comparison if judged.compared else None
        difference = mine and mine.difference
        yield common | {
            "comparison": comparison and comparison.label,
            "decides": mine is not None and mine is judged.decisive,
            **{part: difference and getattr(difference, part) for part in ("estimate", "low", "high")},
            "comparison_p": difference and difference.p,
            "n": difference and difference.n,
            "comparison_verdict": mine and mine.verdict,
            "paper_estimate": own.get(comparison.label) if comparison else None,
        }


def _notes(plan: Mapping[str, Any], measured: Sequence[Judged]) -> Iterator[str]:
    counts = Counter(judged.verdict for judged in measured)
    yield f"{len(measured)} claims: {', '.join(f'{counts[name]} {name}' for name in VERDICTS)}."
    yield (
        "holds: the 95 % interval lies on the claimed side of the threshold; fails: on the other side; undecided: it "
        "touches the threshold, or there are fewer than two seeds. A claim about every column needs each, and one that "
        "fails is enough against it. A claim about things it names is undecided as long as one of them is missing."
    )
    yield (
        "Comparisons are made seed by seed (cells of one seed share their head, batches and random sets), intervals "
        "are Student's over n seeds. Accuracies are compared in points, costs as ratios. Estimate and p are those of "
        "the comparison that decides; where it was picked out of several, p is multiplied by their number. Holm: p "
        "adjusted for all claims with a p. Cells: measured of planned, seeds counted."
    )
    yield (
        "The paper's own numbers: the same assertions asked of the printed means, taken as they are: a tie is not "
        "above. “within its errors”: with the printed standard errors (3 repetitions, Welch's interval) the same "
        "assertion is undecided."
    )
    if plan["stand_ins"]:
        said = [f"{mine} for {name}" for names in plan["stand_ins"].values() for name, mine in names.items()]
        yield f"These are not the paper's data. Here stands {', '.join(said)}."
