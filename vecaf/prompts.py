"""What exhibits of first selections are told: their cells and prompts, and which method each one varies."""

from __future__ import annotations

from typing import Any

from vecaf import seeds
from vecaf.artifacts import digest
from vecaf.grid import Cell, Grid
from vecaf.study import Study

DRAWN, SIDE = 8, 64  # images of each method that are kept to be shown, and their side in pixels


def exhibits(study: Grid) -> list[str]:
    """Return the exhibits that show loop-1 selections on what the pretrained backbone sees."""
    specs = study.config.exhibits
    return [name for name in study.exhibits() if specs[name].selections_only and specs[name].weights_of is None]


def places(study: Grid, exhibit: str) -> dict[str, list[Cell]]:
    """Return dataset → the cells of an exhibit there, in the order of the configuration."""
    found: dict[str, list[Cell]] = {}
    for cell in study.involved(exhibit):
        found.setdefault(cell.dataset, []).append(cell)
    return found


def prompts(study: Grid, exhibit: str) -> list[str]:
    """Return the prompts of an exhibit's methods, each once."""
    named = (study.method(method).prompt for method in study.methods_of(exhibit))
    return list(dict.fromkeys(prompt for prompt in named if prompt is not None))


def unprompted(study: Grid, method: str) -> str | None:
    """Return the method that a prompted one would be without its prompt, None for one that has none."""
    base: str | None = method if study.method(method).prompt is not None else None
    while base is not None and study.method(base).prompt is not None:
        base = study.method(base).extends
    return base


def params(study: Study, exhibit: str, dataset: str) -> dict[str, Any]:
    """Return what joining an exhibit's selections on one dataset is told."""
    cells = places(study, exhibit)[dataset]
    names = ("method", "backbone", "ratio", "schedule", "seed")
    told = {
        "dataset": dataset,
        "embedded": study.dataset(dataset).source == "digits",
        "cells": [{name: getattr(cell, name) for name in names} for cell in cells],
        "prompts": prompts(study, exhibit),
        "first": cells[0].seed,
        "drawn": DRAWN,
        "size": SIDE,
        "seed": seeds.derive(seeds.stream("probe", dataset=study.origin(dataset)), "shown"),
    }
    return told | {"digest": digest([told, [study.digest(cell) for cell in cells]])}


def layout(study: Study, exhibit: str) -> dict[str, Any]:
    """Return what the script of such an exhibit is told beside its selections, as plain JSON."""
    spec = study.config.exhibits[exhibit]
    methods = {
        method: {
            "title": study.title(method),
            "prompt": study.method(method).prompt,
            "text": study.config.prompts.get(study.method(method).prompt),
            "unprompted": unprompted(study, method),
        }
        for method in study.methods_of(exhibit)
    }
    datasets = {
        name: {
            "title": study.dataset(name).title,
            "captioner": study.config.captioners[study.dataset(name).captioner].title,
            "encoder": study.config.encoders[study.dataset(name).encoder].title,
        }
        for name in places(study, exhibit)
    }
    told = {"exhibit": exhibit, "title": spec.title, "notes": spec.notes, "config_digest": study.digests[exhibit]}
    return told | {"methods": methods, "datasets": datasets}
