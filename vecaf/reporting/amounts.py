"""Amounts of operations and seconds in words: three digits, dashes where there is nothing to say."""

from __future__ import annotations

from collections.abc import Iterable

from vecaf.reporting.statistics import mean, standard_error


def unit(largest: float) -> tuple[float, str]:
    """Return the size of the unit in which the largest of some amounts reads well, and its prefix."""
    return next(((size, prefix) for size, prefix in ((1e15, "P"), (1e12, "T")) if largest >= size), (1e9, "G"))


def amount(value: float | None, missing: str = "—") -> str:
    """Return three significant digits, thousands set apart: ``211,000``, ``9.53``, ``0.00041``; integers are whole."""
    if value is None:
        return missing
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    if abs(value) < 100:
        return f"{value:.3g}" if abs(value) >= 1e-4 else f"{value:.6f}"
    return f"{round(value, 3 - len(f'{abs(value):.0f}')):,.0f}"


def signed(value: float | None) -> str:
    if not value:
        return amount(value)
    return f"{'+' if value > 0 else '−'}{amount(abs(value))}"


def total(*values: float | None) -> float | None:
    """Return the sum of values that are all known, else None."""
    return None if None in values else sum(values)


def quotient(whole: float | None, part: float | None) -> float | None:
    return whole / part if whole is not None and part else None


def spread(values: Iterable[float]) -> str:
    """Return mean ± standard error of seconds, ``n/a`` for the error of one seed, a dash of nothing."""
    values = list(values)
    error = standard_error(values)
    return f"{amount(mean(values))} ± {'n/a' if error is None else amount(error)}" if values else "—"
