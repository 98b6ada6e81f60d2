"""Small square copies of a pool's images, for selectors that look at pixels (TA-VAAL's autoencoder)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vecaf.data.images import Images

CHUNK = 256  # images decoded at once


def shrink(image: Tensor, size: int) -> Tensor:
    """Return images (B, 3, H, W) uint8 squashed to (B, 3, size, size), with antialiasing."""
    if image.shape[-2:] == (size, size):
        return image
    return F.interpolate(image, size=(size, size), mode="bilinear", antialias=True)


def write(images: Images, size: int, out: np.ndarray, workers: int = 0) -> None:
    """Fill ``out`` (N, size, size, 3) uint8, an array or memory map, in the order of ids; decodes every image once."""
    parts = np.array_split(np.arange(len(images)), -(-len(images) // CHUNK))
    for rows, batch in zip(parts, images.batches(parts, workers=workers), strict=True):
        small = shrink(batch, size) if isinstance(batch, Tensor) else torch.cat([shrink(i[None], size) for i in batch])
        out[rows] = small.permute(0, 2, 3, 1).numpy()
