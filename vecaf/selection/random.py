"""Random selection: a fresh set in every loop, the same for all methods that draw one (the control of every claim)."""

from __future__ import annotations

from vecaf.selection.base import Selector, random_ids, register


@register("random")
class Random(Selector):
    """The k ids with the smallest keyed draws of the stream of this loop."""

    title = "Random"

    def select(self, inputs, k, seeds):
        """Return k ids drawn at random, fresh in every loop because the stream ``random_set`` holds the loop."""
        return random_ids(seeds["random_set"], inputs.ids, k), {}
