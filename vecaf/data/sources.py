"""Where images and labels come from: embedded digits, torchvision's datasets, class folders.

Imported when the Snakefile is parsed, so torchvision and scikit-learn are imported by the functions that need them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from vecaf.data import splits
from vecaf.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".avif")
DIGIT_NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

# What lies under the root of each source, and how to get it.
LAYOUTS = {
    "digits": ([], ""),
    "cifar10": (
        ["cifar-10-batches-py"],
        "fetch it once where there is a network: "
        "python -c \"import torchvision; torchvision.datasets.CIFAR10('{root}', download=True)\"",
    ),
    "caltech101": (
        ["caltech101/101_ObjectCategories"],
        "fetch it once where there is a network: "
        "python -c \"import torchvision; torchvision.datasets.Caltech101('{root}', download=True)\"",
    ),
    "imagenet": (
        ["train", "val"],
        "get ILSVRC2012 from image-net.org (registration needed) and unpack it as train/WNID/*.JPEG, val/WNID/*.JPEG; "
        "docs/datasets.md has the commands",
    ),
    "image_folder": (["train", "test"], "put your images into train/CLASS/*.png and test/CLASS/*.png"),
}


@dataclass(frozen=True)
class Items:
    """The images of one split, row = id: files (relative to the root, or stable names), labels (n,) int64, and the
    pixels (n, H, W, 3) uint8 of a source that is not made of files."""

    files: list[str]
    labels: np.ndarray
    pixels: np.ndarray | None = None


@dataclass(frozen=True)
class Source:
    """A dataset as it lies on disk, not yet checked. ``problems``: what listing it found wrong, a line each."""

    name: str
    classes: list[str]
    items: dict[str, Items]
    root: Path | None = None
    split_rule: str = "official"
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """What is wrong, and what to do about it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


def root_problem(source: str, root: str | None) -> Problem | None:
    """Return what is missing under a dataset's root and how to get it, or None where nothing is; reads no image."""
    if source not in LAYOUTS:
        return Problem(f"source {source!r} is not one of {', '.join(LAYOUTS)}", "name one of them")
    needed, remedy = LAYOUTS[source]
    if not needed:
        return None
    if root is None:
        what = f"source {source} needs a root, the folder that holds {' and '.join(needed)}"
        return Problem(what, remedy.format(root="ROOT"))
    missing = [part for part in needed if not (Path(root) / part).is_dir()]
    if not missing:
        return None
    what = f"has no {' and no '.join(missing)}" if Path(root).is_dir() else "is no folder"
    return Problem(f"{root} {what}: {source} needs {' and '.join(needed)} there", remedy.format(root=root))


def load(source: str, root: str | None, *, split_rule: str | None = None, seed: int = 0) -> Source:
    """Return classes, files and labels of a dataset.

    source: ``digits``, ``cifar10``, ``caltech101``, ``imagenet`` or ``image_folder``. root: its folder, None for
    digits. split_rule: ``stratified_80_20`` (default) or ``30_per_class``, only for digits and Caltech-101, which have
    no official split; seed draws it. Ids follow the sorted file names, so they are the same wherever the files lie.
    Raises DataError naming the root, what is expected under it and how to get it.
    """
    if problem := root_problem(source, root):
        raise DataError(str(problem))
    if source in ("digits", "caltech101"):
        loader = _digits if source == "digits" else _caltech101
        return loader(root, split_rule or "stratified_80_20", seed)
    if split_rule is not None:
        raise DataError(f"split_rule {split_rule!r}: {source} has its own training and test images; remove split_rule")
    if source == "cifar10":
        return _cifar10(root)
    return _folders(source, Path(root), {"pool": "train", "test": "val" if source == "imagenet" else "test"})


def released_corruption(root: str | Path, corruption: str, severity: int, files: Sequence[str]) -> list[str]:
    """Return the file of each test image in a released ImageNet-C, ``CORRUPTION/SEVERITY/WNID/NAME.JPEG`` under root.

    files: the test images of the labelled pool, …/WNID/NAME.JPEG, in the order of their ids. Raises DataError naming
    what is missing, and the class folders that hold other images than the test set, up to five.
    """
    folder = f"{corruption}/{severity}"
    remedy = (
        f"unpack the archive of {corruption} from https://zenodo.org/records/2235448 as CORRUPTION/SEVERITY/WNID/*.JPEG"
    )
    for place in (Path(root), Path(root) / corruption, Path(root) / folder):
        if not place.is_dir():
            raise DataError(f"{place} is no folder: ImageNet-C is read from {folder} under its root; {remedy}")
    wanted: dict[str, set[str]] = {}
    for file in files:
        *_, name, image = file.split("/")
        wanted.setdefault(name, set()).add(image)
    present = _class_folders(Path(root) / folder)
    problems = []
    for name, images in sorted(wanted.items()):
        found = set(_image_names(Path(root) / folder / name)) if name in present else None
        if found is None:
            problems.append(f"{folder}/{name}: no such class folder, the test set has {len(images)} images of it")
        elif found != images:
            lacking, more = sorted(images - found), sorted(found - images)
            first = f"{lacking[0]} is missing" if lacking else f"{more[0]} is no test image"
            problems.append(f"{folder}/{name}: {len(found)} images, the test set has {len(images)}; {first}")
    if problems:
        lines = [f"{root} is not the ImageNet-C of this test set:", *(f"  {problem}" for problem in problems[:5])]
        lines += [f"  … and {len(problems) - 5} more classes"] if len(problems) > 5 else []
        raise DataError("\n".join([*lines, f"Delete {folder} and {remedy}."]))
    return [f"{folder}/{'/'.join(file.split('/')[-2:])}" for file in files]


