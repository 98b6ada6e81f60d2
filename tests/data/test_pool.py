import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from vecaf.data import decoding, pool, sources
from vecaf.errors import DataError


def build(root, **options):
    source = sources.load("image_folder", str(root))
    return pool.build_pool(source, dataset="mine", tuning_seed=3, workers=2, **options)


def test_images_of_one_size_are_packed_in_the_order_of_the_index(folder):
    root = folder(train=10)
    index, images, meta = build(root, pool_size=20)
    assert list(index.columns) == ["id", "file", "label", "split", "tuning"]
    assert [str(index[name].dtype) for name in ("id", "label", "tuning")] == ["int64", "int16", "bool"]
    assert index["split"].tolist() == ["pool"] * 20 + ["test"] * 4
    assert index["id"].tolist() == [*range(20), *range(4)]
    assert images.shape == (24, 12, 12, 3)
    for row in (0, 13, 23):
        assert np.array_equal(images[row], decoding.decode(root / index["file"][row]))
    assert meta["packed"] is True
    assert meta["classes"] == ["cat", "dog"]
    assert (meta["pool_size"], meta["test_size"]) == (20, 4)
    json.dumps(meta, allow_nan=False)


def test_the_tuning_split_is_a_stratified_tenth_of_the_pool_by_seed(folder):
    root = folder(train=30, test=1)
    index, _, meta = build(root)
    tuning = index[index["tuning"]]
    assert meta["tuning_size"] == len(tuning) == 6
    assert tuning["label"].value_counts().tolist() == [3, 3]
    assert set(tuning["split"]) == {"pool"}
    source = sources.load("image_folder", str(root))
    other = pool.build_pool(source, dataset="mine", tuning_seed=4)[0]
    assert not index["tuning"].equals(other["tuning"])


@pytest.mark.parametrize(("sizes", "limit"), [(((12, 12), (14, 12)), 1 << 30), (((12, 12),), 14 * 432 - 1)])
def test_mixed_sizes_or_too_many_bytes_are_left_in_their_files(folder, sizes, limit):
    _, images, meta = build(folder(sizes=sizes), pack_limit=limit)
    assert images.shape == (0, 0, 0, 3)
    assert meta["packed"] is False
    assert meta["image_size"] is None


def test_packing_goes_up_to_the_limit(folder):
    assert build(folder(), pack_limit=14 * 432)[2]["packed"] is True


