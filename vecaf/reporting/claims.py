"""The table of claims: what the paper says, asked of this study's cells and of the paper's own printed numbers."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from vecaf.claims import missing_rivals, resolve
from vecaf.config.claims import KEYS, Assertion
from vecaf.errors import ArtifactError
from vecaf.reporting import paper, statistics
from vecaf.reporting.comparison import Group
from vecaf.reporting.contrasts import signed
from vecaf.reporting.layout import KEYS as CELL
from vecaf.reporting.listing import Listing
from vecaf.reporting.metrics import VALUES
from vecaf.reporting.statistics import Claim, Difference

UNTESTED, UNPRINTED = "not yet testable", "not printed"
VERDICTS = ("holds", "fails", "undecided", UNTESTED)

_HEADER = ("Claim", "Verdict", "Estimate [95 %]", "Asked", "p", "Holm", "n", "Holding", "Cells", "The paper's own numbers")
_TEXTS = ("Claim", "The paper says", "Decided by", "How it is asked")


@dataclass(frozen=True)
class Compared:
    """One comparison. difference: None where nothing of it is measured; cells: measured and planned, with seeds."""

    label: str
    difference: Difference | None
    verdict: Claim
    cells: frozenset[tuple] = frozenset()
    planned: frozenset[tuple] = frozenset()

    @property
    def p(self) -> float | None:
        return None if self.difference is None else self.difference.p


@dataclass(frozen=True)
class Judged:
    """One assertion or a whole claim. verdict: one of ``VERDICTS``; p: of the deciding comparison, see ``_judged``."""

    verdict: str
    compared: tuple[Compared, ...] = ()
    decisive: Compared | None = None
    assertion: Assertion | None = None
    p: float | None = None
    reason: str = ""


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
    sources = {name: _Numbers(rows[name], places) for name, places in plan["places"].items()}
    sources |= {name: _Numbers.of_measure(name, table) for name, table in (measures or {}).items()}
    measured = [_of_study(claim, sources, plan["lacking"]) for claim in plan["claims"]]
    printed = [_of_paper(claim) for claim in plan["claims"]]
    adjusted = statistics.holm([judged.p for judged in measured])
    lines = list(zip(plan["claims"], measured, adjusted, printed, strict=True))
    groups = (
        Group("Verdicts", _HEADER, tuple(_verdict_line(*line) for line in lines), 2),
        Group("What is compared", _TEXTS, tuple(_text_line(*line) for line in lines), len(_TEXTS)),
    )
    records = tuple(record for line in lines for record in _records(*line))
    return Listing("The paper's claims", groups, tuple(_notes(plan, measured)), records)


def verdicts(listing: Listing) -> dict[str, str]:
    """Return the verdict on each claim of a table of claims."""
    return {record["claim"]: record["verdict"] for record in listing.records}


# --- this study's numbers -----------------------------------------------------------------------------------------


class _Numbers:
    """Numbers of one exhibit or measure: of each place, seed → value in the unit of the paper."""

    def __init__(self, rows: pd.DataFrame, places: Sequence[Mapping[str, Any]]):
        self.keys = [place["keys"] for place in places]
        self._places = places
        self._groups = {key: group for key, group in rows.groupby(list(CELL), sort=False)}

    @classmethod
    def of_measure(cls, name: str, rows: pd.DataFrame) -> _Numbers:
        """Return the numbers of a measure's file; what it has more than one cell for needs a key that tells them apart."""
        if absent := [column for column in (*CELL, "seed") if column not in rows.columns]:
            raise ArtifactError(f"the file of measure {name} has no column {', '.join(absent)}; see results/README.md")
        stated = [key for key in KEYS if key in rows.columns]
        places = [
            {
                "keys": {key: value for key, value in zip(stated, values, strict=True) if not pd.isna(value)},
                "cell": [dict(zip(stated, values, strict=True))[key] for key in CELL],
                "column": "top1",
            }
            for values in rows[stated].drop_duplicates().itertuples(index=False)
        ]
        return cls(rows, places)

    def read(self, position: int, metric: str | None) -> tuple[dict[int, float], set[tuple], set[tuple]]:
        """Return (seed → value, measured cells, planned cells).

        A measure that a seed leaves empty is censored there (a level never reached): then there are no values at all,
        since the mean of the seeds that got there would flatter.
        """
        place = self._places[position]
        cell, column = tuple(place["cell"]), metric or place["column"]
        group = self._groups.get(cell)
        if group is None:
            return {}, set(), set()
        planned = {(*cell, int(seed)) for seed in group["seed"]}
        if column not in group.columns:
            return {}, set(), planned
        done = group[group["status"] == "measured"] if "status" in group.columns else group
        if done[column].isna().any():
            return {}, set(), planned
        scale = 100 if metric is None or metric in VALUES else 1
        values = {int(seed): scale * float(value) for seed, value in zip(done["seed"], done[column], strict=True)}
        return values, {(*cell, seed) for seed in values}, planned


