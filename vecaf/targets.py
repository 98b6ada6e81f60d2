"""Why nothing makes a target that somebody typed: a word that is none, or a part of a cell's path that is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from vecaf.config.schema import RATIO, WRITTEN, Config
from vecaf.errors import meant

# The folders of a cell in their order, with the section of the configuration that names them.
_PARTS = (("dataset", "datasets"), ("backbone", "backbones"), ("method", "methods"), ("ratio", ""))
_PARTS += (("schedule", "schedules"), ("seed", ""))
# What a cell's own folder holds; folders of its loops and corruptions lie below it.
_FILES = ("metrics.json", "predictions.parquet", "batches.parquet", "curve.parquet", "weights.safetensors")
_FILES += ("optimizer.safetensors", "finetune.json")


def mistakes(config: Config) -> str:
    """Return the pattern of what ``mistaken`` has a sentence for: words, and paths of cells that no rule makes.

    It fits no path that a study of this configuration reads or writes, whatever lies there already.
    """
    named = [getattr(config, section) if section else () for _, section in _PARTS]
    parts = ["|".join(map(re.escape, names)) or "(?!)" for names in named]
    parts[3], parts[5] = RATIO[1:-1], "seed[0-9]+"
    files = "|".join(map(re.escape, _FILES))
    cell = "/".join(f"(?:{part})" for part in parts) + f"/(?:(?:{files})$|loop|ood/)"
    own = f"{re.escape(config.root)}/(?:(?!cells/)|cells/{cell})"
    return rf"[a-z][a-z0-9_]*|(?!{own}).+/cells/.*"


def mistaken(target: str, names: Collection[str], config: Config) -> str:
    """Return what is wrong with a target that fits ``mistakes``, as a sentence.

    names: of the targets that are no files.
    """
    if "/" not in target:
        return f"there is no target {target!r}{meant(target, names)}"
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
    for (kind, section), value in zip(_PARTS, parts, strict=False):
        if kind == "ratio":
            if not re.match(RATIO, value):
                yield f"ratio {value!r} is written {WRITTEN[RATIO]}"
        elif kind == "seed":
            if not re.match(r"^seed[0-9]+$", value):
                yield f"seed {value!r} is written seed0"
        elif value not in (known := list(getattr(config, section))):
            yield f"there is no {kind} {value!r}" + (meant(value, known) or f"; there are {', '.join(known)}")
    if len(parts) == len(_PARTS) + 1 and parts[-1] not in _FILES:
        yield f"a cell has no file {parts[-1]!r}" + (meant(parts[-1], _FILES) or f"; it has {', '.join(_FILES)}")
