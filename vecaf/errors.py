"""The one family of errors whose text is meant for the person at the keyboard."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VecafError(Exception):
    """Something a user can mend. The message says what, where and what to do, in one or a few lines."""


class ConfigError(VecafError):
    """One or more problems of the configuration, reported together."""


def not_one_of(value: object, allowed: Iterable[str]) -> str:
    """Return a message that a value is none of the allowed names, with the nearest one as a suggestion."""
    allowed = list(allowed)
    return f"{value!r} is not one of {', '.join(allowed) or 'none defined'}{meant(value, allowed)}"


def meant(value: object, allowed: Iterable[str]) -> str:
    """Return a suggestion of the name nearest to a mistyped one; nothing where none is near."""
    near = difflib.get_close_matches(str(value), list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def listed(problems: Iterable[str], where: str) -> str:
    """Return one text for several problems, each once, on a line of its own."""
    problems = list(dict.fromkeys(problems))
    head = f"{len(problems)} problem{'s' * (len(problems) > 1)} in {where}:"
    return "\n".join([head, *(f"  - {problem}" for problem in problems)])


class DataError(VecafError):
    """An image, label, caption or class that is missing, unreadable or contradictory."""


class ArtifactError(VecafError):
    """A file of the workflow that is absent, half-written, foreign or of the wrong shape."""


class SelectionError(VecafError):
    """A selector was asked for something it cannot do with the inputs it was given."""


class TrainingError(VecafError):
    """Finetuning or scoring cannot go on (a NaN loss, weights that do not fit)."""


def first_line(error: BaseException) -> str:
    """Return the first line of what another library's exception says, its type where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class CountError(VecafError):
    """The multiply-accumulates of a model that cannot be counted reliably."""
