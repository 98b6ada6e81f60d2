"""Images corrupted per second, beside the ``imagecorruptions`` package in the same run, alone and with JPEG encoding.

One process, one thread, 224-pixel images. Both take turns, so that whatever else the machine does meets both, and the
fastest of several rounds counts. Without the other package ours is timed alone; to have it, beside the project's own
environment and not in it, since it wants an old setuptools:

    python -m pip install --target /tmp/other imagecorruptions 'setuptools<81'
    OMP_NUM_THREADS=1 PYTHONPATH=/tmp/other python -m benchmarks.corruptions
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image

from vecaf.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from vecaf.data.image_sets import encode

SIDE = 224
QUALITY = 85


def scenes(number: int) -> list[np.ndarray]:
    """Return smooth images with some texture, which JPEG encodes about as fast as photographs."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(number):
        coarse = Image.fromarray(generator.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(int)
        made.append(np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8))
    return made


def package() -> Callable[[np.ndarray, str, int], np.ndarray] | None:
    """Return the other package's function, None where it is not installed."""
    vars(np).setdefault("float_", np.float64)  # its fog is written for NumPy 1
    warnings.simplefilter("ignore")  # what else it imports is deprecated
    try:
        from imagecorruptions import corrupt as other
    except ImportError as error:
        print(f"imagecorruptions cannot be imported ({error}); see --help for how to install it\n")
        return None
    return lambda image, corruption, severity: other(image, severity=severity, corruption_name=corruption)


def rate(images: list[np.ndarray], maker: Callable, corruption: str, severity: int, jpeg: bool) -> float:
    """Return images per second."""
    start = time.perf_counter()
    for image in images:
        made = maker(image, corruption, severity)
        if jpeg:
            encode(made, QUALITY)
    return len(images) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="of each round")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    images, other = scenes(args.images), package()
    makers = {"ours": lambda image, corruption, severity: corrupt(image, corruption, severity, seed=severity)}
    makers |= {"imagecorruptions": other} if other else {}

    print(f"{SIDE} px, images per second, the best of {args.rounds} rounds\n")
    print("| corruption | severity | with JPEG | " + " | ".join(makers) + " | ratio |")
    print("|---|---:|---|" + "---:|" * (len(makers) + 1))
    for corruption in CORRUPTIONS:
        for severity in SEVERITIES:
            for jpeg in (False, True):
                best = dict.fromkeys(makers, 0.0)
                for _ in range(args.rounds):
                    for name, maker in makers.items():
                        best[name] = max(best[name], rate(images, maker, corruption, severity, jpeg))
                ratio = f"{best['ours'] / best['imagecorruptions']:.2f}" if other else "–"
                shown = " | ".join(f"{value:.0f}" for value in best.values())
                print(f"| {corruption} | {severity} | {'yes' if jpeg else 'no'} | {shown} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
