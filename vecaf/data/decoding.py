"""One image file to one RGB array, whatever mode it was stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vecaf.errors import DataError


def decode(path: str | Path) -> np.ndarray:
    """Return an image as (H, W, 3) uint8 RGB.

    Grey, palette and CMYK images are converted, transparency is laid on white, 16-bit grey is scaled to 8 bits (a plain
    conversion would clip it). Raises DataError naming the file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16") or image.mode == "I":
                grey = np.asarray(image, dtype=np.float64)
                grey = np.clip(np.rint(grey * (255 / 65535)), 0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path} is gone; put it back or index the pool again (rule pool)") from None
    except Exception as error:  # Pillow raises many types for broken files
        raise DataError(f"{path} cannot be decoded ({type(error).__name__}: {error})") from error
