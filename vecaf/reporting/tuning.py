"""The table behind what was chosen on the tuning split: readings, judged where nothing is reported."""

from __future__ import annotations

from vecaf.reporting.readings import build

__all__ = ["build"]
