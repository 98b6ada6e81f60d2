"""How fast a pool is scored beside the bare forward pass: the same model and batches, side by side in one run.

The bare pass gets its batches as normalised float tensors that are on the device already and does nothing but the
model's forward. ``score`` reads uint8 images, resizes and normalises them, and writes embeddings and losses to files.
Both alternate, so that a machine that slows down slows both, and each of scoring's stages is timed alone beside them:
the stages add up to scoring where they run one after the other, and to more where files are decoded ahead by threads.
At least 90 % of the bare pass is the aim for images in memory. On a machine that others use too, trust the share in
pairs and, on a CPU, that of CPU seconds.

    python -m benchmarks.score_throughput --model vit_tiny_patch16_224 --size 96 --images 512
    python -m benchmarks.score_throughput --source files --size 224 --images 256 --stored 400
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

from vecaf import artifacts
from vecaf.data.images import Images
from vecaf.data.transforms import EvalTransform
from vecaf.models import backbone
from vecaf.models.head import MULTICLASS, objective_loss
from vecaf.training.precision import autocast
from vecaf.training.score import score

CLASSES = [str(number) for number in range(10)]
STORED = {"packed": 32, "files": 400}  # CIFAR's side; about that of ImageNet's files


def make_pool(source: str, count: int, side: int, folder: Path) -> Images:
    """Return smooth random images, packed in memory or as JPEG files that are decoded when they are read."""
    generator = np.random.default_rng(0)
    names = np.array([f"{number:06d}.jpg" for number in range(count)])
    columns = (np.arange(count), np.arange(count) % len(CLASSES), np.zeros(count, bool), names, CLASSES)
    pixels = np.empty((count, side, side, 3), np.uint8) if source == "packed" else None
    for number, name in enumerate(names):
        coarse = generator.integers(0, 256, (max(2, side // 8), max(2, side // 8), 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        if pixels is None:
            image.save(folder / name, quality=90)
        else:
            pixels[number] = np.asarray(image)
    return Images(*columns, root=folder, pixels=pixels)


def timed(work: Callable[[], object], device: str) -> tuple[float, float]:
    """Return the wall and CPU seconds of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


class Stages:
    """Scoring, the bare pass, and each stage of scoring alone, over the same batches."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.device, self.workers, self.batch, self.folder = args.device, args.workers, args.batch, folder
        width = timm.create_model(args.model, num_classes=0).num_features
        spec = {"timm": args.model, "width": width}
        self.model = backbone.build(spec, len(CLASSES), input_size=args.size).to(self.device)
        self.transform = EvalTransform(args.size, **backbone.data_config(spec))
        self.pool = make_pool(args.source, args.images, args.stored, folder)
        starts = range(0, args.images, args.batch)
        self.rows = [np.arange(start, min(start + args.batch, args.images)) for start in starts]
        self.pixels = list(self.pool.batches(self.rows, workers=self.workers))
        self.inputs = [self.transform(pixels, self.device) for pixels in self.pixels]
        with torch.inference_mode(), autocast(self.device, "auto"):
            self.embedded = [self.model.embed(inputs).float() for inputs in self.inputs]

    @torch.inference_mode()
    def bare(self) -> None:
        for inputs in self.inputs:
            with autocast(self.device, "auto"):
                self.model(inputs)

    def score(self) -> None:
        with artifacts.array_writer(self.folder / "e.npy", (len(self.pool), self.model.width), "float32") as out:
            losses = score(
                *(self.model, self.pool, self.transform),
                **{"device": self.device, "batch_size": self.batch, "workers": self.workers, "embeddings": out},
            )
        artifacts.write_array(self.folder / "l.npy", losses)

    def read(self) -> None:
        for _ in self.pool.batches(self.rows, workers=self.workers):
            pass

    def transformed(self) -> None:
        for pixels in self.pixels:
            self.transform(pixels, self.device)

    @torch.inference_mode()
    def forward(self) -> None:
        for inputs in self.inputs:
            with autocast(self.device, "auto"):
                self.model.embed(inputs)

    @torch.inference_mode()
    def head_and_loss(self) -> None:
        for rows, embedded in zip(self.rows, self.embedded, strict=True):
            labels = torch.from_numpy(self.pool.labels[rows]).to(self.device)
            objective_loss(self.model.classify(embedded), labels, MULTICLASS, reduction="none").cpu().numpy()

    def writing(self) -> None:
        with artifacts.array_writer(self.folder / "e.npy", (len(self.pool), self.model.width), "float32") as out:
            for rows, embedded in zip(self.rows, self.embedded, strict=True):
                out[rows[0] : rows[-1] + 1] = embedded.cpu().numpy()
        artifacts.write_array(self.folder / "l.npy", np.zeros(len(self.pool), np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_tiny_patch16_224", help="a model of timm; its weights are random")
    parser.add_argument("--size", type=int, default=96, help="what the model reads, pixels")
    parser.add_argument("--images", type=int, default=512, help="size of the pool")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--source", default="packed", choices=STORED, help="uint8 arrays in memory, or JPEG files")
    parser.add_argument("--stored", type=int, help=f"side of the stored images, pixels; default {STORED}")
    parser.add_argument("--workers", type=int, default=0, help="threads that decode files; 0: one per core")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    args.stored = args.stored or STORED[args.source]
    torch.set_num_threads(args.threads)

    with tempfile.TemporaryDirectory() as name:
        stages = Stages(args, Path(name))
        works = {
            "bare forward": stages.bare,
            "score": stages.score,
            "  reading and decoding": stages.read,
            "  transform": stages.transformed,
            "  forward to embeddings": stages.forward,
            "  head and loss": stages.head_and_loss,
            "  writing": stages.writing,
        }
        for work in works.values():  # warm caches, kernels and allocator
            work()
        seconds: dict[str, list[tuple[float, float]]] = {key: [] for key in works}
        for _ in range(args.repeats):
            for key, work in works.items():
                seconds[key].append(timed(work, args.device))
    print(
        f"{args.model} at {args.size} px, {args.images} images of {args.stored} px ({args.source}), batches of "
        f"{args.batch}, {args.device}, threads: {args.threads}, median of {args.repeats}\n"
    )
    print("| | seconds | images/s | of the bare forward | CPU seconds | of the bare forward |")
    print("|---|---:|---:|---:|---:|---:|")
    base = np.median(seconds["bare forward"], axis=0)
    for key, values in seconds.items():
        wall, cpu = np.median(values, axis=0)
        shares = f"{wall / base[0]:.1%} | {cpu:.3f} | {cpu / base[1]:.1%}"
        print(f"| {key} | {wall:.3f} | {args.images / wall:,.0f} | {shares} |")
    pairs = np.array(seconds["bare forward"]) / np.array(seconds["score"])
    print()
    for clock, name in enumerate(("wall", "CPU")):
        low, high = pairs[:, clock].min(), pairs[:, clock].max()
        print(
            f"{name:4s} scoring runs at {np.median(pairs[:, clock]):.1%} of the bare forward pass "
            f"(median of pairs; {low:.1%} to {high:.1%})"
        )


if __name__ == "__main__":
    main()
