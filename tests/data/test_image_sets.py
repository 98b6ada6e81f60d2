"""Sets of encoded images: what is written is read, whole, in order and with its facts."""

import numpy as np
import pandas as pd
import pytest

from vecaf import artifacts
from vecaf.data import image_sets
from vecaf.data.images import Images
from vecaf.errors import ArtifactError, DataError

SIZES = [(12, 12), (9, 15), (224, 30), (8, 8), (12, 12)]


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 255, (*size, 3), dtype=np.uint8) for size in SIZES]


def images_of(pictures, ids=(3, 5, 8, 9, 11)):
    names = np.array([f"test/a/{number}.png" for number in ids], object)
    labels, tuning = np.array([0, 1, 1, 0, 1]), np.array([True, False, False, True, False])
    return Images(np.array(ids), labels, tuning, names, ["a", "b"], pixels=pictures)


def written(tmp_path, images, encoded, parts=1, **facts):
    """Write a set in a number of shards and return their paths."""
    facts = {"ids_hash": artifacts.ids_hash(images.ids)} | facts
    paths = []
    for number, rows in enumerate(np.array_split(np.arange(len(images)), parts)):
        paths.append(tmp_path / f"{facts.get('corruption', 'set')}{number}of{parts}.parquet")
        part = image_sets.table(images.subset(rows), [encoded[row] for row in rows], facts)
        artifacts.write_table(paths[-1], part)
    return paths


def lossless(pictures):
    return [image_sets.encode(picture, None) for picture in pictures]


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_what_is_written_is_read_in_the_order_of_ids(tmp_path, pictures, parts):
    images = images_of(pictures)
    paths = written(tmp_path, images, lossless(pictures), parts, corruption="snow", severity=3, crop=None)
    found, facts = image_sets.read(paths[::-1], ["a", "b"])
    assert facts == {"ids_hash": artifacts.ids_hash(images.ids), "corruption": "snow", "severity": 3, "crop": None}
    for name in ("ids", "labels", "tuning", "files"):
        assert getattr(found, name).tolist() == getattr(images, name).tolist()
    assert found.classes == ["a", "b"]
    assert found.ids.dtype == found.labels.dtype == np.int64


def test_a_set_is_read_like_any_images(tmp_path, pictures):
    images, _ = image_sets.read(written(tmp_path, images_of(pictures), lossless(pictures)), ["a", "b"])
    assert images.streams

    def same(batch, positions):
        return all(
            np.array_equal(image.permute(1, 2, 0).numpy(), pictures[position])
            for image, position in zip(batch, positions, strict=True)
        )

    assert same(images.read([4, 0]), [4, 0])
    assert same(images.subset([1, 3]).subset([1]).read([0]), [3])
    assert all(map(same, images.batches([[2], [0, 1]], workers=2), [[2], [0, 1]]))
    held = images.subset([3, 2]).in_memory()
    assert not held.streams
    assert same(held.read([0, 1]), [3, 2])
    assert images.in_memory(max_bytes=100) is images


def test_jpeg_is_small_and_close(tmp_path):
    grid = np.arange(64)
    smooth = (128 + 60 * np.sin(np.add.outer(grid, 2 * grid) / 9))[..., None].repeat(3, axis=2).astype(np.uint8)
    images = images_of([smooth] * 5)
    encoded = [image_sets.encode(smooth, quality) for quality in (None, 95, 85, 60, 10)]
    found, _ = image_sets.read(written(tmp_path, images, encoded), ["a", "b"])
    away = [np.abs(found.read([row])[0].permute(1, 2, 0).numpy().astype(int) - smooth).mean() for row in range(5)]
    assert away[0] == 0 < away[1] < 1
    assert away[2] < 2
    assert away == sorted(away)
    assert len(encoded[4]) < len(encoded[1])


def test_a_damaged_image_is_named(tmp_path, pictures):
    encoded = lossless(pictures)
    encoded[2] = encoded[2][:60]
    images, _ = image_sets.read(written(tmp_path, images_of(pictures), encoded), ["a", "b"])
    with pytest.raises(DataError, match="image id 8: cannot be decoded"):
        images.read([2])


def test_shards_that_are_no_whole_set_are_refused(tmp_path, pictures):
    images, encoded = images_of(pictures), lossless(pictures)
    paths = written(tmp_path, images, encoded, 3, corruption="snow")
    others = written(tmp_path, images, encoded, 3, corruption="fog")
    for wrong in (paths[:2], [*paths, paths[0]], [paths[0], paths[1], paths[1]]):
        with pytest.raises(ArtifactError, match="not those of the whole set"):
            image_sets.read(wrong, ["a", "b"])
    with pytest.raises(ArtifactError, match=r"fog2of3\.parquet is of another set of images than .*snow0of3"):
        image_sets.read([*paths[:2], others[2]], ["a", "b"])


def test_another_table_is_refused(tmp_path):
    artifacts.write_table(tmp_path / "ids.parquet", pd.DataFrame({"id": [1, 2]}))
    with pytest.raises(ArtifactError, match=r"ids\.parquet is no set of images"):
        image_sets.read([tmp_path / "ids.parquet"], ["a"])
