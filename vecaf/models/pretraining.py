"""Self-supervised pretraining of a small backbone on a pool's own images; labels only measure what it learnt.

An augmented autoencoder (Sundermeyer et al., 2018; a denoising autoencoder, Vincent et al., 2008, whose noise is
geometric): the image is rotated, scaled, shifted, sheared, its contrast changed and a box of it erased, and one linear
layer on the backbone's embedding reconstructs the image as it was. Contrastive and variance-based objectives learn
less in the few hundred steps that a laptop has time for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tqdm import tqdm

from vecaf.errors import ConfigError, TrainingError

# Nothing heavy at the top: the schema of the configuration is made from Options.
if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vecaf.models.backbone import Backbone


class Options(BaseModel):
    """How a backbone is pretrained; a backbone's ``pretraining`` section overrides single values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    epochs: int = Field(10, ge=1, description="passes over the pool")
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1.5e-3, gt=0, description="peak; AdamW with a tenth of warm-up, then a cosine to 0")
    weight_decay: float = Field(0.05, ge=0)
    target_size: int = Field(8, ge=1, description="side of the reconstructed image, in pixels")
    rotation: float = Field(10.0, ge=0, le=180, description="degrees at most")
    scale: float = Field(0.1, ge=0, description="logarithm of the largest zoom")
    shear: float = Field(0.2, ge=0)
    shift: float = Field(0.05, ge=0, le=1, description="share of the side at most")
    contrast: float = Field(0.5, ge=0, description="logarithm of the largest exponent of the pixel values")
    erase: float = Field(0.2, ge=0, le=1, description="side of the erased box at most, as a share of the image's")
    flip: bool = Field(False, description="mirror images too; not for digits or text")
    padding: Literal["zeros", "border", "reflection"] = Field("zeros", description="what moves in from outside")
    neighbours: int = Field(10, ge=1, description="k of the k-NN accuracy")


def options(overrides: Mapping[str, Any]) -> Options:
    """Return the options with overrides; raises ConfigError that lists every wrong key and value."""
    try:
        return Options(**overrides)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['input']!r} ({item['msg']})" for item in error.errors()]
        raise ConfigError(f"pretraining: {'; '.join(lines)}; known here: {', '.join(Options.model_fields)}") from None


