"""What each claim compares: assertions resolved into cells of this study, and names that nothing answers to.

``plan`` is what the table of claims is told; ``resolve`` finds the comparisons of an assertion among any numbers that
are named in the paper's terms, those of the study as well as those that the paper prints.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise, product
from typing import Any

from vecaf.config.claims import KEYS, Assertion, Claim, Conditions
from vecaf.errors import ConfigError, listed
from vecaf.reporting import paper
from vecaf.reporting.layout import KEYS as CELL
from vecaf.study import Study

# What belongs to a method or a dataset and may differ with it.
_FREED = {"method": ("encoder", "ods", "cea"), "dataset": ("backbone",)}

Place = Mapping[str, Any]  # what names a number, as far as it is stated: any of ``KEYS``


# --- finding comparisons ------------------------------------------------------------------------------------------


def resolve(assertion: Assertion, places: Sequence[Place]) -> list[dict[str, Any]]:
    """Return the comparisons of an assertion among numbers, each as plain JSON.

    places: what names each number. A comparison has ``of`` and, as the assertion says, ``minus`` or ``over``: [position
    among the places, metric or None]; ``before``: the same of the step before, where the assertion runs along a key;
    ``rival``: which of several it is compared with; and ``label``. Raises ConfigError when a side fits several numbers.
    """
    if assertion.along is None:
        found = [quantity for _, quantity in _quantities(assertion, {}, places)]
    else:
        ((key, levels),) = assertion.along.items()
        found = list(_steps(assertion, key, levels, places))
    return [{**comparison, "label": text} for comparison, text in zip(found, _labels(found, places), strict=True)]


def missing(assertion: Assertion, found: Sequence[Mapping[str, Any]], places: Sequence[Place]) -> list[str]:
    """Return what an assertion names one by one and none of its comparisons has."""
    absent = []
    for side in (assertion.where, assertion.of):
        for key, value in side.given().items():
            seen = {places[comparison["of"][0]].get(key) for comparison in found}
            absent += [one for one in value if one not in seen] if isinstance(value, list) else []
    if assertion.along is not None:
        ((_, levels),) = assertion.along.items()
        seen = {level for comparison in found for level in comparison["steps"][1:]}
        absent += [level for level in levels if level not in seen]
    seen = {comparison["rival"] for comparison in found}
    return absent + [name for rival in _rivals(assertion) if (name := _said(rival)) not in seen]


def _steps(assertion: Assertion, key: str, levels: Sequence[str], places: Sequence[Place]) -> Iterator[dict[str, Any]]:
    """Yield for every place the quantity at each level minus that at the level before, of those that exist there."""
    free = {key, *_FREED.get(key, ())}
    at: dict[tuple, dict[str, dict]] = {}
    for level in dict.fromkeys(levels):
        for place, quantity in _quantities(assertion, {key: level}, places):
            same = tuple((name, place[name]) for name in KEYS if name in place and name not in free)
            if level in at.setdefault((*same, quantity["rival"]), {}):
                raise ConfigError(f"{key} {level} fits several numbers at {_said(dict(same))}; name more of the key")
            at[*same, quantity["rival"]][level] = quantity
    for found in at.values():
        for before, after in pairwise(level for level in levels if level in found):
            yield {**found[after], "before": found[before], "steps": [key, before, after]}


def _quantities(assertion: Assertion, more: Mapping[str, Any], places: Sequence[Place]) -> Iterator[tuple[Place, dict]]:
    """Yield (place, quantity) of every number that ``of`` means, with each of its rivals that stands beside it."""
    where, of = assertion.where.given(), assertion.of.given()
    kind = "minus" if assertion.minus is not None else "over" if assertion.over is not None else None
    for position, place in enumerate(places):
        if not _fits(place, {**where, **of, **more}):
            continue
        quantity = {"of": [position, of.get("metric", where.get("metric"))], "rival": ""}
        if kind is None:
            yield place, quantity
            continue
        for rival in _rivals(assertion):
            named = {*of, *rival}
            free = named.union(*(_FREED.get(key, ()) for key in named))
            beside = [
                other
                for other, candidate in enumerate(places)
                if _fits(candidate, {**where, **rival, **more}) and _agree(place, candidate, free)
            ]
            if len(beside) > 1:
                sides = "; ".join(_said(places[other]) for other in beside)
                raise ConfigError(f"{kind} {_said(rival)} fits several numbers: {sides}; name more of the key")
            if beside:
                metric = rival.get("metric", where.get("metric"))
                yield place, {**quantity, kind: [beside[0], metric], "rival": _said(rival)}


def _rivals(assertion: Assertion) -> list[dict[str, Any]]:
    """Return the conditions of the other side, one for each combination of what it lists."""
    side = assertion.minus or assertion.over
    if side is None:
        return []
    given = side.given()
    lists = [value if isinstance(value, list) else [value] for value in given.values()]
    return [dict(zip(given, values, strict=True)) for values in product(*lists)]


def _fits(place: Place, conditions: Mapping[str, Any]) -> bool:
    """Say whether a number contradicts no condition: what it does not state is not asked for."""
    return all(
        key not in place or (place[key] in value if isinstance(value, list) else place[key] == value)
        for key, value in conditions.items()
        if key != "metric"
    )


def _agree(place: Place, other: Place, free: Iterable[str]) -> bool:
    return all(place[key] == other[key] for key in KEYS if key in place and key in other and key not in free)


def _said(keys: Mapping[str, Any]) -> str:
    """Return conditions in words: values alone where they speak for themselves."""
    flags = {"ods": ("no ODS", "ODS"), "cea": ("no CEA", "CEA")}
    return " ".join(flags[key][value] if key in flags else str(value) for key, value in keys.items())


def _labels(found: Sequence[Mapping[str, Any]], places: Sequence[Place]) -> list[str]:
    """Return in words what each comparison compares and, as far as they differ in it, where."""
    at = [places[comparison["of"][0]] for comparison in found]
    vary = [key for key in KEYS if len({place.get(key) for place in at}) > 1]
    vary = [key for key in KEYS if key in vary or key in ("dataset", "ratio")]
    return [_label(comparison, places, vary) for comparison in found]


def _label(comparison: Mapping[str, Any], places: Sequence[Place], vary: Sequence[str]) -> str:
    position, metric = comparison["of"]
    place, what, shown = places[position], "", list(vary)
    for kind, sign in (("minus", "−"), ("over", "/")):
        if kind in comparison:
            (other, other_metric), free = comparison[kind], {"encoder", "ods", "cea"}
            keys = [key for key in KEYS if place.get(key) != places[other].get(key)]
            keys = [key for key in keys if "method" not in keys or key not in free]
            left = _said({key: place[key] for key in keys if key in place}) or str(metric)
            right = _said({key: places[other][key] for key in keys if key in places[other]}) or str(other_metric)
            what, shown = f"{left} {sign} {right}, ", [key for key in shown if key not in keys and key not in free]
    if "before" not in comparison:
        return what + _said({key: place[key] for key in shown if key in place})
    key, start, end = comparison["steps"]
    rest = _said({name: place[name] for name in shown if name in place and name != key})
    return f"{what}{start} → {end}, {rest}".removesuffix(", ")


# --- the study's numbers in the paper's terms ---------------------------------------------------------------------


@cache
def places(study: Study, exhibit: str) -> list[dict[str, Any]]:
    """Return every number of a table of this study: ``keys`` as the paper names it, its ``cell``, its ``column``.

    cell: the values of ``layout.KEYS``; column: of the tidy rows. Cells that the paper leaves out are none.
    """
    shown = dict.fromkeys(tuple(getattr(cell, key) for key in CELL) for cell in study.involved(exhibit))
    cells = [dict(zip(CELL, cell, strict=True)) for cell in shown]
    module = importlib.import_module(f"vecaf.reporting.{exhibit}")
    if not hasattr(module, "layout_of"):
        return [_place(cell, cell, "top1") for cell in cells]
    layout, found = module.layout_of(study.layout(exhibit)), []
    for row, line in enumerate(layout.rows):
        for number, column in enumerate(layout.columns):
            wanted = layout.key(line, column).items()
            for cell in (cell for cell in cells if wanted <= cell.items()):
                place = _place(layout.printed_key(row, number, cell), cell, layout.shown(number))
                found += [place] * (place not in found)  # a row with a ratio of its own stands in several columns
    return found


def _place(keys: Mapping[str, Any], cell: Mapping[str, str], column: str) -> dict[str, Any]:
    stated = {key: keys[key] for key in KEYS if keys.get(key) is not None}
    return {"keys": stated, "cell": list(cell.values()), "column": column}


def on_this_study(study: Study, assertion: Assertion) -> Assertion:
    """Return an assertion with this study's stand-ins in the place of the paper's names."""
    stand_ins = study.config.claims.stand_ins

    def other(key: str, value: Any) -> Any:
        names = stand_ins.get(key, {})
        return [names.get(name, name) for name in value] if isinstance(value, list) else names.get(value, value)

    def conditions(part: Conditions | None) -> Conditions | None:
        return None if part is None else Conditions(**{key: other(key, value) for key, value in part.given().items()})

    changes: dict[str, Any] = {name: conditions(getattr(assertion, name)) for name in ("where", "of", "minus", "over")}
    if assertion.along is not None:
        changes["along"] = {key: list(dict.fromkeys(other(key, levels))) for key, levels in assertion.along.items()}
    return assertion.model_copy(update=changes)


# --- what the table of claims is told -----------------------------------------------------------------------------


def exhibits(study: Study, tables: Collection[str]) -> list[str]:
    """Return the exhibits of this study whose metrics the claims read; tables: those that a module draws."""
    named = (assertion.exhibit for _, assertion in _assertions(study) if assertion.measure is None)
    return [name for name in dict.fromkeys(named) if name in tables and name in study.exhibits("table")]


def plan(study: Study, tables: Collection[str]) -> dict[str, Any]:
    """Return all claims and the numbers that they speak of, as plain JSON; raises ConfigError with all ``problems``.

    tables: exhibits that a module draws. claims: of each id, statement, where, kind, note and holds_if, pairs
    of an assertion as it is written and as it is asked of this study. places: exhibit → ``places``. lacking: exhibit or
    measure → why it has no numbers. measures: name → file. stand_ins: as configured.
    """
    if found := problems(study, tables):
        raise ConfigError(listed(found, "the claims"))
    sentences = {line["id"]: line for line in paper.statements().to_dict("records")}
    made, readable = [], exhibits(study, tables)
    for name, claim in _claims(study):
        known = sentences.get(name, {})
        made.append(
            {
                "id": name,
                "statement": claim.statement or known["statement"],
                "where": known.get("where", ""),
                "kind": known.get("kind", "of this study"),
                "note": claim.note or "",
                "holds_if": [[_plain(a), _plain(on_this_study(study, a))] for a in claim.holds_if],
            }
        )
    claims = study.config.claims
    lacking = {name: f"{measure.lacking} ({measure.file})" for name, measure in claims.measures.items()}
    for _, assertion in _assertions(study):
        if assertion.measure is None and assertion.exhibit not in readable:
            name = assertion.exhibit
            undrawn = f"no module vecaf/reporting/{name}.py draws it"
            lacking[name] = undrawn if name in study.exhibits() else f"this study shows no {name}"
    return {
        "claims": made,
        "places": {name: places(study, name) for name in readable},
        "lacking": lacking,
        "measures": {name: f"{study.config.root}/{measure.file}" for name, measure in claims.measures.items()},
        "stand_ins": claims.stand_ins,
    }


def _plain(assertion: Assertion) -> dict[str, Any]:
    return assertion.model_dump(exclude_none=True, exclude_defaults=True)


def _claims(study: Study) -> list[tuple[str, Claim]]:
    return [(name, claim) for name, claim in study.config.claims.statements.items() if claim is not None]


def _assertions(study: Study) -> Iterator[tuple[str, Assertion]]:
    """Yield every assertion with its key in the configuration."""
    for name, claim in _claims(study):
        for number, assertion in enumerate(claim.holds_if):
            yield f"claims.statements.{name}.holds_if.{number}", assertion


# --- what cannot be meant -----------------------------------------------------------------------------------------


def problems(study: Study, tables: Collection[str]) -> list[str]:
    """Return what the claims name and nothing has: exhibits, measures, methods, cells; each with its key.

    A claim may speak of what this study does not show, as long as the paper prints it. So a number is missed only if
    every one of its names stands in the exhibit, but nowhere together.
    """
    sentences, known, readable = set(paper.statements()["id"]), _names(study), exhibits(study, tables)
    found = [
        f"claims.statements.{name}: no sentence of the paper has this name; give it a `statement`"
        for name, claim in _claims(study)
        if claim.statement is None and name not in sentences
    ]
    found += [
        f"claims.stand_ins.{key}.{name}: {mine!r} is not one of {', '.join(known[key])}"
        for key, names in study.config.claims.stand_ins.items()
        for name, mine in names.items()
        if key in known and mine not in known[key]
    ]
    for key, assertion in _assertions(study):
        shows = assertion.measure is None and assertion.exhibit in readable
        found += _unknown(study, key, assertion, known) or _unfitting(study, key, assertion, shows)
    return found


def _names(study: Study) -> dict[str, list[str]]:
    """Return every value that a key of conditions can have, in this study or in the paper; none for ratios."""
    config, printed = study.config, paper.reported()
    families = [method.removesuffix(f"_{domain}") for method in config.methods for domain in config.prompts]
    targets = (study.trained_objective(method) for method in config.methods)
    mine = {
        "dataset": config.datasets,
        "backbone": config.backbones,
        "method": [*config.methods, *families],
        "encoder": config.encoders,
        "schedule": config.schedules,
        "domain": config.ood.corruptions,
        "target_class": [target["one_vs_all"] for target in targets if isinstance(target, dict)],
    }
    return {key: sorted({*names, *printed[key].dropna()}) for key, names in mine.items()}


def _unknown(study: Study, key: str, assertion: Assertion, known: Mapping[str, Sequence[str]]) -> list[str]:
    found = []
    if assertion.measure is not None and assertion.measure not in (measures := study.config.claims.measures):
        found.append(f"{key}.measure: {assertion.measure!r} is not one of {', '.join(measures) or 'none defined'}")
    exhibits = {*study.config.exhibits, *paper.reported()["exhibit"]}
    if assertion.exhibit is not None and assertion.exhibit not in exhibits:
        found.append(f"{key}.exhibit: {assertion.exhibit!r} is not one of {', '.join(sorted(exhibits))}")
    sides = {name: part.given() for name in _TERMS if (part := getattr(assertion, name)) is not None}
    for name, conditions in {**sides, "along": assertion.along or {}}.items():
        for condition, value in conditions.items():
            values = value if isinstance(value, list) else [value]
            for one in values if condition in known else ():
                if one not in known[condition]:
                    allowed = ", ".join(known[condition])
                    found.append(f"{key}.{name}.{condition}: {one!r} is not one of {allowed}")
    return found


_TERMS = ("where", "of", "minus", "over")


def _unfitting(study: Study, key: str, assertion: Assertion, shows: bool) -> list[str]:
    """Return why an assertion has no number to speak of, or several in one place; shows: this study has its exhibit."""
    mine = on_this_study(study, assertion)
    try:
        if shows and resolve(mine, [place["keys"] for place in places(study, assertion.exhibit)]):
            return []
        printed = [keys for keys, _ in paper.numbers(assertion.exhibit)] if assertion.exhibit is not None else []
        if resolve(assertion, printed):
            return []
    except ConfigError as error:
        return [f"{key}: {error}"]
    for name in _TERMS[1:]:
        side = getattr(assertion, name)
        asked = {**assertion.where.given(), **(side.given() if side is not None else {})}
        asked.pop("metric", None)
        alone = all(any(one in place and _fits(place, {one: asked[one]}) for place in printed) for one in asked)
        if asked and printed and alone and not any(_fits(place, asked) for place in printed):
            return [f"{key}.{name}: {assertion.exhibit} has no number of {_said(asked)}, in the paper or in this study"]
    return []
