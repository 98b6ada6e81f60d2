"""Imports run one way: rules → scripts → vecaf; selection and augmentation are pure functions of arrays."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "vecaf").rglob("*.py")), ids=lambda path: path.stem)
def test_the_library_knows_neither_scripts_nor_snakemake(path):
    assert not {name for name in imported(path) if name.split(".")[0] in ("scripts", "snakemake", "tests")}


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_scripts_import_no_script_and_know_no_method(path):
    assert not {name for name in imported(path) if name.split(".")[0] in ("scripts", "snakemake")}
    assert "if method ==" not in path.read_text()


@pytest.mark.parametrize("room", ["selection", "augmentation"])
def test_selection_and_augmentation_touch_no_file(room):
    for path in (ROOT / "vecaf" / room).glob("*.py"):
        names = imported(path)
        assert not names & {"pathlib", "os", "json", "vecaf.artifacts"}, path
        assert "open(" not in path.read_text(), path


def test_no_file_is_a_dumping_ground():
    names = {path.stem for path in (ROOT / "vecaf").rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "misc", "common"}
