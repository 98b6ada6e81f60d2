"""Small datasets on disk."""

import numpy as np
import pytest
from PIL import Image


def picture(seed, size=(12, 12)):
    """Return a smooth random RGB image of (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes train/CLASS and test/CLASS with images of given sizes, and returns the root."""

    def make(classes=("cat", "dog"), train=5, test=2, sizes=((12, 12),), ending="png"):
        root = tmp_path / "images"
        seed = 0
        for split, number in (("train", train), ("test", test)):
            for name in classes:
                (root / split / name).mkdir(parents=True, exist_ok=True)
                for image in range(number):
                    seed += 1
                    picture(seed, sizes[seed % len(sizes)]).save(root / split / name / f"{image:03d}.{ending}")
        return root

    return make
