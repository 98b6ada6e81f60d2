"""Planted pools: a known share of the images is corrupted, so that what a domain prompt finds can be counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecaf.artifacts import digest
from vecaf.data import corrupted, corruptions, decoding, splits
from vecaf.data.prefetch import chunked, map_batches
from vecaf.data.sources import Items, Source
from vecaf.seeds import derive

if TYPE_CHECKING:
    import pandas as pd


def sample(source: Source, images: int, seed: int) -> Source:
    """Return a source with at most so many images in each split, a seeded stratified part of a larger one."""

    def part(items: Items) -> Items:
        if len(items.files) <= images:
            return items
        kept = np.flatnonzero(splits.stratified(items.labels, Fraction(images, len(items.files)), seed))
        pixels = None if items.pixels is None else items.pixels[kept]
        return Items([items.files[row] for row in kept], items.labels[kept], pixels)

    return replace(source, items={name: part(items) for name, items in source.items.items()})


def plant(
    index: pd.DataFrame, images: np.ndarray, facts: Mapping[str, Any], planted: Mapping[str, Any], workers: int = 0
) -> tuple[pd.DataFrame, np.ndarray, dict[str, Any]]:
    """Return the three results of ``pool.build_pool`` with a share of the pool's images corrupted.

    planted: corruption, severity, share, seed. The index has a column ``planted`` (bool), a stratified draw; labels
    stay. Images that are not packed are now, all of them resized and cropped as ImageNet-C's, so that nothing but the
    corruption tells the planted ones apart. Nothing goes through JPEG.
    """
    if not len(images):
        images = _cropped(index["file"], Path(facts["root"]), workers)
    pool = np.flatnonzero(index["split"] == "pool")  # row = id
    share = Fraction(str(planted["share"]))
    chosen = splits.stratified(index["label"].to_numpy()[pool], share, derive(planted["seed"], "planted"))
    name, severity = planted["corruption"], planted["severity"]

    def spoilt(number: int) -> np.ndarray:
        return corruptions.corrupt(images[pool[number]], name, severity, derive(planted["seed"], name, number))

    numbers = np.flatnonzero(chosen)
    for part in map_batches(lambda n: (n, spoilt(n)), chunked(numbers), workers, ahead=2):
        for number, pixels in part:
            images[pool[number]] = pixels
    marks = np.zeros(len(index), dtype=bool)
    marks[pool[numbers]] = True
    told = {"planted": dict(planted), "planted_size": len(numbers)}
    changed = {"packed": True, "image_size": list(images.shape[1:3])}
    changed["index_hash"] = digest([facts["index_hash"], dict(planted)])
    return index.assign(planted=marks), images, dict(facts) | changed | told


def _cropped(files: pd.Series, root: Path, workers: int) -> np.ndarray:
    side = corrupted.CROPPED
    images = np.empty((len(files), side, side, 3), dtype=np.uint8)

    def read(row: int) -> tuple[int, np.ndarray]:
        return row, corrupted.resize_and_crop(decoding.decode(root / files.iloc[row]))

    for part in map_batches(read, chunked(np.arange(len(files))), workers, ahead=2):
        for row, pixels in part:
            images[row] = pixels
    return images