@pytest.mark.parametrize("sizes", [((12, 12),), ((12, 12), (14, 10))])
def test_every_undecodable_file_is_in_one_error(folder, sizes):
    root = folder(sizes=sizes, train=6)
    (root / "train" / "cat" / "001.png").write_bytes(b"")
    whole = (root / "train" / "dog" / "005.png").read_bytes()
    (root / "train" / "dog" / "005.png").write_bytes(whole[: len(whole) // 2])
    (root / "test" / "dog" / "000.png").write_text("hello")
    with pytest.raises(DataError) as error:
        build(root)
    message = str(error.value)
    assert "has 3 problems" in message
    assert "train/cat/001.png: the file is empty" in message
    assert "train/dog/005.png: cannot be decoded" in message
    assert "test/dog/000.png: not an image" in message


def test_long_lists_are_cut_and_counted(folder):
    root = folder(train=15, test=1)
    for file in (root / "train").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError) as error:
        build(root)
    lines = str(error.value).splitlines()
    assert len(lines) == 1 + 20 + 1 + 1
    assert "… and 10 more" in lines[21]


def test_classes_that_pool_and_test_do_not_share(folder):
    root = folder(classes=("cat", "dog", "emu"))
    (root / "train" / "dog").rename(root / "train" / "dgo")
    for file in (root / "train" / "emu").iterdir():
        file.unlink()
    with pytest.raises(DataError) as error:
        build(root)
    message = str(error.value)
    assert "class dog: 2 test images, but none in the pool" in message
    assert "train/emu: a class folder without images" in message
    assert "class emu: 2 test images, but none in the pool" in message


def test_a_class_without_test_images_is_allowed_and_counted(folder):
    root = folder()
    for file in (root / "test" / "dog").iterdir():
        file.unlink()
    (root / "test" / "dog").rmdir()
    assert build(root)[2]["test_counts"] == [2, 0]


def test_duplicates_and_an_unexpected_size(folder):
    source = sources.load("image_folder", str(folder()))
    twice = source.items["pool"].files
    twice[3] = twice[0]
    source.items["test"].files[1] = twice[0]
    with pytest.raises(DataError) as error:
        pool.build_pool(source, dataset="mine", tuning_seed=0, pool_size=11)
    assert "train/cat/000.png: listed 3 times (pool id 0, pool id 3, test id 1)" in str(error.value)
    assert "the pool has 10 images, but pool_size is 11; correct datasets.mine.pool_size" in str(error.value)
    assert "Replace or remove" in str(error.value)


def test_files_that_are_in_order_are_not_to_be_replaced(folder):
    source = sources.load("image_folder", str(folder()))
    with pytest.raises(DataError, match=r"pool_size is 11; correct datasets\.mine\.pool_size$"):
        pool.build_pool(source, dataset="mine", tuning_seed=0, pool_size=11)


def test_the_index_hash_tells_pools_apart(folder):
    root = folder()
    first = build(root)[2]["index_hash"]
    assert build(root)[2]["index_hash"] == first
    Image.new("RGB", (12, 12)).save(root / "train" / "cat" / "new.png")
    assert build(root)[2]["index_hash"] != first


def test_digits_are_packed_without_files():
    index, images, meta = pool.build_pool(sources.load("digits", None), dataset="digits", tuning_seed=0)
    assert images.shape == (1797, 8, 8, 3)
    assert (meta["pool_size"], meta["tuning_size"], meta["root"]) == (1437, 143, None)
    assert len(set(index["file"])) == 1797


# --- judged on the tuning split ---------------------------------------------------------------------------------------


@pytest.fixture(params=["packed", "files"])
def built(folder, request):
    """A pool of 30 + 30 images of two classes and 4 + 4 test images, in one array or left in their files."""
    sizes = ((12, 12),) if request.param == "packed" else ((12, 12), (14, 10))
    root = folder(train=30, test=4, sizes=sizes)
    parts = build(root)
    assert parts[2]["packed"] == (request.param == "packed")
    return root, *parts


def test_the_tuning_split_becomes_the_test_set_and_the_rest_the_pool(built):
    _, index, images, meta = built
    found, _, facts = pool.judged_on_tuning(index, images, meta)
    tuning = index[index["tuning"]]
    rest = index[~index["tuning"] & index["split"].eq("pool")]
    assert (len(rest), len(tuning)) == (54, 6)
    assert found["split"].tolist() == ["pool"] * 54 + ["test"] * 6
    assert found["id"].tolist() == [*range(54), *range(6)]
    assert found["file"].tolist() == [*rest["file"], *tuning["file"]]
    assert found["label"].tolist() == [*rest["label"], *tuning["label"]]
    assert not found["tuning"].any()
    assert found.dtypes.to_dict() == index.dtypes.to_dict()
    assert (facts["pool_size"], facts["test_size"], facts["tuning_size"]) == (54, 6, 0)
    assert (facts["pool_counts"], facts["test_counts"]) == ([27, 27], [3, 3])
    assert not [file for file in found["file"] if file.startswith("test/")]
    changed = {"pool_size", "test_size", "pool_counts", "test_counts", "tuning_size", "index_hash"}
    assert {key: facts[key] for key in facts.keys() - changed} == {key: meta[key] for key in meta.keys() - changed}
    json.dumps(facts, allow_nan=False)


def test_rows_of_images_stay_those_of_the_index(built):
    root, index, images, meta = built
    found, kept, _ = pool.judged_on_tuning(index, images, meta)
    if not meta["packed"]:
        assert kept.shape == (0, 0, 0, 3)
        return
    assert kept.shape == (60, 12, 12, 3)
    for row, file in enumerate(found["file"]):
        assert np.array_equal(kept[row], decoding.decode(root / file))


def test_the_hash_of_a_judged_pool_is_that_of_its_own_lines(built):
    _, index, images, meta = built
    found, _, facts = pool.judged_on_tuning(index, images, meta)
    lines = [
        f"{split}\t{number}\t{file}\t{label}\t0\n"
        for number, file, label, split in zip(found["id"], found["file"], found["label"], found["split"], strict=True)
    ]
    assert facts["index_hash"] == hashlib.sha256("".join(lines).encode()).hexdigest() != meta["index_hash"]


def test_the_pool_that_is_judged_on_its_tuning_split_stays_as_it_was(built):
    _, index, images, meta = built
    before = (index.copy(), images.copy(), json.dumps(meta))
    pool.judged_on_tuning(index, images, meta)
    assert index.equals(before[0])
    assert np.array_equal(images, before[1])
    assert json.dumps(meta) == before[2]


def test_a_pool_too_small_for_a_tuning_split_is_refused(folder):
    parts = build(folder(train=4))  # a tenth of eight images is none
    with pytest.raises(DataError, match="a pool of 8 images has no tuning split; judged_on: tuning needs more images"):
        pool.judged_on_tuning(*parts)


def test_the_digits_keep_nine_tenths_and_none_of_their_test_images():
    parts = pool.build_pool(sources.load("digits", None), dataset="digits", tuning_seed=0)
    index, images, facts = pool.judged_on_tuning(*parts)
    assert (facts["pool_size"], facts["test_size"]) == (1294, 143)
    assert images.shape == (1437, 8, 8, 3)
    held_out = set(parts[0].loc[parts[0]["split"] == "test", "file"])
    assert len(held_out) == 360
    assert not held_out & set(index["file"])
