"""Laying one mapping over another, and entries that start from another entry."""

from __future__ import annotations

import copy
from typing import Any

from vecaf.errors import not_one_of


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return base with changes laid over it, mappings merged key by key and everything else replaced."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def extend(entries: dict[str, Any], section: str, problems: list[str]) -> dict[str, Any]:
    """Resolve ``extends`` among the entries of one section; report unknown bases and circles."""

    def resolve(name: str, chain: tuple[str, ...]) -> dict[str, Any]:
        entry = entries[name]
        base = entry.get("extends") if isinstance(entry, dict) else None
        if base is None:
            return entry
        if base in chain:
            problems.append(f"{section}.{name}.extends: {' → '.join((*chain, base))} is a circle")
            return {key: value for key, value in entry.items() if key != "extends"}
        if not isinstance(base, str) or base not in entries or not isinstance(entries[base], dict):
            problems.append(f"{section}.{name}.extends: {not_one_of(base, entries)}")
            return {key: value for key, value in entry.items() if key != "extends"}
        return merge(resolve(base, (*chain, base)), entry)

    return {name: resolve(name, (name,)) for name in entries}
