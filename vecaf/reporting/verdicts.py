"""Verdicts on claims: by this study's numbers, seed by seed, and by the means that the paper prints."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from vecaf.claims import missing, resolve
from vecaf.config.claims import KEYS, Assertion
from vecaf.errors import ArtifactError
from vecaf.reporting import paper, statistics
from vecaf.reporting.layout import KEYS as CELL
from vecaf.reporting.metrics import SELECTION, VALUES
from vecaf.reporting.statistics import Claim, Difference

UNTESTED, UNPRINTED = "not yet testable", "not printed"
VERDICTS = ("holds", "fails", "undecided", UNTESTED)


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


# --- this study's numbers -----------------------------------------------------------------------------------------


class Numbers:
    """Numbers of one exhibit or measure: of each place, seed → value in the unit of the paper."""

    def __init__(self, rows: pd.DataFrame, places: Sequence[Mapping[str, Any]], by: Sequence[str] = CELL):
        """places: of each its ``keys``, its ``cell`` (the values of the columns ``by``) and the ``column`` it shows."""
        self.keys = [place["keys"] for place in places]
        self._places = places
        self._groups = {key: group for key, group in rows.groupby(list(by), sort=False)}

    @classmethod
    def of_measure(cls, name: str, rows: pd.DataFrame) -> Numbers:
        """Return the numbers of a measure's file.

        Raises ArtifactError when it has no column of a cell's keys, or two rows for one seed of a cell.
        """
        if absent := [column for column in (*CELL, "seed") if column not in rows.columns]:
            raise ArtifactError(f"the file of measure {name} has no column {', '.join(absent)}; see docs/claims.md")
        stated = [key for key in KEYS if key in rows.columns]
        rows = rows.fillna(dict.fromkeys(stated, ""))
        if (twice := rows.duplicated([*stated, "seed"])).any():
            cell = "/".join(str(value) for value in rows.loc[twice, [*stated, "seed"]].iloc[0])
            raise ArtifactError(f"the file of measure {name} has two rows of {cell}; leave one")
        cells = list(rows[stated].drop_duplicates().itertuples(index=False, name=None))
        named = [{key: value for key, value in zip(stated, cell, strict=True) if value != ""} for cell in cells]
        places = [{"keys": keys, "cell": cell, "column": "top1"} for keys, cell in zip(named, cells, strict=True)]
        return cls(rows, places, stated)

    def read(self, position: int, metric: str | None) -> tuple[dict[int, float], set[tuple], set[tuple]]:
        """Return (seed → value, measured cells, planned cells).

        Of an exhibit, what has not run has no value. A measure that a seed leaves empty is censored there (a level
        never reached): then there are no values at all, since the mean of the seeds that got there would flatter, and
        the cells with a number are still told. Shares are given in percent: accuracies of an exhibit, and top-1.
        """
        place = self._places[position]
        cell, column = tuple(place["cell"]), metric or place["column"]
        group = self._groups.get(cell)
        if group is None:
            return {}, set(), set()
        planned = {(*cell, int(seed)) for seed in group["seed"]}
        if column not in group.columns:
            return {}, set(), planned
        of_exhibit = "status" in group.columns
        done = group[group[column].notna()]
        if of_exhibit:
            done = done[done["status"] == "measured"]
        share = column not in SELECTION if of_exhibit else column in VALUES
        values = {
            int(seed): (100 if share else 1) * value for seed, value in zip(done["seed"], done[column], strict=True)
        }
        cells = {(*cell, seed) for seed in values}
        return values if of_exhibit or len(done) == len(group) else {}, cells, planned


def of_study(claim: Mapping[str, Any], sources: Mapping[str, Numbers], lacking: Mapping[str, str]) -> Judged:
    """Return the verdict on a claim: each of its assertions has to hold, and one that fails is enough against it."""
    parts = []
    for _, asked in claim["holds_if"]:
        assertion = Assertion(**asked)
        name = assertion.measure or assertion.exhibit
        parts.append(_measured(assertion, sources[name]) if name in sources else Judged(UNTESTED, reason=lacking[name]))
    return _conjunction(parts)


def _measured(assertion: Assertion, numbers: Numbers) -> Judged:
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
        return Judged(UNTESTED, tuple(compared), reason=_empty(assertion, compared))
    judged = _judged(assertion, compared)
    # What is named and not there could be the one that decides otherwise.
    open_ = "fails" if assertion.across == "any" else "holds"
    if judged.verdict == open_ and (absent := missing(assertion, found, numbers.keys)):
        return replace(judged, verdict="undecided", reason=f"without {', '.join(absent)}")
    return judged


def _empty(assertion: Assertion, compared: Sequence[Compared]) -> str:
    """Return why nothing can be said: nothing has run, or what has is censored."""
    planned = frozenset.union(*(comparison.planned for comparison in compared))
    cells = frozenset.union(*(comparison.cells for comparison in compared))
    if assertion.measure is None or not planned:
        return "none of its cells has this number yet"
    # A measure has rows of finished cells alone; a cell may have one side of a comparison and lack the other.
    lacking = f"{len(planned - cells)} of its {len(planned)}" if planned != cells else "its"
    return (
        f"{lacking} finished cells have no such number: a level that they do not reach within their budget or that is "
        "not looked for, or a step that cannot be counted"
    )


def _by_seed(comparison: Mapping[str, Any], numbers: Numbers) -> tuple[dict[int, float], set[tuple], set[tuple]]:
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


def of_paper(claim: Mapping[str, Any]) -> tuple[Judged, Judged]:
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
    """Return the verdict on all of these together, which is that of the one that decides.

    One that fails was picked out of all for its p, which is multiplied by their number, too; see ``_judged``.
    """
    compared = tuple(comparison for part in parts for comparison in part.compared)
    for verdict in ("fails", UNTESTED, UNPRINTED, "undecided", "holds"):
        if deciding := [part for part in parts if part.verdict == verdict]:
            choose = min if verdict == "fails" else max
            part = choose(deciding, key=lambda part: 1.0 if part.p is None else part.p)
            p = min(1.0, len(parts) * part.p) if verdict == "fails" and part.p is not None else part.p
            return Judged(verdict, compared, part.decisive, part.assertion, p, part.reason)
    raise ValueError("a claim has an assertion at least")
