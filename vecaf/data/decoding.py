"""One image file as RGB pixels."""

from __future__ import annotations

import io
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
    return _opened(path, path, _pixels)


def decode_bytes(data: bytes, name: str) -> np.ndarray:
    """Return the pixels of an image file that is held in memory, as ``decode`` does; errors call it by its name."""
    return _opened(io.BytesIO(data), name, _pixels)


def size(path: str | Path) -> tuple[int, int]:
    """Return height and width of an image file from its header alone; raises DataError naming the file and reason."""
    return _opened(path, path, lambda image: (image.height, image.width))


def check(path: str | Path) -> None:
    """Read a whole image file without keeping its pixels; raises DataError naming the file and the reason."""
    _opened(path, path, _load)


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


def _opened(file: str | Path | io.BytesIO, name: str | Path, read):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # corrupt EXIF blocks and the like: the pixels are what counts
            with Image.open(file) as image:
                return read(image)
    except FileNotFoundError:
        reason = "the file is missing"
    except UnidentifiedImageError:
        empty = isinstance(file, str | Path) and not Path(file).stat().st_size
        reason = "the file is empty" if empty else "not an image that can be decoded"
    except MemoryError:
        raise
    except Exception as error:  # every format of Pillow has errors of its own
        reason = f"cannot be decoded ({str(error) or type(error).__name__})"
    raise DataError(f"{name}: {reason}")
