"""A head that predicts the loss of an image from four depths of a backbone, and the pair losses that train it.

Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019 (hinge on pairs); Kim et al., "Task-Aware Variational
Adversarial Active Learning", CVPR 2021 (order of pairs, RankNet).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vecaf.errors import ConfigError, TrainingError

DEPTHS = 4


class LossPrediction(nn.Module):
    """Linear + ReLU on the mean feature of each depth, then one linear layer on all of them joined."""

    def __init__(self, widths: Sequence[int], hidden: int):
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.joined = nn.Linear(len(widths) * hidden, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return predicted losses (B,) of features, one (B, d_m) for each depth."""
        parts = [F.relu(branch(feature)) for branch, feature in zip(self.branches, features, strict=True)]
        return self.joined(torch.cat(parts, dim=1))[:, 0]


def depths(model: nn.Module, name: str) -> tuple[list[int], list[int]]:
    """Return the levels of a timm model at ¼, ½, ¾ and the end of its depth, and their widths.

    Levels count blocks (ViT, XCiT) or stages (Swin, convolutions). Raises ConfigError for a model without four.
    """
    levels = getattr(model, "feature_info", None)
    levels = list(levels) if levels is not None and hasattr(model, "forward_intermediates") else []
    if len(levels) < DEPTHS:
        raise ConfigError(
            f"backbone {name} has {len(levels)} depths to read features from, and predicting losses (LearnLoss, "
            f"TA-VAAL) reads {DEPTHS}; choose another backbone"
        )
    chosen = [-(-len(levels) * quarter // DEPTHS) - 1 for quarter in range(1, DEPTHS + 1)]
    return chosen, [levels[level]["num_chs"] for level in chosen]


def build(widths: Sequence[int], hidden: int, seed: int) -> LossPrediction:
    """Return a head with torch's default initial weights, drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LossPrediction(widths, hidden)


def pair_loss(predicted: Tensor, losses: Tensor, criterion: str, margin: float = 1.0) -> Tensor:
    """Return the mean loss over the pairs (i, B + 1 − i) of a batch, a scalar.

    predicted: h (B,); losses: l (B,), taken as fixed. criterion ``margin``: max(0, ξ − sign(l_i − l_j)(h_i − h_j)),
    where equal losses have the sign −1 (equation 2 of Yoo & Kweon); ``ranking``: the cross-entropy of σ(h_i − h_j)
    against l_i > l_j (equation 2 of Kim et al.). Raises TrainingError for an odd batch, which has no such pairs.
    """
    check_pairs(len(predicted))
    half = len(predicted) // 2
    difference = predicted[:half] - predicted.flip(0)[:half]
    fixed = losses.detach()
    larger = (fixed[:half] > fixed.flip(0)[:half]).to(difference.dtype)
    if criterion == "ranking":
        return F.binary_cross_entropy_with_logits(difference, larger)
    return (margin - (2 * larger - 1) * difference).clamp_min(0).mean()


def check_pairs(batch_size: int) -> None:
    """Raise TrainingError when a batch cannot be split into pairs."""
    if batch_size < 2 or batch_size % 2:
        raise TrainingError(
            f"a loss-prediction head is trained on pairs of a batch, and a process has batches of {batch_size}: choose "
            "an even batch_size under training.overrides, or another number of GPUs"
        )