def _divide(everything: Items, rule: str, seed: int) -> dict[str, Items]:
    """Divide images without an official split into pool and test by a named rule."""
    if rule == "stratified_80_20":
        pool = splits.stratified(everything.labels, Fraction(8, 10), seed)
    elif rule == "30_per_class":
        pool = splits.per_class(everything.labels, 30, seed)
    else:
        raise DataError(f"split_rule {rule!r} is not one of stratified_80_20, 30_per_class")
    return {
        split: Items(
            [everything.files[row] for row in np.flatnonzero(mask)],
            everything.labels[mask],
            None if everything.pixels is None else everything.pixels[mask],
        )
        for split, mask in (("pool", pool), ("test", ~pool))
    }


def _digits(root: str | None, rule: str, seed: int) -> Source:
    """Scikit-learn's 1,797 scans of handwritten digits (Alpaydin & Kaynak, 1998), 8×8 pixels with 0 … 16 of ink."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    pixels = np.rint(scans.images * (255 / 16)).astype(np.uint8)
    files = [f"scan/{number:05d}" for number in range(len(pixels))]
    everything = Items(files, scans.target.astype(np.int64), np.repeat(pixels[..., None], 3, axis=3))
    return Source("digits", DIGIT_NAMES, _divide(everything, rule, seed), split_rule=rule)


def _cifar10(root: str) -> Source:
    from torchvision.datasets import CIFAR10

    items = {}
    for split, train in (("pool", True), ("test", False)):
        try:
            data = CIFAR10(root, train=train, download=False)
        except (RuntimeError, OSError) as error:  # torchvision compares the checksum of every batch
            remedy = LAYOUTS["cifar10"][1].format(root=root)
            raise DataError(
                f"{root}/cifar-10-batches-py is incomplete or damaged ({error}); delete it and {remedy}"
            ) from error
        files = [f"{'train' if train else 'test'}/{number:05d}" for number in range(len(data.data))]
        items[split] = Items(files, np.asarray(data.targets, dtype=np.int64), np.asarray(data.data, dtype=np.uint8))
    return Source("cifar10", list(data.classes), items, Path(root))


def _caltech101(root: str, rule: str, seed: int) -> Source:
    """Caltech-101 (Li et al., 2004), 8,677 images of 101 classes without the background class."""
    from torchvision.datasets import Caltech101

    try:
        data = Caltech101(root, download=False)
    except (RuntimeError, OSError, ValueError) as error:  # ValueError: no background class to take out
        remedy = LAYOUTS["caltech101"][1].format(root=root)
        raise DataError(f"{root}/caltech101 is incomplete ({error}); delete it and {remedy}") from error
    folder = "caltech101/101_ObjectCategories"
    files = [
        f"{folder}/{data.categories[label]}/image_{number:04d}.jpg"
        for label, number in zip(data.y, data.index, strict=True)
    ]
    everything = Items(files, np.asarray(data.y, dtype=np.int64))
    return Source("caltech101", list(data.categories), _divide(everything, rule, seed), Path(root), rule)


def _folders(name: str, root: Path, folders: dict[str, str]) -> Source:
    """List SPLIT/CLASS/FILE; classes are the sorted folder names of both splits."""
    found = {split: _class_folders(root / folder) for split, folder in folders.items()}
    classes = sorted(set().union(*found.values()))
    if not found["pool"]:
        raise DataError(f"{root / folders['pool']} holds no class folders; {LAYOUTS[name][1]}")
    items, problems = {}, []
    for split, folder in folders.items():
        files, labels = [], []
        for label, class_name in enumerate(classes):
            names = _image_names(root / folder / class_name) if class_name in found[split] else None
            if names == []:
                problems.append(f"{folder}/{class_name}: a class folder without images (known: {' '.join(ENDINGS)})")
            files += [f"{folder}/{class_name}/{image}" for image in names or []]
            labels += [label] * len(names or [])
        items[split] = Items(files, np.asarray(labels, dtype=np.int64))
    return Source(name, classes, items, root, problems=problems)


def _class_folders(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}


def _image_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return sorted(name for name in names if name.lower().endswith(ENDINGS) and not name.startswith("."))
