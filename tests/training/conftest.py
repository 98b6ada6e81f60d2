"""A tiny backbone, tiny images and transforms that stand in for real ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vecaf.models import backbone

SPEC = {
    "timm": "vit_tiny_patch16_224",
    "width": 24,
    "args": {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2},
}
SIZE, CLASSES = 8, 3


class ImageSet:
    """Images (N, 3, S, S) uint8 in memory, with the interface of a pool."""

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


@pytest.fixture(name="normalise")
def _normalise():
    return normalise


@pytest.fixture(name="jitter")
def _jitter():
    return jitter


@pytest.fixture
def image_set():
    return ImageSet


@pytest.fixture
def images():
    """Forty images of three classes that differ in brightness, with ids 100 … 139."""
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(40) % CLASSES
    noise = torch.randint(0, 60, (40, 3, SIZE, SIZE), generator=generator)
    pixels = (noise + torch.from_numpy(labels)[:, None, None, None] * 90).to(torch.uint8)
    return ImageSet(pixels, labels, np.arange(100, 140))


@pytest.fixture
def make_model():
    def make(num_classes=CLASSES, **options):
        return backbone.build(SPEC, num_classes, input_size=SIZE, **options)

    return make
