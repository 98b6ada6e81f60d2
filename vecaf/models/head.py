"""Linear heads, and the losses they are scored and finetuned with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vecaf.errors import ConfigError, TrainingError

MULTICLASS = "multiclass"
Objective = str | Mapping[str, Any]


def resolve_objective(objective: Objective, classes: Sequence[str]) -> Objective:
    """Return an objective with the name of its target class turned into its index.

    objective: "multiclass", or {"one_vs_all": class name, "form": "logsumexp" (default) or "sum"}. Raises ConfigError
    for a class that the dataset does not have.
    """
    if objective == MULTICLASS:
        return MULTICLASS
    target = objective["one_vs_all"]
    if target not in classes:
        known = ", ".join(classes[:20]) + (" …" if len(classes) > 20 else "")
        raise ConfigError(f"objective one_vs_all: {target!r} is not a class of this dataset ({known})")
    return {"one_vs_all": list(classes).index(target), "form": objective.get("form", "logsumexp")}


def random_head(num_classes: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the head a backbone starts from, weight (C, d) ~ truncated N(0, 0.02²) and bias (C,) = 0, float32."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(num_classes, width)
    torch.nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04, generator=generator)
    return weight, torch.zeros(num_classes)


def class_mean_head(
    embeddings: np.ndarray, labels: np.ndarray, num_classes: int, chunk: int = 16384
) -> tuple[Tensor, Tensor]:
    """Return the linear head of a Gaussian model of the classes, in closed form: weight (C, d), bias (C,), float32.

    Class c is N(μ_c, σ²I) with equal priors, so that log p(c|e) = ⟨e, μ_c − μ⟩/σ² − (‖μ_c − μ‖² + 2⟨μ, μ_c − μ⟩)/2σ²
    + const: linear discriminant analysis with one variance. μ: mean of the class means. σ²: the within-class variance
    per dimension inside the span of the centred class means, the only directions that the logits see; the softmax is
    then neither flat nor certain. embeddings: (N, d), may be a memory map; labels: (N,) int64. Raises TrainingError
    for a class without samples and for classes without any spread.
    """
    width = embeddings.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    if (counts == 0).any():
        empty = np.flatnonzero(counts == 0)[:10].tolist()
        raise TrainingError(f"a class-mean head needs samples of every class; none of classes {empty}")
    sums = torch.zeros(num_classes, width, dtype=torch.float64)
    for rows, values in _chunks(embeddings, chunk):
        sums.index_add_(0, torch.from_numpy(labels[rows]), values.double())
    means = sums / torch.from_numpy(counts)[:, None]
    centre = means.mean(dim=0)
    offsets = means - centre
    _, lengths, directions = torch.linalg.svd(offsets, full_matrices=False)
    span = directions[lengths > 1e-9 * lengths[:1].clamp_min(1e-30)]
    spread = 0.0
    for rows, values in _chunks(embeddings, chunk):
        spread += float((((values.double() - means[torch.from_numpy(labels[rows])]) @ span.T) ** 2).sum())
    freedom = (len(labels) - num_classes) * len(span)
    if freedom <= 0 or spread == 0:
        raise TrainingError(
            "a class-mean head needs class means that differ and samples that differ within classes; "
            f"{len(labels)} samples of {num_classes} classes have none. Use the random head"
        )
    variance = spread / freedom
    bias = -((offsets**2).sum(dim=1) + 2 * offsets @ centre) / (2 * variance)
    return (offsets / variance).float(), bias.float()


def objective_loss(
    logits: Tensor, labels: Tensor, objective: Objective, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Return the cross-entropy of an objective: (B,) for reduction "none", else a scalar.

    logits: (B, C) float; labels: (B,) int64; objective: as ``resolve_objective`` returns it. One class c against all
    others is the cross-entropy of two logits, z_c and those of the others joined: logΣ_{j≠c} exp z_j ("logsumexp", the
    exact marginal: −log p(c) or −log(1 − p(c))) or Σ_{j≠c} z_j ("sum", as the released code has it).
    """
    if objective != MULTICLASS:
        logits, labels = one_vs_all_logits(logits, objective), (labels == objective["one_vs_all"]).long()
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction=reduction)


def one_vs_all_logits(logits: Tensor, objective: Mapping[str, Any]) -> Tensor:
    """Return the two logits (B, 2), others and target, of a one-vs-all objective."""
    target = objective["one_vs_all"]
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
    joined = others.sum(dim=1) if objective.get("form", "logsumexp") == "sum" else others.logsumexp(dim=1)
    return torch.stack([joined, logits[:, target]], dim=1)


@torch.no_grad()
def losses_from_embeddings(
    embeddings: np.ndarray,
    weight: Tensor,
    bias: Tensor,
    labels: np.ndarray,
    objective: Objective = MULTICLASS,
    chunk: int = 16384,
) -> np.ndarray:
    """Return the losses (N,) float32 of stored embeddings under a head, without label smoothing.

    embeddings: (N, d) float16 or float32, may be a memory map; weight: (C, d); bias: (C,); labels: (N,) int64.
    """
    losses = np.empty(len(embeddings), dtype=np.float32)
    for rows, values in _chunks(embeddings, chunk):
        logits = F.linear(values, weight, bias)
        losses[rows] = objective_loss(logits, torch.from_numpy(labels[rows]), objective, reduction="none").numpy()
    return losses


def _chunks(embeddings: np.ndarray, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(embeddings), chunk):
        rows = slice(start, min(start + chunk, len(embeddings)))
        yield rows, torch.from_numpy(np.array(embeddings[rows], dtype=np.float32))
