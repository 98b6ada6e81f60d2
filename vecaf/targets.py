"""Why nothing makes a target that somebody typed: a word that names none, or a part of a cell's path that is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields

from vecaf.config.schema import RATIO, WRITTEN, Config
from vecaf.errors import meant
from vecaf.grid import Cell

# What a part of a cell's path is: one of the names in a section of the configuration, or written in a certain way.
_NAMED = {"dataset": "datasets", "backbone": "backbones", "method": "methods", "schedule": "schedules"}
_WRITTEN = {"ratio": (RATIO, WRITTEN[RATIO]), "seed": ("^seed[0-9]+$", "seed0")}
_PARTS = tuple(field.name for field in fields(Cell))
# What a cell's own folder holds; folders of its loops and corruptions lie below it.
_FILES = ("metrics.json", "predictions.parquet", "batches.parquet", "curve.parquet", "weights.safetensors")
_FILES += ("optimizer.safetensors", "finetune.json")


def mistakes(config: Config) -> str:
    """Return the pattern of what ``mistaken`` has a sentence for: words, and paths of cells that no rule makes.

    It fits no path that a study of this configuration reads or writes, whatever lies there already.
    """
    parts = [_WRITTEN[kind][0][1:-1] if kind in _WRITTEN else _any_of(_names(kind, config)) for kind in _PARTS]
    cell = "/".join(f"(?:{part})" for part in parts) + f"/(?:(?:{_any_of(_FILES)})$|loop|ood/)"
    own = f"{re.escape(config.root)}/(?:(?!cells/)|cells/{cell})"
    return rf"[a-z][a-z0-9_]*|(?!{own}).+/cells/.*"


def _names(kind: str, config: Config) -> list[str]:
    return list(getattr(config, _NAMED[kind]))


def _any_of(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, names)) or "(?!)"


def mistaken(target: str, names: Collection[str], config: Config) -> str:
    """Return what is wrong with a target that fits ``mistakes``, as a sentence.

    names: of the targets that are no files.
    """
    if "/" not in target:
        shown = ", ".join(name for name, exhibit in config.exhibits.items() if exhibit is not None)
        return f"there is no target {target!r}" + (meant(target, names) or f"; this configuration shows {shown}")
    before, _, path = target.partition("/cells/")
    if before != config.root:
        return (
            f"{target}: cells of this configuration lie below {config.root}/cells/; name the study of {before}/ by "
            "--profile or --configfile"
        )
    return f"{target}: {'; '.join(_in_path(path.split('/'), config))}"


def _in_path(parts: list[str], config: Config) -> Iterator[str]:
    if len(parts) <= len(_PARTS):
        yield f"a cell is dataset/backbone/method/ratio/schedule/seedN, and its target {_FILES[0]} in that folder"
        return
    for kind, value in zip(_PARTS, parts, strict=False):
        if kind in _WRITTEN:
            pattern, example = _WRITTEN[kind]
            if not re.match(pattern, value):
                yield f"{kind} {value!r} is written {example}"
        elif value not in (known := _names(kind, config)):
            yield f"there is no {kind} {value!r}" + (meant(value, known) or f"; there are {', '.join(known)}")
    if len(parts) == len(_PARTS) + 1 and parts[-1] not in _FILES:
        yield f"a cell has no file {parts[-1]!r}" + (meant(parts[-1], _FILES) or f"; it has {', '.join(_FILES)}")
