"""Selectors: which K samples of a labelled pool to finetune on.

A selector is one module of this package that registers one class; the modules are found by listing the package, so a
new method costs one file. They are imported when the Snakefile is parsed and therefore import torch inside ``select``.
"""

from __future__ import annotations

import importlib
import pkgutil

from vecaf.selection.base import Inputs, Logits, Selector, build, choose, get, implemented, names, register

__all__ = ["Inputs", "Logits", "Selector", "build", "choose", "get", "implemented", "names", "register"]

# Modules of the package that are not selectors; these may import torch at their top.
SHARED = {
    *("adversarial", "assignment", "base", "cards", "debiasing"),
    *("diagnostics", "drift", "engine", "objectives", "uncertainty"),
}

for _module in pkgutil.iter_modules(__path__):
    if _module.name not in SHARED:
        importlib.import_module(f"{__name__}.{_module.name}")
