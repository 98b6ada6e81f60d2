"""ActiveFT: centroids that match the pool's distribution in embedding space while staying apart.

Xie et al., "Active Finetuning: Exploiting Annotation Budget in the Pretraining-Finetuning Paradigm", CVPR 2023.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vecaf.seeds import derive
from vecaf.selection.base import Selector, random_ids, register


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    objective: Literal["released", "paper"] = Field("released", description="the code's InfoNCE, or two separate terms")
    temperature: float = Field(0.07, gt=0, description="τ of both terms")
    balance: float = Field(1.0, gt=0, description="weight of the repulsion (λ of the paper's form)")
    iterations: int = Field(300, ge=1, description="fixed; the released code never tests convergence")
    rows: int | None = Field(
        None, ge=1, description="rows drawn for each step; none: all (released: 100,000 on ImageNet)"
    )
    learning_rate: float = Field(1e-3, gt=0, description="of Adam")


@register("activeft")
class ActiveFT(Selector):
    """K centroids by the released objective, then the unique nearest samples in centroid order."""

    title = "ActiveFT"
    citation = "Xie et al., CVPR 2023"
    needs = frozenset({"embeddings"})
    Params = Params

    def select(self, inputs, k, seeds):
        """Return the k ids nearest to the optimised centroids, with the objective before and after."""
        import torch

        from vecaf.selection import engine, objectives

        params, pool = self.params, engine.Pool(inputs)
        if params.objective == "released":
            objective = objectives.contrastive(params.temperature, params.balance)
            weights = torch.ones(len(pool.z), device=pool.z.device)
        else:
            objective = objectives.separate_terms(params.temperature, params.balance)
            weights = torch.full((len(pool.z),), 1 / len(pool.z), device=pool.z.device)
        seed = derive(seeds["centroids"], 0)
        initial = pool.rows(random_ids(seed, pool.ids, k))
        found = engine.optimise(
            pool.z,
            weights,
            pool.z[initial],
            objective,
            iterations=params.iterations,
            learning_rate=params.learning_rate,
            rows=params.rows,
            sums=params.objective == "paper",
            ids=pool.ids,
            seed=seed,
        )
        chosen = engine.nearest_unique(pool.z, found.centroids)
        return pool.ids[chosen], {
            "initial_ids": pool.ids[initial],
            "iterations": found.iterations,
            **engine.objective_log(pool, weights, objective, [found], 0, chosen, seed),
        }
