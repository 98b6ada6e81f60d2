"""A tiny backbone, images in memory and plain transforms that stand in for real ones in tests of training."""

from __future__ import annotations

import numpy as np
import torch

SPEC = {
    "timm": "vit_tiny_patch16_224",
    "width": 24,
    "args": {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2},
}
SIZE, CLASSES = 8, 3


class ImageSet:
    """Images (N, 3, S, S) uint8 in memory, with the interface of a pool."""

    classes = ("alpha", "beta", "gamma")

    def __init__(self, pixels, labels, ids=None):
        self.pixels, self.labels = pixels, np.asarray(labels, dtype=np.int64)
        self.ids = np.arange(len(pixels)) if ids is None else np.asarray(ids)

    def __len__(self):
        return len(self.pixels)

    def read(self, positions):
        return self.pixels[torch.from_numpy(np.asarray(positions))]

    def batches(self, plan, workers=0):
        return (self.read(positions) for positions in plan)


def normalise(images, device, generator=None):
    return images.to(device).float().div(127.5).sub(1.0)


def jitter(images, device, generator):
    """A random training transform: every draw from the generator."""
    noise = torch.randn(images.shape, generator=generator)
    return normalise(images, device) + 0.1 * noise.to(device)
