"""The index of a labelled pool and its test set, made once every image is known to be whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecaf.data import decoding, splits
from vecaf.data.prefetch import chunked, map_batches
from vecaf.data.sources import Items, Source
from vecaf.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("pool", "test")
TUNING_SHARE = Fraction(1, 10)
LISTED = 20  # problems that an error names one by one
EMPTY = (0, 0, 0, 3)


def build_pool(
    source: Source,
    *,
    dataset: str,
    tuning_seed: int,
    pool_size: int | None = None,
    pack_limit: int = 1 << 30,
    workers: int = 0,
) -> tuple[pd.DataFrame, np.ndarray, dict[str, Any]]:
    """Check every image of a dataset and return its index, its packed images and facts about it.

    index: columns id int64 (counts from 0 in each split), file str, label int16, split ``pool`` | ``test``, tuning bool
    (a seeded, stratified 10 % of the pool). images: (M, H, W, 3) uint8, pool rows first, when all images have one size
    and fit ``pack_limit`` bytes, else (0, 0, 0, 3): images are then read from their files. facts: plain JSON. workers:
    decoding threads, 0 for one per core. Never holds more than a window of decoded images unless it packs them. Raises
    one DataError that lists the images and classes that are wrong: undecodable or duplicate files, class folders
    without images, classes of the test set that the pool lacks, or an unexpected size.
    """
    import pandas as pd

    problems = [*source.problems, *_duplicates(source), *_class_problems(source)]
    found = len(source.items["pool"].files)
    unexpected = []
    if pool_size is not None and pool_size != found:
        remedy = f"correct datasets.{dataset}.pool_size"
        unexpected = [f"the pool has {found} images, but pool_size is {pool_size}; {remedy}"]
    images, undecodable = _read_all(source, pack_limit, workers)
    problems += undecodable
    if unexpected or problems:
        raise DataError(_listed(dataset, source, unexpected, problems))

    parts = []
    for split in SPLITS:
        items = source.items[split]
        tuning = np.zeros(len(items.files), dtype=bool)
        if split == "pool":
            tuning = splits.stratified(items.labels, TUNING_SHARE, tuning_seed)
        columns = {"id": np.arange(len(items.files)), "file": items.files, "label": items.labels.astype(np.int16)}
        parts.append(pd.DataFrame(columns | {"split": split, "tuning": tuning}))
    index = pd.concat(parts, ignore_index=True)
    packed = len(images) > 0
    number = len(source.classes)
    return (
        index,
        images,
        {
            "dataset": dataset,
            "source": source.name,
            "root": None if source.root is None else str(source.root),
            "classes": list(source.classes),
            "pool_size": found,
            "test_size": len(source.items["test"].files),
            "pool_counts": np.bincount(source.items["pool"].labels, minlength=number).tolist(),
            "test_counts": np.bincount(source.items["test"].labels, minlength=number).tolist(),
            "tuning_size": int(index["tuning"].sum()),
            "split_rule": source.split_rule,
            "packed": packed,
            "image_size": list(images.shape[1:3]) if packed else None,
            "index_hash": _index_hash(index),
        },
    )


def judged_on_tuning(
    index: pd.DataFrame, images: np.ndarray, facts: dict[str, Any]
) -> tuple[pd.DataFrame, np.ndarray, dict[str, Any]]:
    """Return the three results of ``build_pool`` with the tuning split as the test set and the rest as the pool.

    The test set itself is left out, so that no value can be chosen on it. Ids count from 0 in each part again. Raises
    DataError for a pool so small that a part would be empty.
    """
    import pandas as pd

    pool = index["split"].eq("pool").to_numpy()
    tuning = index["tuning"].to_numpy()
    rows = np.concatenate([np.flatnonzero(pool & ~tuning), np.flatnonzero(pool & tuning)])
    sizes = [int((pool & ~tuning).sum()), int((pool & tuning).sum())]
    if not all(sizes):
        raise DataError(f"a pool of {sum(sizes)} images has no tuning split; judged_on: tuning needs more images")
    index = index.iloc[rows].reset_index(drop=True)
    index["id"] = np.concatenate([np.arange(size) for size in sizes])
    index["split"] = np.repeat(SPLITS, sizes)
    index["tuning"] = False
    number = len(facts["classes"])
    counts = [np.bincount(part, minlength=number).tolist() for part in np.split(index["label"].to_numpy(), sizes[:1])]
    changed = {
        "pool_size": sizes[0],
        "test_size": sizes[1],
        "pool_counts": counts[0],
        "test_counts": counts[1],
        "tuning_size": 0,
        "index_hash": _index_hash(index),
    }
    images = images[rows] if len(images) else images
    return pd.DataFrame(index), images, facts | changed


def _index_hash(index: pd.DataFrame) -> str:
    """Return the SHA-256 of ids, files, labels and splits: equal where two people have the same pool."""
    hasher = hashlib.sha256()
    for row in index.itertuples(index=False):
        hasher.update(f"{row.split}\t{row.id}\t{row.file}\t{row.label}\t{int(row.tuning)}\n".encode())
    return hasher.hexdigest()


def _duplicates(source: Source) -> Iterator[str]:
    """Yield every file that occurs more than once, in one split or in both."""
    where: dict[str, list[str]] = {}
    counts = Counter(file for split in SPLITS for file in source.items[split].files)
    twice = {file for file, count in counts.items() if count > 1}
    if twice:
        for split in SPLITS:
            for number, file in enumerate(source.items[split].files):
                if file in twice:
                    where.setdefault(file, []).append(f"{split} id {number}")
    for file, places in where.items():
        yield f"{file}: listed {len(places)} times ({', '.join(places)})"


def _class_problems(source: Source) -> Iterator[str]:
    """Yield every class that has no pool image, and every split without images or with labels of no class."""
    counts = {}
    for split in SPLITS:
        items = source.items[split]
        if not items.files:
            yield f"the {split} split has no images"
        if len(items.labels) != len(items.files):
            yield f"the {split} split has {len(items.labels)} labels for {len(items.files)} images"
        outside = set(items.labels.tolist()) - set(range(len(source.classes)))
        if outside:
            yield f"the {split} split has labels outside 0..{len(source.classes) - 1}: {sorted(outside)[:5]}"
        counts[split] = Counter(items.labels.tolist())
    for label, name in enumerate(source.classes):
        if not counts["pool"][label] and counts["test"][label]:
            yield f"class {name}: {counts['test'][label]} test images, but none in the pool"
        elif not counts["pool"][label] and not source.problems:  # an empty class folder is reported as such
            yield f"class {name}: no images"


def _read_all(source: Source, pack_limit: int, workers: int) -> tuple[np.ndarray, list[str]]:
    """Return packed images, or an empty array, and a line for each image that cannot be decoded."""
    items = [source.items[split] for split in SPLITS]
    if all(part.pixels is not None for part in items):
        return np.concatenate([part.pixels for part in items]), []
    return _read_files(source, items, pack_limit, workers)


def _read_files(source: Source, items: list[Items], pack_limit: int, workers: int) -> tuple[np.ndarray, list[str]]:
    from tqdm import tqdm

    files = [file for part in items for file in part.files]
    packing = _Packing(len(files), pack_limit)
    problems: list[str] = []

    def read(file: str) -> np.ndarray | str | None:
        path = Path(source.root or "") / file
        try:
            if packing.going:
                return decoding.decode(path)
            decoding.check(path)
        except DataError as error:
            return str(error).removeprefix(str(path))
        return None

    results = chain.from_iterable(map_batches(read, chunked(files), workers, ahead=4))
    progress = tqdm(files, unit="image", disable=None, leave=False)
    for row, (file, result) in enumerate(zip(progress, results, strict=True)):
        if isinstance(result, str):
            problems.append(file + result)
        elif result is not None:
            packing.add(row, result)
    return packing.images() if not problems else np.empty(EMPTY, dtype=np.uint8), problems


class _Packing:
    """Collects decoded images in one array for as long as all have the size of the first and fit a limit."""

    def __init__(self, number: int, limit: int):
        self._number, self._limit = number, limit
        self._array: np.ndarray | None = None
        self.going = number > 0

    def add(self, row: int, image: np.ndarray) -> None:
        if not self.going:
            return
        if self._array is None and self._number * image.nbytes <= self._limit:
            self._array = np.empty((self._number, *image.shape), dtype=np.uint8)
        if self._array is None or self._array.shape[1:] != image.shape:
            self.going, self._array = False, None
        else:
            self._array[row] = image

    def images(self) -> np.ndarray:
        return np.empty(EMPTY, dtype=np.uint8) if self._array is None else self._array


def _listed(dataset: str, source: Source, of_configuration: list[str], of_files: list[str]) -> str:
    place = f" under {source.root}" if source.root else ""
    problems = of_configuration + of_files
    lines = [f"dataset {dataset}{place} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:"]
    lines += [f"  {problem}" for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        lines.append(f"  … and {len(problems) - LISTED} more")
    if of_files:
        lines.append("Replace or remove these files and folders (in both splits), then run the target again.")
    return "\n".join(lines)
