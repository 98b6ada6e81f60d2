"""The network that restyles an image in one pass: VGG-19 up to relu4_1, frozen, and a decoder of its features."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vecaf import artifacts
from vecaf.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from vecaf.errors import ArtifactError, ConfigError, first_line
from vecaf.models.clipstyler.options import STRIDE

# Convolutions of VGG-19 (Simonyan & Zisserman, 2015) by their number in torchvision's ``features``, None for a pooling.
LAYERS = (0, 2, None, 5, 7, None, 10, 12, 14, 16, None, 19)


class Encoder(nn.Module):
    """VGG-19 from the image to relu4_1: (B, 3, H, W) in [0, 1] → (B, C, H/8, W/8), frozen.

    state: tensors under torchvision's names (features.0.weight …), of any widths. Raises ConfigError naming the first
    one that is missing or does not fit the one before.
    """

    def __init__(self, state: Mapping[str, Tensor]):
        super().__init__()
        modules: list[nn.Module] = []
        self.inputs: list[int | None] = []  # channels that each convolution reads, None for a pooling
        channels = 3
        for layer in LAYERS:
            if layer is None:
                modules.append(nn.MaxPool2d(2))
                self.inputs.append(None)
                continue
            weight, bias = (state.get(f"features.{layer}.{part}") for part in ("weight", "bias"))
            if weight is None or bias is None or weight.shape[1:] != (channels, 3, 3):
                found = "missing" if weight is None or bias is None else f"of shape {tuple(weight.shape)}"
                raise ConfigError(
                    f"VGG-19's features.{layer} is {found}, a 3×3 convolution of {channels} channels is needed; give "
                    "weights of torchvision's vgg19"
                )
            convolution = nn.Conv2d(channels, len(weight), 3, padding=1)
            convolution.load_state_dict({"weight": weight, "bias": bias})
            modules += [convolution, nn.ReLU()]
            self.inputs.append(channels)
            channels = len(weight)
        self.channels = channels
        self.layers = nn.Sequential(*modules).eval().requires_grad_(False)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers((images - self.mean) / self.std)


class Decoder(nn.Sequential):
    """The encoder backwards (Huang & Belongie, 2017): (B, C, h, w) → images (B, 3, 8h, 8w), nominally in [0, 1].

    A mirrored convolution in place of each, nearest-neighbour enlargement in place of each pooling, reflected borders.
    """

    def __init__(self, encoder: Encoder):
        channels = encoder.channels
        modules: list[nn.Module] = []
        for width in reversed(encoder.inputs):
            if width is None:
                modules.append(nn.Upsample(scale_factor=2, mode="nearest"))
                continue
            modules += [nn.Conv2d(channels, width, 3, padding=1, padding_mode="reflect"), nn.ReLU()]
            channels = width
        super().__init__(*modules[:-1])  # colours are no activations


class Styler(nn.Module):
    """An encoder and its decoder: images (B, 3, H, W) in [0, 1] → restyled images of the same size, about in [0, 1].

    ``features`` are divided by ``scale`` (C, 1, 1), their mean activations, as in the VGG of Gatys et al. (2015) that
    the authors use: weights of losses mean the same here. A state dict has decoder and scale, not the encoder.
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.decoder = Decoder(encoder)
        self.register_buffer("scale", torch.ones(encoder.channels, 1, 1))
        self._encoder = (encoder,)  # in a tuple, and so no part of the state dict

    @property
    def encoder(self) -> Encoder:
        return self._encoder[0]

    def features(self, images: Tensor) -> Tensor:
        return self.encoder(images) / self.scale

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Set the scale to the mean activations of batches of images, channels that are rarely active aside."""
        means = torch.stack([self.encoder(images).mean(dim=(0, 2, 3)) for images in batches]).mean(dim=0)
        # Divided by next to nothing, a channel that was hardly seen would outweigh all others.
        self.scale.copy_(means.clamp_min(0.1 * means.mean())[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        filled = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        return self.decoder(self.features(filled))[..., :height, :width]


def build(state: Mapping[str, Tensor], seed: int) -> Styler:
    """Return a styler on VGG-19's tensors, its decoder drawn from a seed and without touching the global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Styler(Encoder(state))


def hash_of(encoder: Encoder) -> str:
    """Return 16 hex digits over the weights that an encoder uses."""
    hashes = {name: hashlib.sha256(tensor.cpu().numpy()).hexdigest() for name, tensor in encoder.state_dict().items()}
    return artifacts.digest(hashes)


def vgg_cache() -> Path:
    """Return the file in which torchvision's weights of VGG-19 lie once they have been downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _torchvision().url.rpartition("/")[2]


def _torchvision():
    from torchvision.models import VGG19_Weights

    return VGG19_Weights.IMAGENET1K_V1


def vgg_state(weights: str) -> dict[str, Tensor]:
    """Return the tensors of VGG-19 that an Encoder needs.

    weights: ``torchvision`` for its ImageNet weights (its own download, once), or a safetensors file with its names.
    Raises ArtifactError that says how to fetch what is not on this machine.
    """
    if weights != "torchvision":
        return artifacts.read_weights(weights)
    known, cached = _torchvision(), vgg_cache()
    reason = "HF_HUB_OFFLINE forbids downloads"
    if cached.is_file() or os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0"):
        try:
            return known.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except Exception as error:  # network, checksum and file errors have no common type
            reason = first_line(error)
    raise ArtifactError(
        f"cannot get torchvision's weights of VGG-19 ({reason}). Fetch them once where there is a network: python -c "
        f'"from torchvision.models import VGG19_Weights as W; W.IMAGENET1K_V1.get_state_dict()" (cached as {cached}), '
        "or name a .safetensors file of them as the styler's `vgg`"
    )
