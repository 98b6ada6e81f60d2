"""Objective-aware data selection: centroids drawn to samples with a large loss, kept apart by a diversity term.

VeCAF (Zhang et al., ACM MM 2024), section 3.1, equations 2–7. Every choice that the text leaves open or that its code
makes differently is a parameter; docs/readings.md explains each.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vecaf.errors import SelectionError
from vecaf.seeds import derive
from vecaf.selection.base import Selector, random_ids, register

TOLERANCE, WINDOW = 1e-4, 10  # "until convergence": relative change over ten iterations


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    objective: Literal["eq7", "released", "uniform", "within_class"] = Field(
        "eq7",
        description="equation 7; the released code's weighted InfoNCE; equation 7 with every loss one, or with each "
        "over the mean of its class",
    )
    diversity: float = Field(0.1, ge=0, description="λ of equation 7 (balance of the released form)")
    temperature: float = Field(0.07, gt=0, description="τ of both terms; the paper prints none")
    ensemble: int = Field(5, ge=1, description="members from different random centroids")
    debias: Literal["best_member", "none", "literal", "released", "matched_mean", "matched"] = Field(
        "best_member", description="how members become one set of centroids"
    )
    shrinkage: float = Field(0.5, ge=0, le=1, description="of `matched`: the covariance towards the identity")
    center: bool = Field(False, description="subtract the pool's mean embedding before normalising")
    iterations: int = Field(300, ge=1, description="at most; exactly, if until_convergence is false")
    until_convergence: bool = Field(True, description="stop below a relative change of 1e-4 over ten iterations")
    rows: int | None = Field(None, ge=1, description="rows drawn for each of a fixed number of steps; none: all")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam")
    first_loop: Literal["random_head", "uniform", "class_mean"] = Field(
        "random_head", description="losses of loop 1, before anything is trained"
    )

    @model_validator(mode="after")
    def _consistent(self):
        if self.objective == "released" and self.diversity == 0:
            raise ValueError("the released objective takes the logarithm of diversity; it must be above 0")
        if self.debias == "released" and self.ensemble < 3:
            raise ValueError("the released debiasing discards a member and averages the others: ensemble ≥ 3")
        if self.debias in ("literal", "matched_mean", "matched") and self.ensemble < 2:
            raise ValueError(f"debias {self.debias} needs an ensemble of at least 2")
        if self.rows is not None and self.until_convergence:
            raise ValueError(
                "an objective of other rows at each step does not settle: rows need until_convergence: false"
            )
        return self


@register("ods")
class ODS(Selector):
    """An ensemble of centroids by equation 7, made one, then the unique nearest samples in centroid order."""

    title = "ODS"
    citation = "Zhang et al., ACM MM 2024"
    needs = frozenset({"embeddings", "losses"})
    Params = Params

    def select(self, inputs, k, seeds):
        """Return the k ids nearest to the debiased centroids, and what each member reached.

        Raises SelectionError for a negative loss or losses that are all zero.
        """
        import torch

        from vecaf.selection import debiasing, engine

        params, pool = self.params, engine.Pool(inputs, center=self.params.center)
        weights = torch.from_numpy(self._weights(inputs, pool.order)).to(pool.z.device)
        objective = self._objective()
        members, initial = [], []
        for member in range(params.ensemble):
            seed = derive(seeds["centroids"], member)
            initial.append(random_ids(seed, pool.ids, k))
            members.append(
                engine.optimise(
                    pool.z,
                    weights,
                    pool.z[pool.rows(initial[-1])],
                    objective,
                    iterations=params.iterations,
                    learning_rate=params.learning_rate,
                    tolerance=TOLERANCE if params.until_convergence else None,
                    window=WINDOW,
                    rows=params.rows,
                    sums=params.objective != "released",
                    ids=pool.ids,
                    seed=seed,
                )
            )
        base, centroids, log = debiasing.combine(
            [member.centroids for member in members],
            [member.last for member in members],
            params.debias,
            params.shrinkage,
        )
        chosen = engine.nearest_unique(pool.z, centroids)
        log["ids_unlike_member_1"] = 0
        if centroids is not members[0].centroids:
            alone = engine.nearest_unique(pool.z, members[0].centroids)
            log["ids_unlike_member_1"] = int(k - np.isin(chosen, alone).sum())
        described = engine.objective_log(
            *(pool, weights, objective, members, base, chosen, seeds["centroids"]),
            centroids=None if centroids is members[base].centroids else centroids,
        )
        log["objective_of_centroids"] = described.pop("objective_of_centroids", members[base].last)
        return pool.ids[chosen], {
            "initial_ids": initial[base],
            "iterations": [member.iterations for member in members],
            "member_objectives": [member.last for member in members],
            "debiasing": log,
            **described,
        }

    def _weights(self, inputs, order: np.ndarray) -> np.ndarray:
        """Return the weights of the samples in the order of ids, (N,) float32: equation 3, p = L/ΣL.

        The released form wants a mean of one instead. Losses that are all alike give the unweighted form bit for bit.
        """
        losses = np.asarray(inputs.losses, dtype=np.float64)[order]
        if self.params.objective == "uniform" or (inputs.loop == 1 and self.params.first_loop == "uniform"):
            losses = np.ones_like(losses)
        if losses.min() < 0:
            bad = int(inputs.ids[order][losses.argmin()])
            raise SelectionError(f"ods: the loss of id {bad} is {losses.min():.3g}; equation 3 needs losses ≥ 0")
        if losses.max() == 0:
            raise SelectionError("ods: every loss is zero, so equation 3 gives no distribution; use objective uniform")
        if self.params.objective == "within_class":
            losses = over_class_means(losses, inputs.labels[order])
        relative = losses / losses.max()
        relative /= relative.mean()
        # A weight of zero would be the logarithm of zero in the released form.
        return (
            np.maximum(relative, 1e-12) if self.params.objective == "released" else relative / len(relative)
        ).astype(np.float32)

    def _objective(self):
        from vecaf.selection import objectives

        if self.params.objective == "released":
            return objectives.contrastive(self.params.temperature, self.params.diversity)
        return objectives.separate_terms(self.params.temperature, self.params.diversity)


def over_class_means(losses: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each loss over the mean loss of its class, (N,) float64; 0 in a class whose losses are all 0.

    No source: a control. Every class then weighs what it has of the pool, so that what is preferred is hard within its
    class, and no class is.
    """
    means = np.bincount(labels, weights=losses) / np.maximum(np.bincount(labels), 1)
    return losses / np.where(means > 0, means, 1.0)[labels]
