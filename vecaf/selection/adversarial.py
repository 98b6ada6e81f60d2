"""The VAE and the discriminator of TA-VAAL, and the two steps of the game between them.

The VAE encodes images so that the discriminator takes all of them for labelled ones; the discriminator learns to tell
which are. Both are told what the ranker says of an image, its predicted loss r. Written from the formulas of Kim et
al., "Task-Aware Variational Adversarial Active Learning", CVPR 2021, with the settings of the released code.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from tqdm import tqdm

from vecaf.errors import SelectionError
from vecaf.seeds import derive
from vecaf.selection.base import chunks
from vecaf.training.sampler import Sampler

if TYPE_CHECKING:
    from vecaf.checkpoint import Checkpoint

SHOWN = 50  # iterations between two looks at the losses: fetching one waits for the GPU
HIDDEN = 512  # width of the discriminator's two hidden layers

Batch = tuple[Tensor, Tensor]  # normalised images x (B, 3, S, S) and their ranks r (B,)


def exact() -> AbstractContextManager:
    """Return a context in which a GPU convolves in full float32 (torch's default is TF32) and repeatably."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


# The two networks


class VAE(nn.Module):
    """A convolutional VAE whose decoder is also told the rank of the image.

    width: channels of the first convolution; the last of four has 8 times as many. image_size: a multiple of 16.
    """

    def __init__(self, width: int, latent: int, image_size: int):
        super().__init__()
        small = image_size // 16
        self.encoder = nn.Sequential(
            *_down(3, width),
            *_down(width, 2 * width),
            *_down(2 * width, 4 * width),
            *_down(4 * width, 8 * width),
            nn.Flatten(),
        )
        self.mu = nn.Linear(8 * width * small**2, latent)
        self.logvar = nn.Linear(8 * width * small**2, latent)
        # One doubling fewer than the encoder has halvings: the last layer mixes channels only.
        self.decoder = nn.Sequential(
            nn.Linear(latent + 1, 8 * width * (2 * small) ** 2),
            nn.Unflatten(1, (8 * width, 2 * small, 2 * small)),
            *_up(8 * width, 4 * width),
            *_up(4 * width, 2 * width),
            *_up(2 * width, width),
            nn.Conv2d(width, 3, 1),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return μ and log σ², each (B, latent), of normalised images (B, 3, S, S)."""
        features = self.encoder(images)
        return self.mu(features), self.logvar(features)

    def decode(self, z: Tensor, rank: Tensor) -> Tensor:
        """Return images (B, 3, S, S) from z (B, latent) and a rank in 0 … 1 (B,)."""
        return self.decoder(torch.cat([z, rank[:, None]], dim=1))


def _down(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 4, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)


def _up(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.ConvTranspose2d(channels, out, 4, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)


class Discriminator(nn.Module):
    """D: the logit (B,) that an image is labelled, from μ (B, latent) and the raw rank r (B,)."""

    def __init__(self, latent: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent + 1, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, 1),
        )
        for layer in self.layers[::2]:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, mu: Tensor, rank: Tensor) -> Tensor:
        return self.layers(torch.cat([mu, rank[:, None]], dim=1)).squeeze(1)


# What they look at


@dataclass(frozen=True)
class Side:
    """One of the two sets that are told apart, on one device.

    images: (n, S, S, 3) uint8. ranks: r, (n,) float32. mean, std: (3, 1, 1) float32 in grey levels, the same for both.
    """

    images: Tensor
    ranks: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.ranks)

    def batch(self, rows: np.ndarray | slice) -> Batch:
        """Return normalised images (B, 3, S, S) float32 and their ranks (B,)."""
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows).to(self.ranks.device)
        # Stored channels last, and left so: convolutions on a CPU are nearly twice as fast.
        pixels = self.images[rows].permute(0, 3, 1, 2).float()
        return pixels.sub_(self.mean).div_(self.std), self.ranks[rows]


def sides(images: np.ndarray, ranks: np.ndarray, *parts: np.ndarray, device: torch.device | str = "cpu") -> list[Side]:
    """Return a Side for each array of rows, normalised by the channel statistics of all of them together.

    images: (N, S, S, 3) uint8, array or memory map, of which only these rows are read. ranks: (N,).
    """
    pixels = [np.ascontiguousarray(images[rows]) for rows in parts]
    mean, std = (torch.from_numpy(value).float().view(3, 1, 1).to(device) for value in channel_statistics(*pixels))
    return [
        Side(
            torch.from_numpy(part).to(device),
            torch.from_numpy(np.array(ranks[rows], dtype=np.float32)).to(device),
            mean,
            std,
        )
        for part, rows in zip(pixels, parts, strict=True)
    ]


def channel_statistics(*images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (3,) in grey levels over arrays (n, S, S, 3) uint8; the latter at least 1."""
    count, total, square = 0, np.zeros(3), np.zeros(3)
    for part in images:
        for rows in chunks(len(part), 1024):
            pixels = part[rows].reshape(-1, 3).astype(np.float64)
            count, total, square = count + len(pixels), total + pixels.sum(axis=0), square + (pixels**2).sum(axis=0)
    mean = total / count
    variance = np.maximum(square / count - mean**2, 0)
    return mean, np.maximum(np.sqrt(variance), 1.0)  # a constant channel stays zero


# The game


@dataclass
class Game:
    """Everything that an iteration changes, and thus what is needed to go on after any of them."""

    vae: VAE
    discriminator: Discriminator
    vae_adam: torch.optim.Adam
    discriminator_adam: torch.optim.Adam
    iteration: int = 0
    vae_loss: Tensor | None = None
    discriminator_loss: Tensor | None = None


def new_game(
    seed: int, *, width: int, latent: int, image_size: int, learning_rate: float, device: torch.device | str = "cpu"
) -> Game:
    """Return both networks, drawn from the seed and without touching the global random state, and their optimisers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        vae, discriminator = VAE(width, latent, image_size), Discriminator(latent)
    vae.to(device, memory_format=torch.channels_last)
    discriminator.to(device)
    adam = (torch.optim.Adam(network.parameters(), lr=learning_rate) for network in (vae, discriminator))
    return Game(vae, discriminator, *adam)


def state(game: Game) -> dict[str, Tensor]:
    """Return everything but the number of the iteration as tensors by name."""
    tensors = {"vae_loss": game.vae_loss, "discriminator_loss": game.discriminator_loss}
    for name, network, adam in _players(game):
        tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        for number, moments in adam.state_dict()["state"].items():
            tensors |= {f"{name}_adam.{number}.{key}": value for key, value in moments.items()}
    return tensors


def load(game: Game, tensors: dict[str, Tensor], iteration: int) -> None:
    """Put a game back where ``state`` saw it."""
    device = game.vae.mu.weight.device
    game.iteration = iteration
    game.vae_loss, game.discriminator_loss = (tensors[name].to(device) for name in ("vae_loss", "discriminator_loss"))
    for name, network, adam in _players(game):
        network.load_state_dict(_below(tensors, name))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, f"{name}_adam").items():
            number, _, what = key.partition(".")
            moments.setdefault(int(number), {})[what] = value
        adam.load_state_dict({"state": moments, "param_groups": adam.state_dict()["param_groups"]})


def _players(game: Game):
    return (("vae", game.vae, game.vae_adam), ("discriminator", game.discriminator, game.discriminator_adam))


def _below(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL of N(μ, σ²) from N(0, 1), the mean over images and dimensions: −½ mean(1 + log σ² − μ² − σ²)."""
    return -0.5 * (1 + logvar - mu**2 - logvar.exp()).mean()


def verdict_loss(logits: Tensor, labelled: bool) -> Tensor:
    """BCE(D, 1) where the images should pass for labelled, BCE(D, 0) where they should not; the mean over images."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(labelled)))


def vae_loss(game: Game, x: Tensor, r: Tensor, noise: Tensor, beta: float, gamma: float) -> Tensor:
    """MSE(x̂, x) + β·KL + γ·BCE(D(μ, r), 1) of one set, with x̂ = decode(μ + σ·noise, sigmoid(r)).

    The decoder gets the rank as a probability and the discriminator gets it raw, as released.
    """
    mu, logvar = game.vae.encode(x)
    z = mu + (logvar / 2).exp() * noise
    reconstructed = game.vae.decode(z, r.sigmoid())
    fooled = verdict_loss(game.discriminator(mu, r), labelled=True)
    return mse_loss(reconstructed, x) + beta * divergence(mu, logvar) + gamma * fooled


def vae_step(game: Game, batches: list[Batch], noises: Tensor, beta: float, gamma: float) -> Tensor:
    """Move the VAE, and it alone; the two sets pass one after the other, each normalised by its own statistics."""
    loss = sum(vae_loss(game, x, r, noise, beta, gamma) for (x, r), noise in zip(batches, noises, strict=True))
    return _descend(game.vae_adam, loss)


def discriminator_step(game: Game, batches: list[Batch]) -> Tensor:
    """Move the discriminator, and it alone, by BCE(D(μ, r), 1) on the labelled batch + BCE(D(μ, r), 0) on the other.

    μ is that of the VAE after its step, without gradient.
    """
    with torch.no_grad():
        means = [game.vae.encode(x)[0] for x, _ in batches]
    loss = sum(
        verdict_loss(game.discriminator(mu, r), labelled)
        for mu, (_, r), labelled in zip(means, batches, (True, False), strict=True)
    )
    return _descend(game.discriminator_adam, loss)


def _descend(adam: torch.optim.Adam, loss: Tensor) -> Tensor:
    # Clearing first also drops what the other network's step left here.
    adam.zero_grad(set_to_none=True)
    loss.backward()
    adam.step()
    return loss.detach()


def train(
    game: Game,
    labelled: Side,
    unlabelled: Side,
    *,
    iterations: int,
    batch_size: int,
    beta: float,
    gamma: float,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Play on until ``iterations`` are done, each with one batch of either side; both losses of the last one are kept.

    Batches and noise depend on the seed and the iteration's number alone, so a game that was stopped goes on from its
    checkpoint as if it had not been. Raises SelectionError for a loss that is not finite.
    """
    if checkpoint is not None and (kept := checkpoint.load()) is not None:
        load(game, *kept)
        print(f"going on after {game.iteration} iterations", flush=True)
    game.vae.train()
    orders = [
        Sampler(derive(seed, name), len(side), batch_size)
        for name, side in (("labelled", labelled), ("unlabelled", unlabelled))
    ]
    latent, device = game.vae.mu.out_features, labelled.ranks.device
    generator = torch.Generator()  # on the CPU: the same noise on every device
    bar = tqdm(range(game.iteration, iterations), unit="iteration", disable=None)
    for iteration in bar:
        batches = [side.batch(order[iteration]) for side, order in zip((labelled, unlabelled), orders, strict=True)]
        generator.manual_seed(derive(seed, "noise", iteration))
        noises = torch.randn(2, batch_size, latent, generator=generator).to(device)
        game.vae_loss = vae_step(game, batches, noises, beta, gamma)
        game.discriminator_loss = discriminator_step(game, batches)
        game.iteration = iteration + 1
        if game.iteration % SHOWN == 0 or game.iteration == iterations:
            _check_finite(game)
            bar.set_postfix_str(f"VAE {game.vae_loss:.3f}, D {game.discriminator_loss:.3f}", refresh=False)
        if checkpoint is not None and game.iteration < iterations and checkpoint.due():
            checkpoint.save(state(game), game.iteration)
            checkpoint.end_if_asked()


def _check_finite(game: Game) -> None:
    if not torch.isfinite(game.vae_loss + game.discriminator_loss):
        raise SelectionError(
            f"the VAE's loss is {game.vae_loss:g} and the discriminator's {game.discriminator_loss:g} at iteration "
            f"{game.iteration}: the training has diverged, lower the selector's learning_rate"
        )


@torch.no_grad()
def score(game: Game, side: Side, *, batch_size: int, bn_eval: bool) -> np.ndarray:
    """Return the logits of D, (n,) float32, which order as D does and do not saturate: small for what looks unlabelled.

    bn_eval: normalise by the running statistics of the training; otherwise by those of each batch, in the order of rows
    (the released code leaves the VAE in training mode). Raises SelectionError when a score is not finite.
    """
    game.vae.train(not bn_eval)
    logits = torch.empty(len(side), device=side.ranks.device)
    for rows in chunks(len(side), batch_size):
        x, r = side.batch(rows)
        logits[rows] = game.discriminator(game.vae.encode(x)[0], r)
    if not torch.isfinite(logits).all():
        raise SelectionError("the discriminator's scores are not finite; lower the selector's learning_rate")
    return logits.cpu().numpy()


def auc(labelled: np.ndarray, unlabelled: np.ndarray) -> float:
    """Return how often a labelled sample scores above an unlabelled one, a tie counting half; scores (L,), (U,)."""
    from scipy.stats import rankdata

    size = len(labelled)
    above = rankdata(np.concatenate([labelled, unlabelled]))[:size].sum() - size * (size + 1) / 2
    return float(above / (size * len(unlabelled)))
