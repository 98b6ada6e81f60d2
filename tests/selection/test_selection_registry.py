"""The registry: found by listing the package, and free of torch, since the Snakefile imports it."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

from vecaf import selection
from vecaf.errors import SelectionError

HEAVY = ("torch", "torchvision", "timm", "transformers", "pandas", "scipy", "sklearn")


def test_importing_selection_and_augmentation_loads_nothing_heavy():
    code = f"import sys, vecaf.selection, vecaf.augmentation; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_module_of_the_package_is_a_selector_or_shared():
    modules = {module.name for module in pkgutil.iter_modules(selection.__path__)}
    assert modules - selection.SHARED == set(selection.names())


def test_a_new_method_costs_one_file(tmp_path, monkeypatch):
    """A module put beside the others is found without a line elsewhere."""
    import shutil
    from pathlib import Path

    import vecaf

    copy = tmp_path / "vecaf"
    source = Path(vecaf.__file__).parent
    shutil.copytree(source / "selection", copy / "selection", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "errors.py", "seeds.py"):
        shutil.copy(source / name, copy / name)
    (copy / "selection" / "last.py").write_text(
        '''"""The K highest ids."""
from vecaf.selection.base import Selector, register


@register("last")
class Last(Selector):
    title = "Last"

    def select(self, inputs, k, seeds):
        return sorted(inputs.ids)[-k:], {}
'''
    )
    code = (
        "import numpy as np; from vecaf import selection; "
        "pool = selection.Inputs(np.arange(9), np.zeros(9, int)); "
        "print(selection.choose(selection.build('last'), pool, 2, {})[0].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[7, 8]"


def test_names_that_are_unknown_or_taken():
    with pytest.raises(SelectionError, match=r"'adam' is not one of activeft, .*top_k_loss"):
        selection.get("adam")
    assert not selection.implemented("adam")
    with pytest.raises(ValueError, match="two selectors"):
        selection.register("random")(type("Other", (selection.Selector,), {}))


def test_wrong_parameters_are_listed_together():
    with pytest.raises(SelectionError, match=r"iterations: .*; colour: "):
        selection.build("activeft", {"iterations": 0, "colour": "red"})
