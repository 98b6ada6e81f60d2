"""Antialiased resizing of crops as products of two small matrices, so that a whole batch is one vectorised step."""

from __future__ import annotations

import torch
from torch import Tensor


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = −1/2 (Keys, 1981), as in Pillow and in torch's antialiased kernels."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


# Name → (kernel, its half width in source pixels when nothing is shrunk).
KERNELS = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}


def weights(start: Tensor, length: Tensor, source: int, size: int, interpolation: str) -> Tensor:
    """Return matrices (B, size, source) float32 that resize the pixels start … start + length of a line to ``size``.

    start, length: (B,) whole numbers of pixels. When a crop is shrunk its kernel is widened by the same factor
    (antialiasing); pixels outside the crop have no weight and each row sums to 1. The same as cropping first and
    resizing then with Pillow, or with torchvision on tensors, before rounding.
    """
    kernel, radius = KERNELS[interpolation]
    start, length = start.to(torch.float32)[:, None, None], length.to(torch.float32)[:, None, None]
    scale = length / size
    widened = scale.clamp(min=1)
    centre = (torch.arange(size, device=start.device, dtype=torch.float32)[None, :, None] + 0.5) * scale
    # Both ends of the support are cut to whole pixels, as the reference implementations do.
    low, high = (centre - radius * widened + 0.5).floor(), (centre + radius * widened + 0.5).floor()
    pixel = torch.arange(source, device=start.device, dtype=torch.float32) - start
    inside = (pixel >= low.clamp_(min=0)) & (pixel < torch.minimum(high, length))
    values = kernel((pixel - centre + 0.5) / widened) * inside
    return values / values.sum(dim=2, keepdim=True)


def crop_resize(images: Tensor, boxes: Tensor, flip: Tensor, size: int, interpolation: str) -> Tensor:
    """Return crops of a batch resized to size × size and flipped, (B, C, size, size) float32 with values 0 … 255.

    images: (B, C, H, W) uint8. boxes: (B, 4) int of top, left, height, width. flip: (B,) bool, left to right. Values
    are rounded to whole grey levels, as if the crop had been resized as uint8.
    """
    height, width = images.shape[-2:]
    rows = weights(boxes[:, 0], boxes[:, 2], height, size, interpolation)
    columns = weights(boxes[:, 1], boxes[:, 3], width, size, interpolation)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 cannot hold 256 grey levels
        resized = rows[:, None] @ images.float() @ columns[:, None].transpose(2, 3)
    return resized.round_().clamp_(0, 255)
