"""Planted pools: which images are corrupted, that nothing else is, and that only the corruption tells them apart."""

import json

import numpy as np
import pytest

from vecaf.data import corrupted, decoding, planting, pool, sources
from vecaf.data.corruptions import corrupt
from vecaf.seeds import derive

PLANTED = {"corruption": "snow", "severity": 3, "share": 0.1, "images": 1000, "seed": 5}


def planted(root, **changed):
    told = PLANTED | changed
    source = planting.sample(sources.load("image_folder", str(root)), told["images"], told["seed"])
    built = pool.build_pool(source, dataset="mine", tuning_seed=3, workers=2)
    return built, planting.plant(*built, told, workers=2)


def test_a_stratified_share_is_corrupted_and_all_else_is_as_it_was(folder):
    root = folder(train=30, test=2, sizes=((40, 40),))
    (before, pixels, facts), (index, images, told) = planted(root)
    _, pixels, _ = pool.build_pool(sources.load("image_folder", str(root)), dataset="mine", tuning_seed=3)
    marked = index[index["planted"]]
    assert set(marked["split"]) == {"pool"}
    assert marked["label"].value_counts().tolist() == [3, 3]
    assert index.drop(columns="planted").equals(before)
    changed = [row for row in range(len(index)) if not np.array_equal(images[row], pixels[row])]
    assert changed == marked.index.tolist()
    number = int(marked["id"].iloc[0])
    expected = corrupt(pixels[marked.index[0]], "snow", 3, derive(5, "snow", number))
    np.testing.assert_array_equal(images[marked.index[0]], expected)
    assert (told["planted_size"], told["planted"]) == (6, PLANTED)
    assert told["index_hash"] != facts["index_hash"]
    json.dumps(told)


def test_images_of_several_sizes_are_all_cropped_planted_or_not(folder):
    root = folder(train=10, test=2, sizes=((40, 30), (32, 36)))
    _, (index, images, told) = planted(root, share=0.2)
    assert told["packed"] is True
    assert images.shape == (24, corrupted.CROPPED, corrupted.CROPPED, 3)
    clear = index.index[~index["planted"]][0]
    original = decoding.decode(root / index["file"][clear])
    np.testing.assert_array_equal(images[clear], corrupted.resize_and_crop(original))
    assert index["planted"].sum() == 4


def test_a_large_pool_is_sampled_evenly_by_seed(folder):
    root = folder(train=30, test=3)
    source = sources.load("image_folder", str(root))
    part = planting.sample(source, 20, 1)
    assert np.bincount(part.items["pool"].labels).tolist() == [10, 10]
    assert len(part.items["test"].files) == 6  # few enough as they are
    again, other = planting.sample(source, 20, 1), planting.sample(source, 20, 2)
    assert part.items["pool"].files == again.items["pool"].files != other.items["pool"].files
    names = [file.split("/")[1] for file in part.items["pool"].files]
    assert [source.classes[label] for label in part.items["pool"].labels] == names


def test_embedded_pixels_are_sampled_with_their_labels():
    source = sources.load("digits", None, seed=0)
    part = planting.sample(source, 100, 1)
    whole = source.items["pool"]
    for row in (0, 50, 99):
        place = whole.files.index(part.items["pool"].files[row])
        assert part.items["pool"].labels[row] == whole.labels[place]
        assert np.array_equal(part.items["pool"].pixels[row], whole.pixels[place])


def test_the_draw_follows_from_the_seed(folder):
    root = folder(train=30, sizes=((40, 40),))
    first, again, other = (planted(root, seed=seed)[1] for seed in (5, 5, 6))
    assert np.array_equal(first[1], again[1])
    assert first[0]["planted"].tolist() == again[0]["planted"].tolist() != other[0]["planted"].tolist()


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_share_is_exact(folder, share):
    _, (index, _, told) = planted(folder(train=50, sizes=((32, 32),)), share=share)
    assert index["planted"].sum() == told["planted_size"] == round(100 * share)