def _of_study(claim: Mapping[str, Any], sources: Mapping[str, _Numbers], lacking: Mapping[str, str]) -> Judged:
    """Return the verdict on a claim: each of its assertions has to hold, and one that fails is enough against it."""
    parts = []
    for _, asked in claim["holds_if"]:
        assertion = Assertion(**asked)
        name = assertion.measure or assertion.exhibit
        parts.append(_measured(assertion, sources[name]) if name in sources else Judged(UNTESTED, reason=lacking[name]))
    return _conjunction(parts)


def _measured(assertion: Assertion, numbers: _Numbers) -> Judged:
    found = resolve(assertion, numbers.keys)
    if not found:
        return Judged(UNTESTED, reason="this study has no such cells")
    compared = []
    for comparisons in _joined(assertion, found):
        values, cells, planned = [], set(), set()
        for comparison in comparisons:
            value, done, asked = _by_seed(comparison, numbers)
            values.append(value)
            cells |= done
            planned |= asked
        shared = set.intersection(*(set(value) for value in values))
        means = [statistics.mean(value[seed] for value in values) for seed in sorted(shared)]
        difference = statistics.interval(means, assertion.threshold) if means else None
        verdict = _claim(difference, assertion)
        compared.append(Compared(_label(comparisons), difference, verdict, frozenset(cells), frozenset(planned)))
    if all(comparison.difference is None for comparison in compared):
        return Judged(UNTESTED, tuple(compared), reason="none of its cells has this number yet")
    judged = _judged(assertion, compared)
    # What is named and not there could be the one that decides otherwise.
    open_ = "fails" if assertion.across == "any" else "holds"
    if judged.verdict == open_ and (absent := missing_rivals(assertion, found)):
        return replace(judged, verdict="undecided", reason=f"without {', '.join(absent)}")
    return judged


def _by_seed(comparison: Mapping[str, Any], numbers: _Numbers) -> tuple[dict[int, float], set[tuple], set[tuple]]:
    """Return a comparison seed by seed; of seeds that one side lacks nothing can be said."""
    values, cells, planned = numbers.read(*comparison["of"])

    def joined(other: tuple[dict[int, float], set, set], act: Callable[[float, float], float]) -> dict[int, float]:
        nonlocal cells, planned
        cells, planned = cells | other[1], planned | other[2]
        return {seed: act(values[seed], other[0][seed]) for seed in values.keys() & other[0].keys()}

    if "minus" in comparison:
        values = joined(numbers.read(*comparison["minus"]), operator.sub)
    if "over" in comparison:
        values = joined(numbers.read(*comparison["over"]), operator.truediv)
    if "before" in comparison:
        values = joined(_by_seed(comparison["before"], numbers), operator.sub)
    return values, cells, planned


# --- the paper's numbers ------------------------------------------------------------------------------------------


def _of_paper(claim: Mapping[str, Any]) -> tuple[Judged, Judged]:
    """Return the verdict of the printed means taken as they are, and of their intervals by the printed errors."""
    exact, with_errors = [], []
    for says, _ in claim["holds_if"]:
        assertion = Assertion(**says)
        numbers = paper.numbers(assertion.exhibit) if assertion.exhibit is not None else []
        found = [c for c in resolve(assertion, [keys for keys, _ in numbers]) if _printed(c, numbers) is not None]
        differences = []
        for comparisons in _joined(assertion, found):
            each = [_printed(comparison, numbers) for comparison in comparisons]
            estimate = statistics.mean(value for value, _ in each)
            errors = [error and error / len(each) for _, parts in each for error in parts]
            limits = statistics.interval_of_print(estimate, errors, paper.REPETITIONS, assertion.threshold)
            differences.append((_label(comparisons), limits))
        for parts, verdict in ((exact, _exactly), (with_errors, _claim)):
            compared = [Compared(label, limits, verdict(limits, assertion)) for label, limits in differences]
            parts.append(_judged(assertion, compared) if compared else Judged(UNPRINTED))
    return _conjunction(exact), _conjunction(with_errors)


def _printed(comparison: Mapping[str, Any], numbers: Sequence[tuple]) -> tuple[float, list[float | None]] | None:
    """Return (value, standard errors of the means in it) of a comparison, None where the paper lacks one of them."""
    position, metric = comparison["of"]
    metrics = numbers[position][1]
    if metric is None and len(metrics) == 1:
        (metric,) = metrics
    if metric not in metrics:
        return None
    value, errors = metrics[metric].value, [metrics[metric].stderr]
    for kind, act in (("minus", operator.sub), ("over", operator.truediv)):
        if kind in comparison:
            other = _printed({"of": comparison[kind]}, numbers)
            if other is None:
                return None
            value, errors = act(value, other[0]), [*errors, *other[1]]
            if kind == "over":
                errors = [None]  # the paper prints no errors of costs
    if "before" in comparison:
        if (other := _printed(comparison["before"], numbers)) is None:
            return None
        value, errors = value - other[0], [*errors, *other[1]]
    return value, errors


