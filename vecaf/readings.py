"""What each method of an exhibit chooses differently from the method that it varies: readings, as a table shows them.

A *contrast* is one method on one dataset of an exhibit, the ``base`` that it varies, the choices that differ, and the
active baseline (``reference``) that makes the same choices wherever they are its own, too.
"""

from __future__ import annotations

from typing import Any

from vecaf.grid import NO_PROMPT, Cell
from vecaf.study import Study

# Choices that only selection and augmentation of one method make; all others the baseline has to share.
_OWN = ("selector", "captioner", "encoder", "prompt")
_DEFAULT = "default"
# Exhibits that show what one choice changes.
CONTRASTED = ("readings", "tuning", "deviations", "specification_curve")


def layout(study: Study, exhibit: str) -> dict[str, Any]:
    """Return what the script of an exhibit is told beside its rows, as plain JSON."""
    if exhibit not in CONTRASTED:
        return study.layout(exhibit)
    spec = study.config.exhibits[exhibit]
    told = {"exhibit": exhibit, "title": spec.title, "notes": spec.notes, "config_digest": study.digests[exhibit]}
    return told | {"contrasts": contrasts(study, exhibit), "choices": defaults(study, exhibit)}


def choices(study: Study, cell: Cell) -> dict[str, Any]:
    """Return everything that a cell chooses, reading → value: the readings of tables, and what is set elsewhere."""
    spec, dataset = study.method(cell.method), study.dataset(cell.dataset)
    found = {"selector": spec.selector, **study.readings(cell.method, cell.schedule, cell.dataset)}
    if isinstance(objective := found.pop("objective"), dict):
        found |= {f"objective.{key}": value for key, value in objective.items()}
    if spec.cea is not None:
        found["captioner"] = study.captioner(cell.dataset, cell.method)
        found["encoder"] = study.encoder(cell.dataset, cell.method)
        found["prompt"] = study.prompt(cell.method)
    training = study.training(cell.dataset, cell.method)
    found["loop.optimizer_state"] = training["optimizer_state"]
    found["budget"] = spec.budget
    found["recipe"] = training["recipe"]
    found |= {f"recipe.{key}": value for key, value in training["overrides"].items()}
    found["precision"] = training["precision"]
    found |= {
        key: getattr(dataset, key) for key in ("batches", "input_size", "eval_transform", "split_rule", "mislabelled")
    }
    if spec.head is not None:
        found["head"] = spec.head
    return found


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """Return reading → [value before, value after] where they differ; a part that one of them lacks is one change."""
    if before["selector"] != after["selector"]:
        return {"selector": [before["selector"], after["selector"]]}
    if ("captioner" in before) != ("captioner" in after):
        has = ["on" if "captioner" in side else "none" for side in (before, after)]
        drop = ("captioner", "encoder", "prompt")
        left, right = (
            {key: value for key, value in side.items() if key not in drop and not key.startswith("cea.")}
            for side in (before, after)
        )
        return {"cea": has} | changes(left, right)
    keys = dict.fromkeys([*before, *after])
    absent = {"prompt": NO_PROMPT}
    return {
        key: [before.get(key, absent.get(key, _DEFAULT)), after.get(key, absent.get(key, _DEFAULT))]
        for key in keys
        if before.get(key, absent.get(key, _DEFAULT)) != after.get(key, absent.get(key, _DEFAULT))
    }


def contrasts(study: Study, exhibit: str) -> list[dict[str, Any]]:
    """Return the contrasts of an exhibit in the order of the configuration, as plain JSON.

    Each has dataset, backbone, ratio, schedule and method of its cells; title; target: its one-versus-all class, or
    None; base: [dataset, method], itself where it varies nothing that is shown; changes: reading → [of the base, its
    own]; reference: the method that it is measured against, or None; and root: the first method it goes back to.
    """
    shown = {_without_seed(cell): cell for cell in study.shown(exhibit)}
    found = []
    for cell in shown.values():
        base = _base(study, cell, shown)
        found.append(
            {
                "dataset": cell.dataset,
                "backbone": cell.backbone,
                "ratio": cell.ratio,
                "schedule": cell.schedule,
                "method": cell.method,
                "title": study.title(cell.method),
                "dataset_title": study.dataset(cell.dataset).title,
                "target": _target(study, cell),
                "root": _ancestors(study, cell.method)[-1],
                "base": [base.dataset, base.method],
                "changes": changes(choices(study, base), choices(study, cell)),
                "reference": _reference(study, cell, shown),
            }
        )
    return found


def defaults(study: Study, exhibit: str) -> dict[str, Any]:
    """Return what the defaults choose, reading → value: VeCAF in an exhibit, then what only others of the study do."""
    shown = {_without_seed(cell): cell for cell in (*study.shown(exhibit), *study.involved())}
    found: dict[str, Any] = {}
    for cell in sorted(shown.values(), key=lambda cell: cell.method != "vecaf"):
        if _base(study, cell, shown) == cell:
            found |= {key: value for key, value in choices(study, cell).items() if found.get(key) is None}
    return found


def _without_seed(cell: Cell) -> tuple:
    return cell.dataset, cell.backbone, cell.method, cell.ratio, cell.schedule


def _target(study: Study, cell: Cell) -> str | None:
    objective = study.method(cell.method).objective
    return None if isinstance(objective, str) else objective.one_vs_all


def _ancestors(study: Study, method: str) -> list[str]:
    """Return a method and those that it extends, in that order."""
    chain = [method]
    while (base := study.method(chain[-1]).extends) is not None:
        chain.append(base)
    return chain


def _base(study: Study, cell: Cell, shown: dict[tuple, Cell]) -> Cell:
    """Return the cell that one varies: the farthest ancestor that is shown and judges the same, on the same data.

    A variant of a dataset that is shown with the same method varies that one instead.
    """
    origin = study.origin(cell.dataset)
    elsewhere = shown.get((origin, cell.backbone, cell.method, cell.ratio, cell.schedule))
    if origin != cell.dataset and elsewhere is not None:
        return elsewhere
    for method in reversed(_ancestors(study, cell.method)):
        key = (cell.dataset, cell.backbone, method, cell.ratio, cell.schedule)
        if key in shown and _target(study, shown[key]) == _target(study, cell):
            return shown[key]
    return cell


def _reference(study: Study, cell: Cell, shown: dict[tuple, Cell]) -> str | None:
    """Return the ActiveFT that makes the same choices outside selection and augmentation; the plain one of several."""
    if study.method(cell.method).selector == "activeft":
        return None
    shared = _shared(study, cell)
    fitting = [
        other.method
        for other in shown.values()
        if (other.dataset, other.backbone, other.ratio, other.schedule)
        == (cell.dataset, cell.backbone, cell.ratio, cell.schedule)
        and study.method(other.method).selector == "activeft"
        and study.method(other.method).cea is None
        and _shared(study, other) == shared
    ]
    return min(fitting, key=lambda method: len(_ancestors(study, method)), default=None)


def _shared(study: Study, cell: Cell) -> dict[str, Any]:
    own = (f"{study.method(cell.method).selector}.", "cea.")
    shared = {key: value for key, value in choices(study, cell).items() if key not in _OWN and not key.startswith(own)}
    return shared | {"head": study.head(cell.dataset, cell.method, cell.schedule)}
