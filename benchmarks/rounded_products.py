"""What bfloat16 costs on this CPU: a training step in float32, in torch's bfloat16, and by ``RoundedProducts``.

The same ViT and batch, one after the other in every repeat, so that a machine that slows down slows all three. Prints
CPU seconds and their ratios to float32. Finetuning takes ``RoundedProducts`` where torch has no instructions for it.

    python -m benchmarks.rounded_products --model vit_tiny_patch16_224 --input-size 96 --batch 32
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack

import numpy as np
import timm
import torch
import torch.nn.functional as F

from vecaf.training.precision import RoundedProducts, multiplies_bfloat16

FORMATS = ("float32", "bfloat16", "RoundedProducts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_tiny_patch16_224", help="a ViT of timm")
    parser.add_argument("--input-size", type=int, default=96, help="pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = timm.create_model(args.model, img_size=args.input_size, num_classes=10).train()
    inputs, labels = torch.randn(args.batch, 3, args.input_size, args.input_size), torch.arange(args.batch) % 10

    def step(format_: str) -> tuple[float, torch.Tensor]:
        """Return the CPU seconds of forward and backward, and the gradients."""
        model.zero_grad()
        begun = time.process_time()
        with ExitStack() as contexts:
            if format_ != "float32":
                contexts.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
            if format_ == "RoundedProducts":
                contexts.enter_context(RoundedProducts())
            logits = model(inputs)
        F.cross_entropy(logits.float(), labels).backward()
        seconds = time.process_time() - begun
        return seconds, torch.cat([weight.grad.flatten() for weight in model.parameters()])

    gradients = {format_: step(format_)[1] for format_ in FORMATS}  # and warm
    seconds = {format_: [] for format_ in FORMATS}
    for _ in range(args.repeats):
        for format_, taken in seconds.items():
            taken.append(step(format_)[0])
    print(f"{args.model}, {args.input_size} px, batches of {args.batch}, one thread; bfloat16: ", end="")
    print("instructions of the processor" if multiplies_bfloat16() else "none, so finetuning takes RoundedProducts")
    base, exact = np.array(seconds["float32"]), gradients["float32"]
    for format_, taken in seconds.items():
        ratio = np.median(np.array(taken) / base)
        off = float((gradients[format_] - exact).norm() / exact.norm())
        print(
            f"{format_:16s} {np.median(taken):7.3f} CPU s a step, {ratio:6.2f} of float32; gradients off by {off:.4f}"
        )


if __name__ == "__main__":
    main()
