"""A card for every selector, made from its class: ``python -m vecaf.selection.cards > docs/methods.md``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from vecaf import selection
from vecaf.selection import Selector

HEAD = """# Methods

A card for every selector of `vecaf/selection/`. This page is made from the classes themselves, and a test keeps it
so: `python -m vecaf.selection.cards > docs/methods.md`. Parameters stand in `config.yaml` under the selector's name:

```yaml
methods:
  learning_loss_wide:
    extends: learning_loss
    title: LearnLoss, sub-pool of 20 K
    learning_loss: {subpool: 20.0}
```

How to add a selector is in [adding-a-method.md](adding-a-method.md); what the choices of ODS mean, in
[readings.md](readings.md).
"""


def page() -> str:
    """Return docs/methods.md."""
    return "\n".join([HEAD, *(card(selection.get(name)) for name in selection.names())])


def card(selector: type[Selector]) -> str:
    """Return the Markdown card of one selector: title, citation, idea, needs, parameters and their defaults."""
    idea = " ".join((sys.modules[selector.__module__].__doc__ or "").split())
    lines = [f"## {selector.title} (`{selector.name}`)", "", textwrap.fill(idea, 120, break_on_hyphens=False), ""]
    lines += [f"- source: {selector.citation or 'none, a control'}", f"- reads: {selector.reads()}"]
    if not selector.cold_start:
        lines.append("- cannot choose in loop 1: a schedule begins with another selector")
    if selector.excludes_labelled:
        lines.append("- never chooses a sample twice: loops · K ≤ N")
    rows = list(_parameters(selector.Params))
    if rows:
        lines += ["", "| parameter | default | allowed | what it is |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, ""])


def _parameters(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _parameters(field.annotation, f"{prefix}{name}.")
            continue
        default = "none" if field.default is None else str(field.default).lower()
        yield f"`{prefix}{name}`", default, _allowed(field), (field.description or "").replace("|", "\\|")


def _allowed(field: Any) -> str:
    """Return the values or the range of a parameter in words."""
    values = [value for value in get_args(field.annotation) if isinstance(value, str | int)]
    if values:
        return ", ".join(map(str, values))
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [
        f"{sign} {getattr(item, name):g}"
        for item in field.metadata
        for name, sign in signs.items()
        if getattr(item, name, None) is not None
    ]
    kinds = get_args(field.annotation) or (field.annotation,)
    kind = next(kind for kind in kinds if kind is not type(None))
    noun = {bool: "true, false", int: "whole number", float: "number"}.get(kind, kind.__name__)
    return " ".join([noun, ", ".join(limits)]).strip() + (" or none" if type(None) in kinds else "")


if __name__ == "__main__":
    print(page(), end="")
