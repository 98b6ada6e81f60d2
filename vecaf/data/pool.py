"""The index of a dataset: every image checked once, pool and test set numbered, a tuning split marked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecaf.data.decoding import decode
from vecaf.data.sources import Items, Source, stratified
from vecaf.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

PACK_LIMIT = 1 << 30  # bytes of decoded images that are kept in one array instead of files
TUNING_SHARE = 0.1
NAMED = 20  # problems that an error names; the rest is counted


def build_pool(
    source: Source,
    *,
    dataset: str,
    tuning_seed: int,
    pool_size: int | None = None,
    pack_limit: int = PACK_LIMIT,
) -> tuple[pd.DataFrame, np.ndarray, dict[str, Any]]:
    """Return the index, the packed images and the facts of a dataset, after decoding every image once.

    Images that all have one size and fit the limit are packed, uint8 (M, H, W, 3), pool rows first and then test rows;
    else the array is empty and images are read from their files. Raises one DataError that names up to 20 undecodable
    files, repeated files, empty or unmatched classes, and a pool of another size than expected.
    """
    import pandas as pd

    splits = {"pool": source.pool, "test": source.test}
    problems = [*source.problems, *_structure(source, splits)]
    if pool_size is not None and len(source.pool.files) != pool_size:
        problems.append(f"the configuration says pool_size {pool_size}, found {len(source.pool.files)} images")
    packed, undecodable = _decoded(source, splits, pack_limit)
    problems += undecodable
    if problems:
        rest = f"\n  … and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        where = f" below {source.root}" if source.root else ""
        lines = "\n  ".join(problems[:NAMED])
        raise DataError(f"{dataset}: {len(problems)} problem(s){where}; mend or remove these:\n  {lines}{rest}")

    tuning = stratified(source.pool.labels, TUNING_SHARE, tuning_seed)
    frames = [
        pd.DataFrame(
            {
                "id": np.arange(len(items.files)),
                "file": items.files,
                "label": items.labels.astype(np.int16),
                "split": split,
                "tuning": tuning if split == "pool" else False,
            }
        )
        for split, items in splits.items()
    ]
    meta = {
        "dataset": dataset,
        "source": source.name,
        "classes": source.classes,
        "pool_size": len(source.pool.files),
        "test_size": len(source.test.files),
        "tuning_size": int(tuning.sum()),
        "packed": bool(len(packed)),
        "pool_counts": np.bincount(source.pool.labels, minlength=len(source.classes)).tolist(),
        "test_counts": np.bincount(source.test.labels, minlength=len(source.classes)).tolist(),
    }
    return pd.concat(frames, ignore_index=True), packed, meta


def _structure(source: Source, splits: dict[str, Items]) -> Iterator[str]:
    for split, items in splits.items():
        if not items.files:
            yield f"the {split} has no image"
        yield from (f"{name} is in the {split} {n} times" for name, n in Counter(items.files).items() if n > 1)
    if source.root is not None:
        both = set(source.pool.files) & set(source.test.files)
        yield from (f"{name} is in the pool and in the test set" for name in sorted(both))
    present = np.unique(source.pool.labels)
    for label in np.setdiff1d(np.unique(source.test.labels), present):
        yield f"class {source.classes[label]} has test images and none in the pool"


def _decoded(source: Source, splits: dict[str, Items], limit: int) -> tuple[np.ndarray, list[str]]:
    """Return the packed images (or none) and the undecodable files; holds no image that is not packed."""
    everything = list(splits.values())
    if all(items.images is not None for items in everything):
        return np.concatenate([items.images for items in everything]), []
    files = [name for items in everything for name in items.files]
    problems: list[str] = []
    packed: np.ndarray | None = None
    can_pack = True
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        # Submitted in pieces: a million pending futures would hold a million decoded images.
        for start in range(0, len(files), 1024):
            part = files[start : start + 1024]
            for offset, image in enumerate(threads.map(lambda name: _try(source.root, name), part)):
                if isinstance(image, str):
                    problems.append(image)
                    continue
                if can_pack and packed is None:
                    can_pack = len(files) * image.nbytes <= limit
                    packed = np.empty((len(files), *image.shape), dtype=np.uint8) if can_pack else None
                if can_pack and image.shape != packed.shape[1:]:
                    can_pack, packed = False, None
                if can_pack:
                    packed[start + offset] = image
    return packed if packed is not None else np.empty((0, 0, 0, 3), dtype=np.uint8), problems


def _try(root: Path, name: str) -> np.ndarray | str:
    try:
        return decode(root / name)
    except DataError as error:
        return str(error)
