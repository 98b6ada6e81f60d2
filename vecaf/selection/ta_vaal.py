"""TA-VAAL: the samples that a discriminator, told their predicted loss, finds least like labelled ones.

Kim et al., "Task-Aware Variational Adversarial Active Learning", CVPR 2021.
"""

from __future__ import annotations

import time
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vecaf.errors import SelectionError
from vecaf.selection.base import Selector, lowest, random_ids, register, subpool, unlabelled
from vecaf.selection.learning_loss import LossHead

CHANCE = 0.55  # AUC below which the discriminator has learnt next to nothing


class RankingHead(LossHead):
    """The loss-prediction head as a ranker."""

    criterion: Literal["margin", "ranking"] = Field(
        "ranking", description="of a pair: hinge on the difference, or cross-entropy of the order (RankNet)"
    )


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    subpool: float = Field(10.0, ge=1, description="random unlabelled samples that are looked at, in multiples of K")
    epochs: int = Field(100, ge=1, description="passes over labelled set and sub-pool (the authors' EPOCHV)")
    batch_size: int = Field(128, ge=1, description="images of the labelled set and as many of the sub-pool")
    width: int = Field(128, ge=1, description="channels of the VAE's first convolution; its last has 8 times as many")
    latent: int = Field(32, ge=1, description="dimensions of the VAE's code")
    max_iterations: int | None = Field(None, ge=1, description="cap on the iterations; none: as many as epochs make")
    learning_rate: float = Field(5e-4, gt=0, description="of Adam, for VAE and discriminator")
    beta: float = Field(1.0, ge=0, description="weight of the KL term beside the reconstruction")
    gamma: float = Field(1.0, ge=0, description="weight of the adversarial term beside the reconstruction")
    bn_eval: bool = Field(
        True, description="score with running batch-norm statistics; false: with those of each batch, as released"
    )
    image_size: Literal[32, 64] = Field(32, description="side of the images that the VAE sees")
    loss_head: RankingHead = Field(default_factory=RankingHead, description="how finetuning trains the ranker")


@register("ta_vaal")
class TAVAAL(Selector):
    """The k lowest scores of the discriminator in a random sub-pool, ties to the lowest id."""

    title = "TA-VAAL"
    citation = "Kim et al., CVPR 2021"
    needs = frozenset({"predicted_losses", "images"})
    Params = Params
    excludes_labelled = True
    cold_start = False
    resumes = True

    def select(self, inputs, k, seeds):
        """Return the k ids of ``subpool``·k unlabelled samples, drawn by id, that look the least labelled.

        Without a labelled sample there is nothing to look different from: k of the sub-pool are drawn at random, with
        a warning. Raises SelectionError for images of another size than ``image_size`` and for a diverged training.
        """

        device = inputs.torch_device()
        _check_images(inputs.images, self.params.image_size)
        inputs = inputs.in_order()
        candidates = unlabelled(inputs, k, self.name)
        candidates = subpool(inputs, candidates, int(self.params.subpool * k), seeds["random_set"])
        labelled = np.flatnonzero(np.isin(inputs.ids, inputs.labelled))
        if not len(labelled):
            return random_ids(seeds["random_set"], inputs.ids[candidates], k), {
                "iterations": 0,
                "capped": False,
                "width": self.params.width,
                "subpool": len(candidates),
                "auc": None,
                "warnings": ["no sample is labelled yet, so none looks unlabelled: this selection is a random draw"],
            }
        scores, found = self._scores(inputs, labelled, candidates, seeds["random_set"], device)
        return lowest(scores, inputs.ids[candidates], k), found

    def _scores(self, inputs, labelled: np.ndarray, candidates: np.ndarray, seed: int, device):
        """Train VAE and discriminator on two sets of rows; return the candidates' scores (M,) and the diagnostics."""
        from vecaf.selection import adversarial

        params, began = self.params, time.perf_counter()
        by_formula = iterations_by_formula(len(labelled), len(candidates), params.epochs, params.batch_size)
        iterations = min(by_formula, params.max_iterations or by_formula)
        known, unknown = adversarial.sides(inputs.images, inputs.predicted_losses, labelled, candidates, device=device)
        with adversarial.exact():
            game = adversarial.new_game(
                seed,
                width=params.width,
                latent=params.latent,
                image_size=params.image_size,
                learning_rate=params.learning_rate,
                device=device,
            )
            adversarial.train(
                game,
                known,
                unknown,
                iterations=iterations,
                batch_size=params.batch_size,
                beta=params.beta,
                gamma=params.gamma,
                seed=seed,
                checkpoint=inputs.checkpoint,
            )
            earlier = 0.0 if inputs.checkpoint is None else inputs.checkpoint.seconds_before
            seconds = earlier + time.perf_counter() - began
            of_known, of_unknown = (
                adversarial.score(game, side, batch_size=params.batch_size, bn_eval=params.bn_eval)
                for side in (known, unknown)
            )
        auc = adversarial.auc(of_known, of_unknown)
        return of_unknown, {
            "iterations": iterations,
            "iterations_by_formula": by_formula,
            "capped": iterations < by_formula,
            "width": params.width,
            "subpool": len(candidates),
            "auc": auc,
            "vae_loss": float(game.vae_loss),
            "discriminator_loss": float(game.discriminator_loss),
            "training_seconds": round(seconds, 4),
            "warnings": [_no_better_than_chance(auc)] if auc < CHANCE else [],
        }

    @classmethod
    def remark(cls, params):
        """Return the VAE's width and the cap on its training: what the cost, and perhaps the result, depends on."""
        known = cls.Params.model_validate(dict(params), strict=True)
        cap = "iterations uncapped" if known.max_iterations is None else f"at most {known.max_iterations:,} iterations"
        return f"VAE of width {known.width}, {cap}"


def iterations_by_formula(labelled: int, candidates: int, epochs: int, batch_size: int) -> int:
    """Return ⌊(|S| + M)·epochs / batch⌋, the released code's number of iterations, but at least one."""
    return max(1, (labelled + candidates) * epochs // batch_size)


def _no_better_than_chance(auc: float) -> str:
    return (
        f"the discriminator hardly tells the labelled set from the sub-pool (AUC {auc:.2f}, chance is 0.5): "
        "this selection is close to a random draw"
    )


def _check_images(images: np.ndarray, size: int) -> None:
    if images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
        raise SelectionError(
            f"images are {images.dtype} of shape {images.shape}; ta_vaal with image_size {size} needs uint8 of "
            f"(N, {size}, {size}, 3)"
        )
