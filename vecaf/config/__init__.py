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
from vecaf.config.schema import Config
from vecaf.errors import ConfigError

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
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += _readable(error)
        # Values that parse are still checked against one another, so that one run shows every mistake.
        config = _salvage(data, error)
    if config is not None:
        problems += list(contradictions(config))
    if problems:
        raise ConfigError(_list(dict.fromkeys(problems)))
    return config


def _list(problems) -> str:
    problems = list(problems)
    head = f"{len(problems)} problem{'s' * (len(problems) > 1)} in the configuration:"
    return "\n".join([head, *(f"  - {problem}" for problem in problems)])


def _readable(error: ValidationError) -> list[str]:
    """Turn pydantic's errors into lines of key, value and what is allowed."""
    lines = []
    for item in error.errors():
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
            hint = "; a value given on the command line arrives as text" if isinstance(item["input"], str) else ""
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


def _salvage(data: dict[str, Any], error: ValidationError) -> Config | None:
    """Return the configuration without its broken leaves, for the checks between values; None if too little is left."""
    left = copy.deepcopy(data)
    for item in error.errors():
        node, path = left, [part for part in item["loc"]]
        for part in path[:-1]:
            if (isinstance(node, dict) and part in node) or (
                isinstance(node, list) and isinstance(part, int) and part < len(node)
            ):
                node = node[part]
            else:
                break  # a union branch of pydantic's, not a key
        if isinstance(node, dict):
            node.pop(path[-1], None)
        elif isinstance(node, list) and isinstance(path[-1], int) and path[-1] < len(node):
            return None
    try:
        return Config.model_validate(left)
    except ValidationError:
        return None


def schema() -> dict[str, Any]:
    """Return the JSON schema for editors; ``config.schema.json`` is this, written by ``python -m vecaf.config``."""
    made = Config.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return made
