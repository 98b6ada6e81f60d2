"""The study's configuration: one typed schema, all problems reported together, variants as data.

``load`` turns the merged YAML into a ``Config``. Nothing here imports torch: every cluster job parses the Snakefile
twice.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from vecaf.config.checks import contradictions
from vecaf.config.merging import extend
from vecaf.config.schema import WRITTEN, Config
from vecaf.errors import ConfigError, listed, not_one_of

__all__ = ["Config", "load"]


def load(raw: dict[str, Any]) -> Config:
    """Return the validated configuration of a merged YAML mapping.

    Raises ConfigError that lists every problem at once, each with its key, its value and what is allowed.
    """
    problems: list[str] = []
    data = {key: value for key, value in raw.items() if value is not None or key not in Config.model_fields}
    for section in ("datasets", "methods"):
        if isinstance(data.get(section), dict):
            data[section] = extend(data[section], section, problems)
    if isinstance(data.get("shows"), list) and isinstance(data.get("exhibits"), dict):
        data["exhibits"] = _shown(data["shows"], data["exhibits"], problems)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += _readable(_written(error.errors(), raw))
        # Values that parse are still checked against one another, so that one run shows every mistake.
        config = _salvage(data)
    if config is not None:
        problems += [problem for problem in contradictions(config) if _UNNAMED not in problem]
    if problems:
        raise ConfigError(listed(problems, "the configuration"))
    return config


def _shown(names: list[Any], exhibits: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the exhibits that a study shows, and None for the others; report names that none has."""
    problems += [f"shows: {not_one_of(name, exhibits)}" for name in names if name not in list(exhibits)]
    return {name: exhibit if name in names else None for name, exhibit in exhibits.items()}


def _written(errors: list[Any], raw: dict[str, Any]) -> list[Any]:
    """Return the errors without those that came by ``extends``: a mistake is reported once, where it is written."""
    found = {(item["loc"], repr(item["input"])) for item in errors}

    def inherited(item: Any) -> bool:
        section, name, *rest = (*item["loc"], None)[: max(2, len(item["loc"]))]
        entries = raw.get(section) if section in ("datasets", "methods") else None
        entry = entries.get(name) if isinstance(entries, dict) else None
        base = entry.get("extends") if isinstance(entry, dict) else None
        return isinstance(base, str) and ((section, base, *rest), repr(item["input"])) in found

    return [item for item in errors if not inherited(item)]


def _readable(errors: list[Any]) -> list[str]:
    """Turn pydantic's errors into lines of key, value and what is allowed."""
    lines = []
    for item in errors:
        # Union branches appear in pydantic's location as type names; people know keys only.
        key = ".".join(
            str(part) for part in item["loc"] if not re.search(r"[\[\]()]|^(OneVsAll|literal|Exhibit)", str(part))
        )
        value = repr(item["input"])
        value = value if len(value) <= 60 else value[:57] + "…"
        if item["type"] == "extra_forbidden":
            lines.append(
                f"{key}: unknown key (value {value}); known here: {', '.join(_known(item['loc'])) or 'see config.yaml'}"
            )
        elif item["type"] == "missing":
            lines.append(f"{key}: missing, and it has no default")
        else:
            number = item["type"].startswith(("int", "float", "bool")) and isinstance(item["input"], str)
            hint = "; a value given on the command line arrives as text" if number else ""
            if (examples := WRITTEN.get(item.get("ctx", {}).get("pattern"))) is not None:
                hint = f"; write {examples}"
            lines.append(f"{key}: {value} is not allowed ({item['msg']}{hint})")
    return lines


def _known(location: tuple[Any, ...]) -> list[str]:
    """Return the keys allowed where ``location`` points, as far as the models tell."""
    model: Any = Config
    for part in location[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields and part in fields:
            model = fields[part].annotation
        found = _models_in(model)
        if found:
            model = found[0]
    return list(getattr(model, "model_fields", {}))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in _models_in(argument)]


# Stand in for values that are missing or broken while the others are checked against one another.
_STAND_INS: dict[str, Any] = {"batches": 10**9, "width": 1, "seeds": [0], "blocks": [], "datasets": {}, "methods": []}
_UNNAMED = "\0"  # any other stand-in; a problem that mentions it says nothing new


def _salvage(data: dict[str, Any]) -> Config | None:
    """Return the configuration with stand-ins for its broken values, or None if its shape is beyond that."""
    left = copy.deepcopy(data)
    for _ in range(4):  # a broken value first becomes a missing one
        try:
            return Config.model_validate(left)
        except ValidationError as error:
            for item in error.errors():
                _mend(left, item["loc"], item["type"] == "missing")
    return None


def _mend(node: Any, path: tuple[Any, ...], missing: bool) -> None:
    for part in path[:-1]:
        if not isinstance(node, dict | list) or (isinstance(node, dict) and part not in node):
            return  # a union branch of pydantic's, not a key
        node = node[part]
    if isinstance(node, list):
        node[path[-1]] = _UNNAMED if isinstance(node[path[-1]], str) else 1
    elif isinstance(node, dict) and missing:
        node[path[-1]] = _STAND_INS.get(path[-1], _UNNAMED)
    elif isinstance(node, dict):
        node.pop(path[-1], None)


def schema() -> dict[str, Any]:
    """Return the JSON schema for editors; ``config.schema.json`` is this, written by ``python -m vecaf.config``."""
    made = Config.model_json_schema()
    for entry in ("Dataset", "Method"):  # what a variant leaves out it has from the one that it extends
        made["$defs"][entry].pop("required", None)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return made
