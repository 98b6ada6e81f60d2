"""Where the images and labels of a dataset come from: one function a source, all with the same result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vecaf.errors import DataError
from vecaf.seeds import derive, keyed_uniform

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif"}
BACKGROUND = "BACKGROUND_Google"  # Caltech-101's folder of clutter, no class


@dataclass
class Items:
    """The images of one split, in a fixed order. files: names, relative to the root when they are files there.

    labels: (n,) int64. images: (n, H, W, 3) uint8 when the source holds decoded images, else None.
    """

    files: list[str]
    labels: np.ndarray
    images: np.ndarray | None = None


@dataclass
class Source:
    """A dataset as found: class names in the order of labels, the pool and the test set."""

    name: str
    root: Path | None
    classes: list[str]
    pool: Items
    test: Items
    problems: list[str] = field(default_factory=list)


def load(source: str, root: str | None, *, split_rule: str | None = None, seed: int = 0) -> Source:
    """Return the images and labels of a source.

    root: its folder, None for embedded ones. split_rule, seed: how pool and test set are split where the source has no
    split of its own. Raises DataError naming the root and what is expected below it.
    """
    if problem := root_problem(source, root):
        raise DataError(problem)
    return _LOADERS[source](Path(root) if root else None, split_rule, seed)


def root_problem(source: str, root: str | None) -> str | None:
    """Say what is missing below a dataset's root, or None; cheap, it opens no image."""
    if source == "digits":
        return None
    expected = _EXPECTED[source]
    if not root:
        return f"no root is set; expected a folder with {expected}"
    folder = Path(root)
    if not folder.is_dir():
        return f"{root} does not exist; expected a folder with {expected} (docs/datasets.md)"
    missing = [name for name in _NEEDED[source] if not (folder / name).exists()]
    if missing:
        return f"{root} lacks {', '.join(missing)}; expected {expected} (docs/datasets.md)"
    return None


_EXPECTED = {
    "cifar10": "cifar-10-batches-py/ as torchvision unpacks it",
    "caltech101": "caltech101/101_ObjectCategories/ as torchvision unpacks it",
    "imagenet": "train/WNID/*.JPEG and val/WNID/*.JPEG",
    "image_folder": "train/CLASS/ and test/CLASS/ with images",
}
_NEEDED = {
    "cifar10": ["cifar-10-batches-py"],
    "caltech101": ["caltech101/101_ObjectCategories"],
    "imagenet": ["train", "val"],
    "image_folder": ["train", "test"],
}


def _digits(root: Path | None, split_rule: str | None, seed: int) -> Source:
    """The 1,797 handwritten digits of scikit-learn, 8×8, grey values 0…16 stretched to 0…255; a fifth is the test set."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=3)
    labels = bunch.target.astype(np.int64)
    test = stratified(labels, 0.2, seed)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

    def items(rows: np.ndarray) -> Items:
        return Items([f"scan/{row:05d}" for row in rows], labels[rows], images[rows])

    return Source("digits", None, names, items(np.flatnonzero(~test)), items(np.flatnonzero(test)))


def _cifar10(root: Path | None, split_rule: str | None, seed: int) -> Source:
    from torchvision.datasets import CIFAR10

    def items(train: bool) -> Items:
        try:
            found = CIFAR10(root, train=train, download=False)
        except RuntimeError as error:
            raise DataError(f"{root}: {error}; delete cifar-10-batches-py and download it again") from error
        name = "train" if train else "test"
        return Items(
            [f"{name}/{row:05d}" for row in range(len(found.data))], np.array(found.targets, np.int64), found.data
        )

    pool = items(True)
    return Source("cifar10", root, CIFAR10(root, download=False).classes, pool, items(False))


def _caltech101(root: Path | None, split_rule: str | None, seed: int) -> Source:
    """Caltech-101 without its background class; it has no official split, so a seeded one is made and published."""
    from torchvision.datasets import Caltech101

    found = Caltech101(root, download=False)
    kept = [name for name in found.categories if name != BACKGROUND]
    files, labels = [], []
    for position, number in zip(found.y, found.index, strict=True):
        category = found.categories[position]
        if category != BACKGROUND:
            files.append(f"caltech101/101_ObjectCategories/{category}/image_{number:04d}.jpg")
            labels.append(kept.index(category))
    labels = np.array(labels, dtype=np.int64)
    test = thirty_per_class(labels, seed) if split_rule == "30_per_class" else stratified(labels, 0.2, seed)

    def items(rows: np.ndarray) -> Items:
        return Items([files[row] for row in rows], labels[rows])

    return Source("caltech101", root, kept, items(np.flatnonzero(~test)), items(np.flatnonzero(test)))


def _folders(name: str, pool_folder: str, test_folder: str) -> Callable:
    def load_folders(root: Path, split_rule: str | None, seed: int) -> Source:
        classes, pool, empty = _class_folders(root, pool_folder, None)
        test_classes, test, test_empty = _class_folders(root, test_folder, classes)
        problems = [f"{path} holds no image" for path in (*empty, *test_empty)]
        unknown = [f"{test_folder}/{c} has no counterpart in {pool_folder}/" for c in test_classes if c not in classes]
        return Source(name, root, classes, pool, test, problems + unknown)

    return load_folders


def _class_folders(root: Path, folder: str, classes: list[str] | None) -> tuple[list[str], Items, list[str]]:
    """Return the classes, images and empty class folders below one split, everything in the order of names."""
    found = sorted(path.name for path in (root / folder).iterdir() if path.is_dir())
    order = classes if classes is not None else found
    files: list[str] = []
    labels: list[int] = []
    empty = []
    for name in found:
        if name not in order:
            continue
        inside = sorted(
            path.name for path in (root / folder / name).iterdir() if path.suffix.lower() in IMAGE_ENDINGS
        )
        if not inside:
            empty.append(f"{folder}/{name}")
        files += [f"{folder}/{name}/{file}" for file in inside]
        labels += [order.index(name)] * len(inside)
    return found, Items(files, np.array(labels, dtype=np.int64)), empty


def stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return a mask (N,) that marks a seeded share of each class, rounded, with at least one sample left unmarked."""
    marked = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(round(share * len(rows)), len(rows) - 1)
        marked[rows[np.argsort(keyed_uniform(derive(seed, label), rows), kind="stable")[:count]]] = True
    return marked


def thirty_per_class(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return a mask (N,) of the test set when the pool is thirty seeded images of each class."""
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        test[rows[np.argsort(keyed_uniform(derive(seed, label), rows), kind="stable")[30:]]] = True
    return test


_LOADERS: dict[str, Callable[[Path | None, str | None, int], Source]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "caltech101": _caltech101,
    "imagenet": _folders("imagenet", "train", "val"),
    "image_folder": _folders("image_folder", "train", "test"),
}
