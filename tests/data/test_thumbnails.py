"""Small copies of a pool's images: in the order of ids, antialiased, the same packed and from files."""

import numpy as np
import pytest
import torch
from PIL import Image

from vecaf.data import thumbnails
from vecaf.data.images import Images


def pool_of(images, tmp_path=None):
    names = [f"{number:03d}.png" for number in range(len(images))]
    count = len(images)
    columns = (np.arange(count), np.zeros(count, int), np.zeros(count, bool), np.array(names, object), ["a"])
    if tmp_path is None:
        return Images(*columns, pixels=np.stack(images))
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    return Images(*columns, root=tmp_path)


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 255, (48, 48, 3), dtype=np.uint8) for _ in range(7)]


def written(pool, size):
    out = np.empty((len(pool), size, size, 3), np.uint8)
    thumbnails.write(pool, size, out)
    return out


def test_packed_and_from_files_are_the_same(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "CHUNK", 3)
    small = written(pool_of(pictures), 32)
    np.testing.assert_array_equal(small, written(pool_of(pictures, tmp_path), 32))
    for row, picture in zip(small, pictures, strict=True):
        alone = thumbnails.shrink(torch.from_numpy(picture).permute(2, 0, 1)[None], 32)[0]
        np.testing.assert_array_equal(row, alone.permute(1, 2, 0).numpy())


def test_shrinking_averages_as_pillow_does(pictures):
    small = written(pool_of(pictures), 16)
    wanted = np.asarray(Image.fromarray(pictures[3]).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.abs(small[3].astype(int) - wanted).max() <= 1


def test_images_of_any_size_are_squashed(tmp_path):
    generator = np.random.default_rng(1)
    images = [generator.integers(0, 255, (20 + 5 * n, 60 - 5 * n, 3), dtype=np.uint8) for n in range(4)]
    assert written(pool_of(images, tmp_path), 32).shape == (4, 32, 32, 3)


def test_images_of_that_size_are_copied():
    images = [np.full((32, 32, 3), level, np.uint8) for level in (3, 200)]
    np.testing.assert_array_equal(written(pool_of(images), 32), np.stack(images))
