"""LearnLoss: the samples whose loss a head, trained along with the classifier, predicts to be the largest.

Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vecaf.selection.base import Selector, lowest, register, subpool, unlabelled


class LossHead(BaseModel):
    """How finetuning trains the head that predicts losses (``vecaf.models.loss_prediction``)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    criterion: Literal["margin", "ranking"] = Field(
        "margin", description="of a pair: hinge on the difference, or cross-entropy of the order (RankNet)"
    )
    margin: float = Field(1.0, ge=0, description="ξ of the hinge")
    weight: float = Field(1.0, ge=0, description="λ of the pair loss beside the classifier's")
    detach_after: float = Field(
        0.6, ge=0, le=1, description="share of a loop's batches after which it spares the backbone"
    )
    hidden: int = Field(128, ge=1, description="width of each of its four branches")
    lr_multiplier: float = Field(1.0, gt=0, description="its learning rate over the backbone's")
    carry: bool = Field(True, description="from loop to loop; false: a fresh head in every loop")


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    subpool: float = Field(10.0, ge=1, description="random unlabelled samples that are looked at, in multiples of K")
    loss_head: LossHead = Field(default_factory=LossHead, description="how finetuning trains the head")


@register("learning_loss")
class LearningLoss(Selector):
    """The k largest predicted losses of a random sub-pool, ties to the lowest id."""

    title = "LearnLoss"
    citation = "Yoo & Kweon, CVPR 2019"
    needs = frozenset({"predicted_losses"})
    Params = Params
    excludes_labelled = True
    cold_start = False

    def select(self, inputs, k, seeds):
        """Return the ids of the k largest predicted losses among ``subpool``·k unlabelled samples drawn by id."""
        rows = unlabelled(inputs, k, self.name)
        rows = subpool(inputs, rows, int(self.params.subpool * k), seeds["random_set"])
        predicted = np.asarray(inputs.predicted_losses[rows], dtype=np.float64)
        return lowest(-predicted, inputs.ids[rows], k), {
            "subpool": len(rows),
            "loss_correlation": _rank_correlation(predicted, inputs.losses[rows])
            if inputs.losses is not None
            else None,
        }


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Spearman's correlation of two (M,) arrays, None where one of them is constant."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
