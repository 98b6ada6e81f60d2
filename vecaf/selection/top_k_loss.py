"""Top-K loss: the samples with the largest training losses (the paper's naive policy, section 3.1 and table 2)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vecaf.selection.base import Selector, lowest, register


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    first_loop: Literal["random_head", "uniform", "class_mean"] = Field(
        "random_head", description="losses of loop 1, before anything is trained; uniform: ties, the lowest ids"
    )


@register("top_k_loss")
class TopKLoss(Selector):
    """The k largest losses, ties to the lowest id."""

    title = "Top-K loss"
    citation = "Zhang et al., ACM MM 2024"
    needs = frozenset({"losses"})
    Params = Params

    def select(self, inputs, k, seeds):
        """Return the ids of the k largest losses."""
        losses = np.asarray(inputs.losses, dtype=np.float64)
        if inputs.loop == 1 and self.params.first_loop == "uniform":
            losses = np.ones_like(losses)
        return lowest(-losses, inputs.ids, k), {}
