"""Corrupted copies of a dataset's own images, as ImageNet-C was made, or as it was released."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from vecaf.data import decoding, image_sets
from vecaf.data.corruptions import corrupt
from vecaf.data.images import Images
from vecaf.data.prefetch import chunked, map_batches
from vecaf.seeds import derive

RESIZED, CROPPED = 256, 224  # short side and crop of ImageNet-C


def crop_of(images: Images) -> int | None:
    """Return the side to which images are cropped before they are corrupted: 224, or None to keep them as they are.

    Images of one size keep it (digits, CIFAR, Tiny-ImageNet); those of several sizes are resized and cropped as
    ImageNet's. Looks at the files' headers, until two sizes differ.
    """
    if not images.streams:
        return None
    sizes = (decoding.size(Path(images.root or "") / file) for file in images.files)
    first = next(sizes, None)
    return CROPPED if any(size != first for size in sizes) else None


def resize_and_crop(pixels: np.ndarray) -> np.ndarray:
    """Return the central 224 × 224 pixels of an image whose short side is resized to 256, bicubic; (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    height, width = (RESIZED * height // short, RESIZED * width // short)
    top, left = round((height - CROPPED) / 2), round((width - CROPPED) / 2)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)[top : top + CROPPED, left : left + CROPPED]


def generate(
    images: Images,
    corruption: str,
    severity: int,
    seed: int,
    *,
    crop: int | None,
    quality: int | None = 85,
    workers: int = 0,
) -> list[bytes]:
    """Return corrupted images as the bytes of image files, in the order of the given ones.

    corruption, severity: as ``corruptions.corrupt``. seed: each image's own seed follows from it, from the corruption
    and from the image's id, so that neither its neighbours nor other severities matter. crop: what ``crop_of`` says of
    the whole set. quality: of JPEG, 85 in ImageNet-C; None to lose nothing, as in CIFAR-10-C. workers: threads, 0 for
    one per core.
    """

    def made(position: int) -> bytes:
        pixels = images.read([position])[0].permute(1, 2, 0).numpy()
        pixels = pixels if crop is None else resize_and_crop(pixels)
        own = derive(seed, corruption, images.ids[position])
        return image_sets.encode(corrupt(pixels, corruption, severity, own), quality)

    return _each(made, len(images), workers)


def collect(files: list[Path], workers: int = 0) -> list[bytes]:
    """Return the bytes of image files as they are, each read whole once; raises DataError naming a broken one."""

    def read(position: int) -> bytes:
        decoding.check(files[position])
        return files[position].read_bytes()

    return _each(read, len(files), workers)


def _each(function: Callable[[int], bytes], count: int, workers: int) -> list[bytes]:
    done: list[bytes] = []
    with tqdm(total=count, unit="image", disable=None, leave=False) as bar:
        for part in map_batches(function, chunked(range(count)), workers, ahead=2):
            done += part
            bar.update(len(part))
    return done
