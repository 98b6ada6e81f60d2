"""The losses of CLIPstyler (Kwon & Ye, CVPR 2022), as its fast variant weighs them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6  # of lengths: an image that did not change has no direction


def text_direction(target: Tensor, source: Tensor) -> Tensor:
    """Return the direction (d,) of length 1 from the mean of the source texts (T, d) to that of the target texts."""
    target, source = (F.normalize(texts.mean(dim=0), dim=0) for texts in (target, source))
    return F.normalize(target - source, dim=0, eps=EPSILON)


def directional(styled: Tensor, content: Tensor, direction: Tensor) -> Tensor:
    """Return 1 − cos(styled − content, direction) for each image (B,), from 0 to 2; 1 for an image that did not change.

    styled, content: (B, d) CLIP embeddings of length 1; direction: (d,).
    """
    return 1 - F.cosine_similarity(styled - content, direction[None], dim=1, eps=EPSILON)


def patch(styled: Tensor, content: Tensor, direction: Tensor, threshold: float) -> Tensor:
    """Return the mean directional loss of views (B,), those below the threshold counted as 0 (threshold rejection).

    A view that already looks as the text says would otherwise be pushed on until it looks like nothing else.
    """
    losses = directional(styled, content, direction)
    return torch.where(losses < threshold, 0.0, losses).mean()


def total_variation(images: Tensor) -> Tensor:
    """Return the L2 norms of the differences of neighbours, beside, below and on both diagonals, added up.

    images: (B, 3, H, W). The norm is over the whole batch, as the authors have it.
    """
    beside = images[..., :, :-1] - images[..., :, 1:]
    below = images[..., :-1, :] - images[..., 1:, :]
    falling = images[..., :-1, :-1] - images[..., 1:, 1:]
    rising = images[..., 1:, :-1] - images[..., :-1, 1:]
    # The square root has no slope at 0, where an image is of one colour.
    return sum((part.square().sum() + EPSILON**2).sqrt() for part in (beside, below, falling, rising))
