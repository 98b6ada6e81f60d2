"""Full-data finetuning: every sample of the pool (the paper's conventional baseline)."""

from __future__ import annotations

from vecaf.errors import SelectionError
from vecaf.selection.base import Selector, register


@register("full")
class Full(Selector):
    """All ids; the ratio of its cells is 100pct."""

    title = "Full data"

    def select(self, inputs, k, seeds):
        """Return all N ids. Raises SelectionError unless k = N."""
        if k != len(inputs):
            raise SelectionError(f"full selects all {len(inputs)} ids, K = {k} was asked for; its ratio is 100pct")
        return inputs.ids, {}
