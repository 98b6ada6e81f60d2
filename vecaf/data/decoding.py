"""One image file as RGB pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vecaf.errors import DataError


def decode(path: str | Path) -> np.ndarray:
    """Return the pixels of an image file, (H, W, 3) uint8.

    Greyscale, palette and CMYK images become RGB as Pillow converts them and EXIF rotation is ignored, as in timm's
    and torchvision's image folders. Transparency is laid on white. 16-bit greyscale keeps its upper 8 bits.
    Raises DataError naming the file and the reason.
    """
    return _opened(path, _pixels)


def check(path: str | Path) -> None:
    """Read a whole image file without keeping its pixels; raises DataError naming the file and the reason."""
    _opened(path, _load)


def _load(image: Image.Image) -> None:
    image.draft(None, (1, 1))  # JPEG: all bytes are read, but pixels come out at an eighth of the size
    image.load()


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16 bits to 255, which turns nearly everything white.
        grey = (np.clip(np.asarray(image, dtype=np.int64), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")  # what lies under transparent pixels is arbitrary, often black
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _opened(path: str | Path, read):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # corrupt EXIF blocks and the like: the pixels are what counts
            with Image.open(path) as image:
                return read(image)
    except FileNotFoundError:
        reason = "the file is missing"
    except UnidentifiedImageError:
        reason = "not an image that can be decoded" if Path(path).stat().st_size else "the file is empty"
    except MemoryError:
        raise
    except Exception as error:  # every format of Pillow has errors of its own
        reason = f"cannot be decoded ({str(error) or type(error).__name__})"
    raise DataError(f"{path}: {reason}")
