"""CLIPstyler's fast variant (Kwon & Ye, CVPR 2022): a decoder that paints VGG features as a text says.

Per text, the decoder of a frozen VGG-19 is trained for a few hundred steps; afterwards an image is restyled by one
forward pass. The authors start from AdaIN's decoder, an external file without a stated licence; here the decoder first
learns to reconstruct the pool's own images. The encoder has torchvision's weights and zero borders, theirs Gatys' and
reflected ones. Their demo raises the contrast of what comes out by half, which their training does not know either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import functional
from tqdm import trange

from vecaf.errors import TrainingError
from vecaf.models.clipstyler import losses
from vecaf.models.clipstyler.guidance import Guide
from vecaf.models.clipstyler.networks import Styler
from vecaf.models.clipstyler.options import Options
from vecaf.seeds import derive

CALIBRATION = 16  # batches that the features' scale is measured on


def train(
    styler: Styler, guide: Guide, images: Any, chosen: Options, *, seed: int, device: torch.device | str = "cpu"
) -> dict[str, list[float]]:
    """Train a styler's decoder in place and return the terms of the loss, step by step, by phase and name.

    styler: as new; it and guide are on the device, and what is frozen in them is not changed. images: with
    ``batches(positions)``, of any sizes. Deterministic by seed on a CPU at one thread count. Raises TrainingError when
    a loss is not finite.
    """
    # Images are drawn ahead of their turn, so what is drawn for them needs a generator of its own.
    order, draws = (torch.Generator().manual_seed(derive(seed, part)) for part in ("images", "crops"))
    positions = (torch.randint(len(images), (chosen.batch_size,), generator=order).numpy() for _ in count())
    drawn = images.batches(positions)

    def batches(steps: int, phase: str):
        for _ in trange(steps, desc=phase, unit="batch", disable=None, leave=False):
            yield crops(next(drawn), chosen, draws).to(device)

    styler.calibrate(batches(CALIBRATION, "calibration"))
    first = _minimise(
        styler,
        batches(chosen.reconstruction, "reconstruction"),
        lambda content: reconstruction_losses(styler, content),
        lambda step: chosen.reconstruction_rate * (1 + math.cos(math.pi * step / chosen.reconstruction)) / 2,
    )
    second = _minimise(
        styler,
        batches(chosen.steps, "style"),
        lambda content: style_losses(styler, guide, content, chosen, draws),
        lambda step: chosen.learning_rate / (1 + chosen.decay * step),
    )
    return {
        f"{phase}/{name}": [step[name] for step in steps]
        for phase, steps in (("reconstruction", first), ("style", second))
        for name in (steps[0] if steps else ())
    }


def reconstruction_losses(styler: Styler, content: Tensor) -> dict[str, Tensor]:
    """Return the terms of the first phase: mean squared differences of pixels and, a hundredth of them, of features."""
    features = styler.features(content)
    made = styler.decoder(features)
    return {"pixels": F.mse_loss(made, content), "features": 0.01 * F.mse_loss(styler.features(made), features)}


def style_losses(
    styler: Styler, guide: Guide, content: Tensor, chosen: Options, draws: torch.Generator
) -> dict[str, Tensor]:
    """Return the weighted terms of the second phase, whose sum is minimised: content, patch, whole and smoothness.

    content: (B, 3, crop, crop) in [0, 1]; draws: a CPU generator for the perspectives of the views.
    """
    features = styler.features(content)
    made = styler.decoder(features)
    with torch.no_grad():
        before = guide.embed(content)
    views = torch.cat([perspective(made, chosen.distortion, draws) for _ in range(chosen.views)])
    seen, repeated = guide.embed(views), before.repeat(chosen.views, 1)
    return {
        "content": chosen.content * F.mse_loss(styler.features(made), features),
        "patch": chosen.patch * losses.patch(seen, repeated, guide.direction, chosen.threshold),
        "whole": chosen.whole * losses.directional(guide.embed(made), before, guide.direction).mean(),
        "smoothness": chosen.smoothness * losses.total_variation(made),
    }


def crops(images: Iterable[Tensor], chosen: Options, draws: torch.Generator) -> Tensor:
    """Return a random crop of each resized image (3, H, W) uint8: (B, 3, crop, crop) float32 in [0, 1]."""
    made = []
    for image in images:
        resized = resize(image, chosen.size)
        room = [length - chosen.crop + 1 for length in resized.shape[1:]]
        top, left = (int(torch.randint(most, (1,), generator=draws)) for most in room)
        made.append(resized[:, top : top + chosen.crop, left : left + chosen.crop])
    return torch.stack(made).float() / 255


def resize(image: Tensor, size: int) -> Tensor:
    """Return an image (3, H, W) uint8 whose short side is resized to ``size``, bicubic with antialiasing."""
    height, width = image.shape[1:]
    short = min(height, width)
    target = (size * height // short, size * width // short)
    return image if target == (height, width) else F.interpolate(image[None], target, mode="bicubic", antialias=True)[0]


def perspective(images: Tensor, distortion: float, draws: torch.Generator) -> Tensor:
    """Return images (B, 3, S, S) seen from one random side, black beyond their borders.

    Each corner moves inwards by up to ``distortion`` of half the side, as in torchvision's RandomPerspective.
    """
    height, width = images.shape[-2:]
    most = torch.tensor([int(distortion * (length // 2)) for length in (width, height)])
    moved = (torch.rand(4, 2, generator=draws) * (most + 1)).long()
    corners = torch.tensor([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    inwards = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    return functional.perspective(images, corners.tolist(), (corners + inwards * moved).tolist(), fill=[0.0] * 3)


def stylise(styler: Styler, image: Tensor, size: int) -> np.ndarray:
    """Return an image (3, H, W) uint8 restyled, its short side ``size``, as pixels (H', W', 3) uint8.

    One image at a time, so that no other can change it.
    """
    resized = resize(image, size).to(styler.scale.device)
    with torch.inference_mode():
        made = styler(resized[None].float() / 255)[0]
        return (255 * made).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def _minimise(
    styler: Styler,
    batches: Iterable[Tensor],
    terms: Callable[[Tensor], dict[str, Tensor]],
    rate: Callable[[int], float],
) -> list[dict[str, float]]:
    """Train the decoder in place with Adam and return the terms of every step."""
    optimizer = torch.optim.Adam(styler.decoder.parameters())
    found = []
    for step, content in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        parts = terms(content)
        loss = sum(parts.values())
        found.append({name: float(value.detach()) for name, value in parts.items()})
        if not torch.isfinite(loss):
            said = ", ".join(f"{name} {value:.3g}" for name, value in found[-1].items())
            raise TrainingError(f"the styler's loss is not finite at step {step} ({said}); lower its learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return found