def pretrain(
    spec: Mapping[str, Any],
    input_size: int,
    pool: Any,
    test: Any,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    **overrides: Any,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the pretrained weights of a spec, without a head, and what they are worth.

    pool, test: image sets with ``labels`` and ``read(positions)``; both are held in memory as float32 at the input
    size. overrides: fields of ``Options``. The facts are plain JSON: knn_untrained, knn and knn_pixels (k-NN accuracy
    from pool to test, in [0, 1]), loss_first and loss_last (means of the first and last pass), seconds, epochs,
    images, parameters, options. Deterministic by seed on a CPU at one thread count. Raises ConfigError for wrong
    options, TrainingError when the loss is not finite.
    """
    import torch

    from vecaf.models import backbone

    chosen = options(overrides)
    images, probes = _in_memory(pool, input_size, device), _in_memory(test, input_size, device)
    normalise = _normaliser(backbone.data_config(spec), device)
    model = backbone.build(spec, 0, input_size=input_size, seed=seed).to(device)

    def accuracy() -> float:
        embedded = (_embed(model, normalise, part) for part in (images, probes))
        return knn_accuracy(*embedded, pool.labels, test.labels, chosen.neighbours)

    pixels = knn_accuracy(images.flatten(1), probes.flatten(1), pool.labels, test.labels, chosen.neighbours)
    untrained = accuracy()
    began = time.perf_counter()
    losses = _train(model, images, normalise, chosen, seed)
    seconds = time.perf_counter() - began
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    passes = torch.tensor(losses).view(chosen.epochs, -1).mean(dim=1)
    info = {
        "source": "self-supervised on the pool (augmented autoencoder)",
        "knn_untrained": untrained,
        "knn": accuracy(),
        "knn_pixels": pixels,
        "loss_first": float(passes[0]),
        "loss_last": float(passes[-1]),
        "seconds": round(seconds, 2),
        "epochs": chosen.epochs,
        "images": len(images),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "options": chosen.model_dump(),
    }
    return state, info


def knn_accuracy(
    train: Tensor, test: Tensor, train_labels: np.ndarray, test_labels: np.ndarray, neighbours: int = 10
) -> float:
    """Return the accuracy in [0, 1] of weighted k-nearest neighbours by cosine (Wu et al., 2018; τ = 0.07).

    train: (N, d), test: (M, d) float; labels: (N,) and (M,) int64. At most N neighbours vote.
    """
    import torch
    import torch.nn.functional as F

    votes_of = F.one_hot(torch.from_numpy(np.asarray(train_labels, dtype=np.int64))).to(train.device, torch.float32)
    known = F.normalize(train.float(), dim=1)
    hits = 0
    for rows in torch.arange(len(test)).split(1024):
        near = (F.normalize(test[rows.to(test.device)].float(), dim=1) @ known.T).topk(min(neighbours, len(train)))
        votes = ((near.values / 0.07).exp()[:, :, None] * votes_of[near.indices]).sum(dim=1)
        hits += int((votes.argmax(dim=1).cpu() == torch.from_numpy(np.asarray(test_labels)[rows.numpy()])).sum())
    return hits / len(test)


def _train(model: Backbone, images: Tensor, normalise, chosen: Options, seed: int) -> list[float]:
    """Train the backbone in place and return the loss of every batch."""
    import torch
    import torch.nn.functional as F

    device = images.device
    targets = F.interpolate(images, (chosen.target_size,) * 2, mode="bilinear", antialias=True).flatten(1)
    targets = (targets - targets.mean(dim=0)) / targets.std().clamp_min(1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = torch.nn.Linear(model.width, targets.shape[1]).to(device)
    parameters = [*model.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=chosen.learning_rate, weight_decay=chosen.weight_decay)
    per_pass = max(1, len(images) // chosen.batch_size)
    steps = chosen.epochs * per_pass
    draws = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    model.train()
    for step in tqdm(range(steps), desc="pretraining", unit="batch", disable=None):
        if step % per_pass == 0:
            order = torch.randperm(len(images), generator=draws)
        start = step % per_pass * chosen.batch_size
        drawn = order[start : start + chosen.batch_size].to(device)
        warm = min(1.0, (step + 1) / (0.1 * steps))
        rate = chosen.learning_rate * warm * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        embedded = model.embed(normalise(_distort(images[drawn], chosen, draws)))
        loss = F.mse_loss(decoder(embedded), targets[drawn])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"pretraining {model.name}: the loss of step {step} of {steps} is {losses[-1]} at learning rate "
                f"{rate:.3g}; lower `learning_rate` in the backbone's `pretraining` section"
            )
    model.eval()
    return losses


def _distort(images: Tensor, chosen: Options, draws: torch.Generator) -> Tensor:
    """Return differently distorted images (B, C, S, S) in [0, 1]; all draws on the CPU, from the generator."""
    import torch
    import torch.nn.functional as F

    count, side, device = len(images), images.shape[-1], images.device

    def draw(largest: float) -> Tensor:
        return (2 * torch.rand(count, generator=draws) - 1) * largest

    angle, zoom = draw(math.radians(chosen.rotation)), draw(chosen.scale).exp()
    shear, across, down, exponent = draw(chosen.shear), draw(2 * chosen.shift), draw(2 * chosen.shift), draw(1.0)
    mirror = torch.where((torch.rand(count, generator=draws) < 0.5) & chosen.flip, -1.0, 1.0)
    centre, box = torch.rand(2, count, generator=draws) * side, torch.rand(2, count, generator=draws) * chosen.erase
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    first = torch.stack([mirror * cosine, shear - sine, across], dim=1)
    second = torch.stack([mirror * sine, cosine, down], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid.to(device), padding_mode=chosen.padding, align_corners=False)
    power = (exponent * chosen.contrast).exp()[:, None, None, None].to(device)
    moved = moved.clamp(1e-3, 1).pow(power)
    distance = (torch.arange(side) + 0.5 - centre[:, :, None]).abs()
    inside = distance < box[:, :, None] * side / 2
    erased = inside[0, :, :, None] & inside[1, :, None, :]
    return moved.masked_fill(erased[:, None].to(device), 0.0)


def _in_memory(images: Any, input_size: int, device: torch.device | str) -> Tensor:
    """Return a set of images as (N, 3, S, S) float32 in [0, 1] on the device."""
    import torch

    from vecaf.data.transforms import EvalTransform

    transform = EvalTransform(input_size, mean=(0.0,) * 3, std=(1.0,) * 3)
    parts = [rows.numpy() for rows in torch.arange(len(images)).split(1024)]
    return torch.cat([transform(images.read(rows), device) for rows in parts])


def _normaliser(config: Mapping[str, Any], device: torch.device | str):
    import torch

    mean, std = (torch.tensor(config[key], device=device).view(3, 1, 1) for key in ("mean", "std"))
    return lambda images: (images - mean) / std


def _embed(model: Backbone, normalise, images: Tensor) -> Tensor:
    import torch

    with torch.inference_mode():
        return torch.cat([model.eval().embed(normalise(part)) for part in images.split(512)])
