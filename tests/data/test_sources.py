import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vecaf.data import sources
from vecaf.errors import DataError


def test_digits_are_the_real_scans():
    source = sources.load("digits", None, seed=1)
    assert source.classes[3] == "three"
    assert [len(source.items[split].files) for split in ("pool", "test")] == [1437, 360]
    pool = source.items["pool"]
    assert pool.pixels.shape == (1437, 8, 8, 3)
    assert (pool.pixels.min(), pool.pixels.max()) == (0, 255)
    assert np.array_equal(pool.pixels[..., 0], pool.pixels[..., 2])
    counts = np.bincount(pool.labels) + np.bincount(source.items["test"].labels)
    assert np.abs(np.bincount(pool.labels) - 0.8 * counts).max() < 1
    everything = set(pool.files) | set(source.items["test"].files)
    assert len(everything) == 1797


def test_class_folders_are_sorted_by_name(folder):
    root = folder(classes=("zebra", "ant"))
    Image.new("RGB", (4, 4)).save(root / "train" / "ant" / "._hidden.png")
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    source = sources.load("image_folder", str(root))
    assert source.classes == ["ant", "zebra"]
    assert source.items["pool"].files[:2] == ["train/ant/000.png", "train/ant/001.png"]
    assert source.items["pool"].labels.tolist() == [0] * 5 + [1] * 5
    assert source.items["test"].files == [f"test/{name}/00{i}.png" for name in ("ant", "zebra") for i in range(2)]


def test_imagenet_reads_val(folder):
    root = folder(classes=("n01440764", "n01443537"))
    (root / "test").rename(root / "val")
    source = sources.load("imagenet", str(root))
    assert source.items["test"].files[0] == "val/n01440764/000.png"


@pytest.fixture
def caltech(tmp_path):
    base = tmp_path / "caltech101" / "101_ObjectCategories"
    for name, number in (("Faces", 35), ("anchor", 33), ("BACKGROUND_Google", 3)):
        (base / name).mkdir(parents=True)
        for image in range(1, number + 1):
            Image.new("RGB", (6 + image % 3, 7)).save(base / name / f"image_{image:04d}.jpg")
    return str(tmp_path)


@pytest.mark.parametrize(("rule", "pool"), [("stratified_80_20", int(0.8 * 68)), ("30_per_class", 60)])
def test_caltech_leaves_the_background_out_and_splits_by_rule(caltech, rule, pool):
    source = sources.load("caltech101", caltech, split_rule=rule, seed=9)
    again = sources.load("caltech101", caltech, split_rule=rule, seed=9)
    assert source.classes == ["Faces", "anchor"]
    assert len(source.items["pool"].files) == pool
    assert source.items["pool"].files == again.items["pool"].files
    files = source.items["pool"].files + source.items["test"].files
    assert len(set(files)) == 68
    assert "caltech101/101_ObjectCategories/anchor/image_0033.jpg" in files
    assert (
        sources.load("caltech101", caltech, split_rule=rule, seed=8).items["pool"].files != source.items["pool"].files
    )


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A miniature of CIFAR-10's own files, with torchvision told their checksums."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(0)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(name):
        return write(name, {"data": random.integers(0, 255, (6, 3072), dtype=np.uint8), "labels": [0, 1, 2, 0, 1, 2]})

    monkeypatch.setattr(CIFAR10, "train_list", [batch("data_batch_1"), batch("data_batch_2")])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    name, checksum = write("batches.meta", {"label_names": ["airplane", "automobile", "bird"]})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": checksum})
    return tmp_path


def test_cifar_through_torchvision(cifar):
    source = sources.load("cifar10", str(cifar))
    assert source.classes == ["airplane", "automobile", "bird"]
    assert source.items["pool"].pixels.shape == (12, 32, 32, 3)
    assert source.items["test"].files[5] == "test/00005"


def test_a_damaged_cifar_file_is_told(cifar):
    (cifar / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"half")
    with pytest.raises(DataError, match="incomplete or damaged"):
        sources.load("cifar10", str(cifar))


@pytest.mark.parametrize("source", ["cifar10", "caltech101", "imagenet", "image_folder"])
def test_a_missing_root_is_named_with_what_belongs_there(tmp_path, source):
    root = tmp_path / "nowhere"
    problem = str(sources.root_problem(source, str(root)))
    needed, _ = sources.LAYOUTS[source]
    assert str(root) in problem
    assert all(part in problem for part in needed)
    with pytest.raises(DataError) as error:
        sources.load(source, str(root))
    assert str(error.value) == problem
    assert not root.exists()
    assert "needs a root" in sources.root_problem(source, None).what


def test_a_root_that_lacks_one_part_says_which(folder):
    root = folder()
    assert sources.root_problem("image_folder", str(root)) is None
    (root / "test").rename(root / "tset")
    assert "has no test:" in sources.root_problem("image_folder", str(root)).what


def test_digits_need_no_root():
    assert sources.root_problem("digits", None) is None


def test_wrong_split_rules_are_refused(folder):
    with pytest.raises(DataError, match="has its own training and test images"):
        sources.load("image_folder", str(folder()), split_rule="30_per_class")
    with pytest.raises(DataError, match="'half' is not one of"):
        sources.load("digits", None, split_rule="half")


def test_a_folder_without_classes_says_so(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    with pytest.raises(DataError, match="holds no class folders"):
        sources.load("image_folder", str(tmp_path))


def test_importing_is_cheap():
    code = "import sys, vecaf.data.sources; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "torchvision", "pandas", "sklearn", "scipy", "PIL"} & set(loaded) == set()
