"""Fixtures of the stand-ins."""

from __future__ import annotations

import numpy as np
import pytest
import stand_ins
import torch
from stand_ins import CLASSES, SIZE, SPEC, ImageSet

from vecaf.models import backbone


@pytest.fixture
def normalise():
    return stand_ins.normalise


@pytest.fixture
def jitter():
    return stand_ins.jitter


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