# --- verdicts -----------------------------------------------------------------------------------------------------


def _joined(assertion: Assertion, found: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return the comparisons one by one, or all of a rival together where their mean is meant."""
    if assertion.across != "mean":
        return [[comparison] for comparison in found]
    rivals: dict[str, list[Mapping[str, Any]]] = {}
    for comparison in found:
        rivals.setdefault(comparison["rival"], []).append(comparison)
    return list(rivals.values())


def _label(comparisons: Sequence[Mapping[str, Any]]) -> str:
    first = comparisons[0]["label"]
    return first if len(comparisons) == 1 else f"mean of {len(comparisons)} from {first}"


def _claim(difference: Difference | None, assertion: Assertion) -> Claim:
    if difference is None:
        return "undecided"
    return statistics.claim(difference.low, difference.high, assertion.threshold, above=assertion.above is not None)


def _exactly(difference: Difference, assertion: Assertion) -> Claim:
    """Return the verdict of printed means as numbers without error: a tie is not above."""
    over = round(difference.estimate - assertion.threshold, 9)  # 66.33 − 64.43 is not quite 63.76 − 61.86 in binary
    return "holds" if (over > 0 if assertion.above is not None else over < 0) else "fails"


def _judged(assertion: Assertion, compared: Sequence[Compared]) -> Judged:
    """Return the verdict on an assertion with the comparison that decides it.

    p: of the least certain comparison where each has to hold and none fails; otherwise a comparison was picked out of
    several for its p, which is multiplied by their number (Bonferroni).
    """
    any_of = assertion.across == "any"
    verdict = (statistics.claim_in_any if any_of else statistics.claim_in_all)(c.verdict for c in compared)
    picked = "holds" if any_of else "fails"

    def miss(comparison: Compared) -> float:
        """Return how far a comparison lies on the wrong side."""
        if comparison.difference is None:
            return 0.0
        over = comparison.difference.estimate - assertion.threshold
        return -over if assertion.above is not None else over

    deciding = [comparison for comparison in compared if comparison.verdict == verdict]
    sign = -1 if any_of else 1
    if verdict == picked:
        decisive = min(deciding, key=lambda c: (1.0 if c.p is None else c.p, -sign * miss(c)))
        p = None if decisive.p is None else min(1.0, len(compared) * decisive.p)
    else:
        decisive = max(deciding, key=lambda c: (1.0 if c.p is None else c.p, sign * miss(c)))
        p = decisive.p
    return Judged(verdict, tuple(compared), decisive, assertion, p)


def _conjunction(parts: Sequence[Judged]) -> Judged:
    """Return the verdict on all of these together, which is that of the one that decides."""
    compared = tuple(comparison for part in parts for comparison in part.compared)
    for verdict in ("fails", UNTESTED, UNPRINTED, "undecided", "holds"):
        if deciding := [part for part in parts if part.verdict == verdict]:
            choose = min if verdict == "fails" else max
            part = choose(deciding, key=lambda part: 1.0 if part.p is None else part.p)
            return Judged(verdict, compared, part.decisive, part.assertion, part.p, part.reason)
    raise ValueError("a claim has an assertion at least")


# --- words --------------------------------------------------------------------------------------------------------


def _verdict_line(claim: Mapping[str, Any], judged: Judged, holm: float | None, printed: tuple) -> tuple[str, ...]:
    holding = Counter(comparison.verdict for comparison in judged.compared)["holds"]
    cells, planned = _cells(judged)
    decisive = judged.decisive
    return (
        claim["id"],
        judged.verdict,
        "—" if decisive is None else _estimate(decisive.difference, judged.assertion),
        "—" if judged.assertion is None else _threshold(judged.assertion),
        _p(judged.p),
        _p(holm),
        "—" if decisive is None or decisive.difference is None else str(decisive.difference.n),
        f"{holding} of {len(judged.compared)}" if judged.compared else "—",
        f"{cells} of {planned}" if planned else "—",
        _own_numbers(*printed),
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
        "Comparisons are made seed by seed (cells of one seed share their head, batches and random sets), intervals are "
        "Student's over n seeds. Accuracies are compared in points, costs as ratios. Estimate and p are those of the "
        "comparison that decides; where it was picked out of several, p is multiplied by their number. Holm: p adjusted "
        "for all claims with a p. Cells: measured of planned, seeds counted."
    )
    yield (
        "The paper's own numbers: the same assertions asked of the printed means, taken as they are: a tie is not "
        "above. “within its errors”: with the printed standard errors (3 repetitions, Welch's interval) the same "
        "assertion is undecided."
    )
    if plan["stand_ins"]:
        said = [f"{mine} for {name}" for names in plan["stand_ins"].values() for name, mine in names.items()]
        yield f"These are not the paper's data. Here stands {', '.join(said)}."
