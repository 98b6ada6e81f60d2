"""Corrupted copies of a dataset: as ImageNet-C was made, and the same whatever else is made beside them."""

import numpy as np
import pytest
from PIL import Image

from vecaf.data import corrupted, corruptions, decoding, image_sets, prefetch, sources
from vecaf.data.images import Images
from vecaf.errors import DataError
from vecaf.seeds import derive


def picture(seed, size):
    """Return a smooth random RGB image of (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def images_of(pictures, ids=None, root=None):
    ids = np.arange(len(pictures)) if ids is None else np.asarray(ids)
    names = np.array([f"test/a/{number}.png" for number in ids], object)
    columns = (ids, np.zeros(len(ids), int), np.zeros(len(ids), bool), names, ["a"])
    if root is None:
        return Images(*columns, pixels=pictures)
    for name, image in zip(names, pictures, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / name)
    return Images(*columns, root=root)


def made(images, severity=2, seed=7, crop=None, quality=85, workers=2):
    return corrupted.generate(images, "snow", severity, seed, crop=crop, quality=quality, workers=workers)


@pytest.fixture
def small():
    return np.stack([np.asarray(picture(seed, (16, 16))) for seed in range(8)])


def test_images_of_one_size_keep_it_and_others_are_cropped(small, tmp_path):
    assert corrupted.crop_of(images_of(small)) is None
    assert corrupted.crop_of(images_of(list(small), root=tmp_path / "same")) is None
    mixed = [np.asarray(picture(1, (40, 30))), np.asarray(picture(2, (30, 40)))]
    assert corrupted.crop_of(images_of(mixed, root=tmp_path / "mixed")) == 224


def test_resizing_and_cropping_is_torchvisions():
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    theirs = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224)])
    for size in ((500, 375), (375, 500), (255, 259), (40, 40)):
        image = picture(3, size)
        found = corrupted.resize_and_crop(np.asarray(image))
        np.testing.assert_array_equal(found, np.asarray(theirs(image)))


def test_an_image_is_cropped_then_corrupted_then_encoded(tmp_path):
    pictures = [np.asarray(picture(seed, size)) for seed, size in enumerate([(300, 260), (230, 400)])]
    images = images_of(pictures, ids=[4, 9], root=tmp_path)
    for number, data in zip([4, 9], made(images, crop=224), strict=True):
        cropped = corrupted.resize_and_crop(pictures[[4, 9].index(number)])
        expected = corruptions.corrupt(cropped, "snow", 2, derive(7, "snow", number))
        assert data == image_sets.encode(expected, 85)
    lossless = decoding.decode_bytes(made(images, crop=224, quality=None)[1], "b")
    np.testing.assert_array_equal(lossless, expected)


def test_an_id_has_its_bytes_whatever_else_is_made(small, tmp_path, monkeypatch):
    whole = made(images_of(small))
    assert len(set(whole)) == len(whole)
    assert made(images_of(small), workers=1) == whole
    assert made(images_of(list(small), root=tmp_path)) == whole
    monkeypatch.setattr(prefetch, "CHUNK", 3)
    assert made(images_of(small)) == whole
    parts = [made(images_of(small[rows], ids=rows)) for rows in np.array_split(np.arange(8), 3)]
    assert [data for part in parts for data in part] == whole
    assert made(images_of(small[[6, 1]], ids=[6, 1])) == [whole[6], whole[1]]
    assert made(images_of(small), seed=8) != whole


def test_equal_images_are_corrupted_differently(small):
    same = made(images_of(np.repeat(small[:1], 5, axis=0)))
    assert len(set(same)) == 5


# --- a released ImageNet-C --------------------------------------------------------------------------------------------


@pytest.fixture
def released(tmp_path):
    """Return the root of a small ImageNet-C and the test images that it was made from."""
    files = [f"val/n0{wnid}/ILSVRC2012_val_0000{wnid}{number}.JPEG" for wnid in (1, 2, 3) for number in (7, 4, 9)]
    for seed, file in enumerate(files):
        for severity in (1, 3):
            path = tmp_path / "c" / "snow" / str(severity) / file.removeprefix("val/")
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed + severity, (24, 24)).save(path, quality=85)
    return tmp_path / "c", files


def test_released_images_are_found_for_each_test_image_and_kept_byte_by_byte(released):
    root, files = released
    found = sources.released_corruption(root, "snow", 3, files)
    assert found == [file.replace("val/", "snow/3/") for file in files]
    assert sources.released_corruption(root, "snow", 3, files[::-1]) == found[::-1]
    paths = [root / file for file in found]
    assert corrupted.collect(paths) == [path.read_bytes() for path in paths]


def test_what_a_released_set_misses_is_named(released, tmp_path):
    root, files = released

    def refused(sentence, corruption="snow", severity=3, where=root):
        with pytest.raises(DataError, match=sentence) as error:
            sources.released_corruption(where, corruption, severity, files)
        assert "https://zenodo.org/records/2235448" in str(error.value)
        return str(error.value)

    refused("nowhere is no folder", where=tmp_path / "nowhere")
    refused(r"c/fog is no folder", corruption="fog")
    refused(r"c/snow/2 is no folder", severity=2)
    (root / "snow/3/n02/ILSVRC2012_val_000024.JPEG").unlink()
    refused(r"snow/3/n02: 2 images, the test set has 3; ILSVRC2012_val_000024\.JPEG is missing")
    picture(1, (24, 24)).save(root / "snow/3/n01/another.JPEG")
    for file in (root / "snow/3/n03").iterdir():
        file.unlink()
    (root / "snow/3/n03").rmdir()
    said = refused("snow/3/n03: no such class folder, the test set has 3 images of it")
    assert "snow/3/n01: 4 images, the test set has 3; another.JPEG is no test image" in said


def test_a_set_of_other_classes_is_not_listed_without_end(released, tmp_path):
    root, _ = released
    others = [f"val/m{number:02d}/a.JPEG" for number in range(20)]
    with pytest.raises(DataError, match="… and 15 more classes") as error:
        sources.released_corruption(root, "snow", 3, others)
    assert str(error.value).count("no such class folder") == 5


def test_a_broken_released_image_is_named(released):
    root, files = released
    path = root / sources.released_corruption(root, "snow", 1, files)[4]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=path.name):
        corrupted.collect([root / file for file in sources.released_corruption(root, "snow", 1, files)])
