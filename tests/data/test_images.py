import itertools
import time

import numpy as np
import pytest
import torch

from vecaf import artifacts
from vecaf.data import decoding, pool, sources
from vecaf.data.images import Images
from vecaf.data.prefetch import map_batches
from vecaf.errors import ArtifactError, DataError

SIZES = {"packed": ((12, 12),), "streamed": ((12, 12), (15, 9))}


@pytest.fixture(params=["packed", "streamed"])
def kind(request):
    return request.param


@pytest.fixture
def stored(folder, tmp_path, kind):
    root = folder(train=6, sizes=SIZES[kind])
    parts = pool.build_pool(sources.load("image_folder", str(root)), dataset="mine", tuning_seed=0)
    paths = [tmp_path / name for name in ("index.parquet", "images.npy", "pool.json")]
    for write, path, part in zip(
        (artifacts.write_table, artifacts.write_array, artifacts.write_json), paths, parts, strict=True
    ):
        write(path, part)
    return root, paths


def same(batch, images, root, positions):
    return all(
        np.array_equal(pixels.permute(1, 2, 0).numpy(), decoding.decode(root / images.files[position]))
        for pixels, position in zip(batch, positions, strict=True)
    )


@pytest.mark.parametrize("split", ["pool", "test"])
def test_reading_gives_the_pixels_of_the_files(stored, kind, split):
    root, paths = stored
    images = Images.open(*paths, split=split)
    assert len(images) == {"pool": 12, "test": 4}[split]
    assert images.ids.tolist() == list(range(len(images)))
    assert images.labels.dtype == images.ids.dtype == np.int64
    assert images.streams == (kind == "streamed")
    batch = images.read([3, 0, 3])
    assert isinstance(batch, torch.Tensor) == (kind == "packed")
    assert batch[0].dtype == torch.uint8
    assert same(batch, images, root, [3, 0, 3])
    assert same(images.read(slice(1, 3)), images, root, [1, 2])


def test_subsets_keep_ids_labels_and_pixels(stored, kind):
    root, paths = stored
    images = Images.open(*paths)
    part = images.subset(np.array([7, 2, 9])).subset([2, 0])
    assert part.ids.tolist() == [9, 7]
    assert part.labels.tolist() == images.labels[[9, 7]].tolist()
    assert same(part.read([1, 0]), images, root, [7, 9])
    held = part.in_memory()
    assert not held.streams
    assert held.ids.tolist() == [9, 7]
    assert same(held.read([1, 0]), images, root, [7, 9])
    assert same(held.subset([1]).read([0]), images, root, [7])


def test_memory_is_bounded(stored, kind):
    images = Images.open(*stored[1])
    assert images.in_memory(max_bytes=1000) is images


def test_in_memory_decodes_once(stored, monkeypatch):
    images = Images.open(*stored[1])
    held = images.in_memory(workers=2)
    monkeypatch.setattr(decoding, "decode", lambda path: pytest.fail("decoded again"))
    assert len(held.read(np.arange(12))) == 12


def test_equal_sizes_in_memory_are_one_tensor(stored, kind):
    images = Images.open(*stored[1]).in_memory()
    sizes = [tuple(image.shape[1:]) for image in images.read(np.arange(12))]
    position = [number for number in range(12) if sizes[number] == sizes[0]]
    assert isinstance(images.subset(position).in_memory().read([0, 1]), torch.Tensor) == (kind == "packed")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_what_reading_gives_in_any_number_of_threads(stored, workers):
    root, paths = stored
    images = Images.open(*paths)
    positions = [np.array([1, 5]), np.array([0]), np.array([11, 2, 3, 4]), slice(0, 2)]
    batches = list(images.batches(positions, workers=workers))
    assert [len(batch) for batch in batches] == [2, 1, 4, 2]
    for batch, chosen in zip(batches, [[1, 5], [0], [11, 2, 3, 4], [0, 1]], strict=True):
        assert same(batch, images, root, chosen)
    assert list(images.batches([], workers=workers)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_endless_batches_are_asked_for_only_a_little_ahead(stored, workers):
    asked = []

    def positions():
        for number in itertools.count():
            asked.append(number)
            yield np.array([number % 12, 3])

    batches = Images.open(*stored[1]).batches(positions(), workers=workers, prefetch=2)
    for _ in range(3):
        next(batches)
    batches.close()
    assert len(asked) <= 6


def test_files_without_a_root_are_refused(stored, kind):
    _, paths = stored
    artifacts.write_json(paths[2], artifacts.read_json(paths[2]) | {"root": None})
    if kind == "packed":
        assert len(Images.open(*paths).read([0])) == 1
    else:
        with pytest.raises(DataError, match=r"set datasets\.mine\.root"):
            Images.open(*paths)


def test_a_file_that_vanished_or_broke_is_named(stored, kind):
    root, paths = stored
    images = Images.open(*paths)
    if kind == "packed":
        return
    broken = root / images.files[4]
    broken.write_bytes(broken.read_bytes()[:30])
    for read in (
        lambda: images.read([4]),
        lambda: list(images.batches([[0], [4]], workers=2)),
        lambda: images.in_memory(),
    ):
        with pytest.raises(DataError, match="image id 4") as error:
            read()
        assert str(broken) in str(error.value)
    (root / images.files[7]).unlink()
    with pytest.raises(DataError, match=r"image id 7: .*the file is missing"):
        images.read([7])


def test_a_moved_folder_is_given_by_root(stored, kind):
    root, paths = stored
    moved = root.rename(root.parent / "elsewhere")
    images = Images.open(*paths, root=str(moved))
    assert same(images.read([2]), images, moved, [2])
    assert Images.open(*paths, root="none").root == root


def test_files_of_different_pools_are_refused(stored, kind):
    _, paths = stored
    meta = artifacts.read_json(paths[2])
    artifacts.write_json(paths[2], meta | {"test_size": 5})
    with pytest.raises(ArtifactError, match="run the pool's target again"):
        Images.open(*paths)


def test_threads_work_ahead_in_order():
    def slow(number):
        time.sleep(0.02 * (number % 3))
        return number

    batches = [range(start, start + 4) for start in range(0, 24, 4)]
    start = time.perf_counter()
    done = list(map_batches(slow, batches, workers=8, ahead=3))
    seconds = time.perf_counter() - start
    assert done == [list(batch) for batch in batches]
    assert seconds < 0.6 * 0.02 * sum(number % 3 for number in range(24))


def test_an_error_comes_in_its_turn():
    def fail(number):
        if number == 3:
            raise DataError("three")
        return number

    batches = map_batches(fail, [[0, 1], [2, 3], [4, 5]], workers=2, ahead=3)
    assert next(batches) == [0, 1]
    with pytest.raises(DataError, match="three"):
        next(batches)
