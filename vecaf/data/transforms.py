"""From uint8 images to a normalised batch, on the device: the evaluation transforms and the training crops.

Resizing is torchvision's, antialiased and on uint8, so that features agree with those of timm's own transforms on
Pillow images. Random crops have the distribution of RandomResizedCrop (Szegedy et al., 2015), drawn for a whole batch
from a generator on the CPU: results do not depend on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vecaf.data.images import Batch

TRIES = 10  # crops drawn before falling back to the largest central one, as RandomResizedCrop does


class _Transform:
    def __init__(self, input_size: int, mean: Sequence[float], std: Sequence[float], interpolation: str):
        self.size = input_size
        self.interpolation = InterpolationMode(interpolation)
        self._mean = torch.tensor(mean).view(1, -1, 1, 1) * 255
        self._std = torch.tensor(std).view(1, -1, 1, 1) * 255

    def _normalise(self, images: Tensor) -> Tensor:
        mean, std = self._mean.to(images.device), self._std.to(images.device)
        return images.float().sub_(mean).div_(std)

    def _resize(self, image: Tensor, height: int, width: int) -> Tensor:
        if image.shape[-2:] == (height, width):
            return image
        return F.resize(image, [height, width], interpolation=self.interpolation, antialias=True)


class EvalTransform(_Transform):
    """The deterministic transform of scoring and evaluation.

    mode ``squash224``: resize to S×S, whatever the aspect (the paper's text, ActiveFT's feature extraction).
    ``resize256_crop224``: the short side to 256/224·S, then the central S×S. The names tell the case S = 224.
    """

    def __init__(
        self,
        input_size: int,
        mode: str = "squash224",
        *,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bicubic",
    ):
        super().__init__(input_size, mean, std, interpolation)
        if mode not in ("squash224", "resize256_crop224"):
            raise ValueError(f"eval_transform {mode!r} is not one of squash224, resize256_crop224")
        self.squash = mode == "squash224"

    def __call__(self, images: Batch, device: torch.device | str = "cpu", generator: None = None) -> Tensor:
        """Return (B, 3, S, S) float32 on the device from uint8 images, stacked or a list of (3, H, W)."""
        if isinstance(images, Tensor):
            return self._normalise(self._shape(images.to(device)))
        return self._normalise(torch.stack([self._shape(image.to(device)) for image in images]))

    def _shape(self, image: Tensor) -> Tensor:
        if self.squash:
            return self._resize(image, self.size, self.size)
        height, width = image.shape[-2:]
        short = math.floor(self.size * 256 / 224)
        # Sizes are cut, not rounded, and the crop's corner is rounded: as torchvision does on Pillow images.
        scaled = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
        resized = self._resize(image, *scaled)
        top, left = (round((side - self.size) / 2) for side in scaled)
        return resized[..., top : top + self.size, left : left + self.size]


class TrainTransform(_Transform):
    """Random resized crops and flips of a batch. crop false: the whole image, squashed; flip false: no mirror images."""

    def __init__(
        self,
        input_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bicubic",
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        crop: bool = True,
        flip: bool = True,
    ):
        super().__init__(input_size, mean, std, interpolation)
        self.scale, self.ratio, self.crop, self.flip = tuple(scale), tuple(ratio), crop, flip

    def __call__(
        self, images: Batch, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> Tensor:
        """Return (B, 3, S, S) float32 on the device; every draw comes from ``generator``, on the CPU."""
        sizes = torch.tensor([image.shape[-2:] for image in images]) if not isinstance(images, Tensor) else None
        if sizes is None:
            sizes = torch.tensor(images.shape[-2:]).expand(len(images), 2)
        boxes = self._boxes(sizes, generator)
        mirrored = torch.rand(len(sizes), generator=generator) < (0.5 if self.flip else 0.0)
        if isinstance(images, Tensor) and int(boxes[:, 2:].max()) <= self.size:
            return self._normalise(_enlarge(images.to(device), boxes, mirrored, self.size, self.interpolation))
        cut = [
            self._resize(image[:, top : top + height, left : left + width].to(device), self.size, self.size)
            for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True)
        ]
        batch = torch.stack(cut)
        batch = torch.where(mirrored.to(device)[:, None, None, None], batch.flip(-1), batch)
        return self._normalise(batch)

    def _boxes(self, sizes: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the crops (B, 4) int64: top, left, height, width, of images of sizes (B, 2)."""
        if not self.crop:
            return torch.cat([torch.zeros_like(sizes), sizes], dim=1)
        count = len(sizes)
        height, width = (sizes[:, None, axis].double() for axis in (0, 1))
        draws = torch.rand(4, count, TRIES, generator=generator, dtype=torch.float64)
        area = height * width * (self.scale[0] + draws[0] * (self.scale[1] - self.scale[0]))
        low, high = (math.log(bound) for bound in self.ratio)
        aspect = torch.exp(low + draws[1] * (high - low))
        w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        first = fits.int().argmax(dim=1)  # the first try that fits
        pick = torch.arange(count)
        w, h = w[pick, first], h[pick, first]
        top = (draws[2, pick, first] * (height[:, 0] - h + 1)).floor()
        left = (draws[3, pick, first] * (width[:, 0] - w + 1)).floor()
        # None fits (extreme aspect): the largest central crop of an allowed aspect.
        whole_w = torch.minimum(width[:, 0], (height[:, 0] * self.ratio[1]).round())
        whole_h = torch.minimum(height[:, 0], (width[:, 0] / self.ratio[0]).round())
        none = ~fits.any(dim=1)
        h, w = torch.where(none, whole_h, h), torch.where(none, whole_w, w)
        top = torch.where(none, ((height[:, 0] - h) / 2).floor(), top)
        left = torch.where(none, ((width[:, 0] - w) / 2).floor(), left)
        return torch.stack([top, left, h, w], dim=1).long()


def _enlarge(images: Tensor, boxes: Tensor, mirrored: Tensor, size: int, interpolation: InterpolationMode) -> Tensor:
    """Return every crop enlarged to (size, size), (B, 3, size, size) float32 in 0…255, mirrored where marked.

    Enlarging needs no antialiasing, so each output pixel is a weighted sum of a few input pixels along each axis: two
    matrix products for the whole batch, exact also at the crop's edges, which are repeated as a resize of the cut image
    would.
    """
    height, width = images.shape[-2:]
    rows = _weights(boxes[:, 0], boxes[:, 2], height, size, interpolation)
    columns = _weights(boxes[:, 1], boxes[:, 3], width, size, interpolation)
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    scaled = torch.einsum("bih,bchw,bjw->bcij", rows, images.float(), columns)
    return scaled.round_().clamp_(0, 255)


def _weights(start: Tensor, length: Tensor, source: int, size: int, interpolation: InterpolationMode) -> Tensor:
    """Return the interpolation matrices (B, size, source) of crops [start, start + length) enlarged to ``size``.

    Bicubic with a = −0.5, Pillow's kernel; bilinear else. Weights of pixels outside the crop are dropped and the rest
    normalised, as Pillow does.
    """
    centre = (torch.arange(size).double() + 0.5)[None] * (length.double() / size)[:, None] + start[:, None]
    pixel = torch.arange(source).double() + 0.5
    distance = (centre[:, :, None] - pixel).abs()
    if interpolation == InterpolationMode.BICUBIC:
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weight = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    else:
        weight = (1 - distance).clamp_min(0)
    inside = (pixel > start[:, None]) & (pixel < (start + length)[:, None])
    weight = weight * inside[:, None, :]
    return (weight / weight.sum(dim=2, keepdim=True)).float()
