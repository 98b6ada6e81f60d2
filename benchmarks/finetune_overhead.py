"""What finetuning costs over a bare loop: the same model, batches and optimiser steps, side by side in one run.

The bare loop gets its batches as normalised float tensors that are in memory already and does nothing but forward,
backward and step. ``finetune`` draws its batches, crops, flips and normalises uint8 images, and logs. Both alternate,
so that a machine that slows down slows both. Prints medians and their ratio; at most 1.10 is the aim. On a machine
that others use too, trust the ratio in pairs and, on a CPU, that of CPU seconds.

    python -m benchmarks.finetune_overhead --model vit_tiny_patch16_224 --input-size 96 --batch 64
"""

from __future__ import annotations

import argparse

import numpy as np
import timm
import torch
import torch.nn.functional as F

from benchmarks.score_throughput import timed
from vecaf.data.transforms import TrainTransform
from vecaf.models import backbone
from vecaf.training import recipes
from vecaf.training.finetune import finetune
from vecaf.training.precision import autocast
from vecaf.training.sampler import Sampler

CLASSES = 10
SEEDS = {"batches": 1, "augmentation": 2}


class Pool:
    """Random uint8 images in memory, with what ``finetune`` needs of a pool."""

    def __init__(self, count: int, side: int):
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
        self.labels, self.ids = np.arange(count) % CLASSES, np.arange(count)

    def read(self, positions: np.ndarray) -> torch.Tensor:
        return self.pixels[torch.from_numpy(positions)]

    def batches(self, plan: list[np.ndarray], workers: int = 0):
        return map(self.read, plan)


def bare(model, batches, labels, recipe, total, device) -> None:
    """Forward, backward and step over ready batches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    model.train()
    for index, (inputs, targets) in enumerate(zip(batches, labels, strict=True)):
        optimizer.param_groups[0]["lr"] = recipes.learning_rate(recipe, index, total)
        with autocast(device, "auto"):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_tiny_patch16_224", help="a model of timm")
    parser.add_argument("--input-size", type=int, default=96, help="pixels")
    parser.add_argument("--image-size", type=int, default=32, help="side of the stored images, pixels")
    parser.add_argument("--images", type=int, default=500, help="size of the selected set")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=10, help="a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()

    width = timm.create_model(args.model, num_classes=0).num_features
    spec = {"timm": args.model, "width": width}
    recipe = recipes.resolve("paper", {"batch_size": args.batch})
    pool = Pool(args.images, args.image_size)
    transform = TrainTransform(args.input_size, **backbone.data_config(spec))
    sampler = Sampler(SEEDS["batches"], args.images, args.batch)
    drawn = [sampler[index] for index in range(args.batches)]
    ready = [transform(pool.read(p), args.device, torch.Generator().manual_seed(i)) for i, p in enumerate(drawn)]
    targets = [torch.from_numpy(pool.labels[p]).to(args.device) for p in drawn]

    def model():
        return backbone.build(spec, CLASSES, input_size=args.input_size).to(args.device)

    def whole(fresh) -> None:
        options = {"train_transform": transform, "recipe": recipe, "seeds": SEEDS, "device": args.device}
        finetune(fresh, pool, pool.labels, start=0, stop=args.batches, total=args.batches, **options)

    def alone(fresh) -> None:
        bare(fresh, ready, targets, recipe, args.batches, args.device)

    alone(model())  # warm caches, kernels and allocator
    whole(model())
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "finetune": []}
    for _ in range(args.repeats):
        for name, work in (("bare", alone), ("finetune", whole)):
            fresh = model()
            seconds[name].append(timed(lambda work=work, fresh=fresh: work(fresh), args.device))
    for name, values in seconds.items():
        wall, cpu = (np.array(column) * 1e3 / args.batches for column in zip(*values, strict=True))
        print(
            f"{name:9s} {np.median(wall):8.2f} ms a batch (median of {args.repeats}; {wall.min():.2f}–{wall.max():.2f})"
            f", {np.median(cpu):.2f} ms of CPU"
        )
    for clock, name in enumerate(("wall", "CPU")):
        base, full = (np.array([value[clock] for value in seconds[key]]) for key in ("bare", "finetune"))
        print(
            f"{name:4s} ratio {np.median(full) / np.median(base):.3f} of medians, {np.median(full / base):.3f} in pairs"
        )


if __name__ == "__main__":
    main()
