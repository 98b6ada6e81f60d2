"""Digests of a step's code, so that editing what a step does reruns it and editing a comment does not.

The code of a step is its script and every module of the project that it imports, directly or not, also inside
functions. Cheap steps carry the digest itself in their parameters. Expensive steps carry a version that people raise
(``python -m vecaf.code_digest raise finetune``); a test compares their digest with the committed lock file and fails
when the code changed and nobody said whether results change (``acknowledge``: they do not).
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What frames a step and never changes its results: editing it must not run a selection again.
FRAME = {
    "vecaf/__init__.py",
    "vecaf/launch.py",
    "vecaf/devices.py",
    "vecaf/checkpoint.py",
    "vecaf/command.py",
    "vecaf/telemetry.py",
    "vecaf/errors.py",
    "vecaf/provenance.py",
    "scripts/__init__.py",
}
LOCK = ROOT / "rules" / "step_versions.json"


def _statements(block: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield every statement of a block and of the blocks inside it: expressions hold neither imports nor docstrings."""
    for node in block:
        yield node
        for inner in ("body", "orelse", "handlers", "finalbody", "cases"):
            yield from _statements(getattr(node, inner, ()))


@cache
def _bare(path: Path) -> ast.Module:
    """Return a file's syntax tree without docstrings; the parser has removed comments and layout."""
    module = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in _statements([module]):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return module


@cache
def _file_digest(path: Path) -> str:
    text = ast.unparse(_bare(path)).encode() if path.suffix == ".py" else path.read_bytes()
    return hashlib.sha256(text).hexdigest()


def _module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _imports(path: Path, root: Path) -> frozenset[Path]:
    """Return the project's own files that one file imports, anywhere in it."""
    found = set()
    for node in _statements([_bare(path)]) if path.suffix == ".py" else ():
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] in ("vecaf", "scripts") and (file := _module_file(name, root)):
                found.add(file)
    return frozenset(found - {path})


def sources(*entries: str, root: Path = ROOT) -> list[Path]:
    """Return the files that the entry files (relative to root) consist of, sorted; raises FileNotFoundError."""
    todo, seen = [root / entry for entry in entries], set()
    while todo:
        path = todo.pop()
        if path not in seen and path.relative_to(root).as_posix() not in FRAME:
            seen.add(path)
            todo += _imports(path, root)
    return sorted(seen)


def code_digest(*entries: str, root: Path = ROOT) -> str:
    """Return 16 hex digits over the executable code of the entry files and all that they import."""
    return _code_digest(entries, root)


@cache
def _code_digest(entries: tuple[str, ...], root: Path) -> str:
    hasher = hashlib.sha256()
    for path in sources(*entries, root=root):
        hasher.update(f"{path.relative_to(root)} {_file_digest(path)}\n".encode())
    return hasher.hexdigest()[:16]


@cache
def step_version(step: str) -> int:
    """Return the version of an expensive step; raises KeyError for a step that the lock file does not name."""
    return json.loads(LOCK.read_text(encoding="utf-8"))[step]["version"]


def drifted() -> list[str]:
    """Return the expensive steps whose code is not the one that the lock file acknowledges."""
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    return [step for step, entry in lock.items() if entry["code"] != code_digest(*entry["entries"])]


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0] not in ("raise", "acknowledge"):
        print(
            "usage: python -m vecaf.code_digest raise STEP…        results change: every cell's step runs again\n"
            "       python -m vecaf.code_digest acknowledge STEP…  results stay: only note the new code",
            file=sys.stderr,
        )
        return 2
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    for step in arguments[1:]:
        if step not in lock:
            print(f"{step!r} is not one of {', '.join(lock)}", file=sys.stderr)
            return 2
        lock[step]["version"] += arguments[0] == "raise"
        lock[step]["code"] = code_digest(*lock[step]["entries"])
        print(f"{step}: version {lock[step]['version']}, code {lock[step]['code']}")
    LOCK.write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
