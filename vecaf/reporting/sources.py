"""From a step to its code: what a script says of itself, the functions it calls, and those that hold an equation.

Everything is read from the source files, nothing is imported and nothing is written down twice: what the report says of
a function is the function's own docstring.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vecaf.code_digest import FRAME, ROOT, sources

# What frames every script and says nothing of its step.
_FRAME = FRAME | {"vecaf/artifacts.py"}
_EQUATION = re.compile(r"\bequations?\s+\d", re.IGNORECASE)
_DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Function:
    """A function, method or class. name: as it is imported; file: from the root of the project; text: its docstring."""

    name: str
    file: str
    line: int
    text: str

    @property
    def anchor(self) -> str:
        return f"function/{self.name}"

    @property
    def equation(self) -> bool:
        return bool(_EQUATION.search(self.text))


def described(file: str) -> str:
    """Return what a file says of itself: the docstring of its module."""
    return ast.get_docstring(_tree(file)) or ""


def called(script: str) -> list[Function]:
    """Return the documented functions and classes of the library that a script names, in the order of their names."""
    tree, modules, found = _tree(script), {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vecaf":
            for alias in node.names:
                if (file := _file(f"{node.module}.{alias.name}")) is not None:
                    modules[alias.asname or alias.name] = file
                elif (own := _file(node.module)) is not None and own not in _FRAME:
                    found[own, alias.name] = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            file = modules[node.value.id]
            if file not in _FRAME:
                found[file, node.attr] = None
    functions = [one for file, name in found if (one := _defined(file, name)) is not None]
    return sorted(dict.fromkeys(functions), key=lambda function: function.name)


def documented(file: str) -> list[Function]:
    """Return the public classes and functions of a file that have a docstring, in their order, methods too."""
    return [function for function in _functions(file) if not _private(function.name)]


def equations(*entries: str) -> list[Function]:
    """Return what names an equation in its docstring, of all that some files consist of."""
    files = [path.relative_to(ROOT).as_posix() for path in sources(*entries) if path.suffix == ".py"]
    return [function for file in files for function in _functions(file) if function.equation]


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def _file(module: str) -> str | None:
    base = Path(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if (ROOT / path).is_file():
            return path.as_posix()
    return None


def _private(name: str) -> bool:
    return any(part.startswith("_") for part in name.split("."))


@cache
def _functions(file: str) -> tuple[Function, ...]:
    module = ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")
    return tuple(_within(_tree(file), module, file))


def _within(node: ast.AST, name: str, file: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _DEFINITIONS):
            inner = f"{name}.{child.name}"
            if text := ast.get_docstring(child):
                yield Function(inner, file, child.lineno, inspect.cleandoc(text))
            if isinstance(child, ast.ClassDef):
                yield from _within(child, inner, file)


def _defined(file: str, name: str) -> Function | None:
    """Return the function of a name in a file, or where the file has it from; None for what says nothing of itself."""
    for function in _functions(file):
        if function.name.rpartition(".")[2] == name and function.file == file:
            return function
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vecaf":
            for alias in node.names:
                if (alias.asname or alias.name) == name and (origin := _file(node.module)) not in (None, file):
                    return _defined(origin, alias.name)
    return None
