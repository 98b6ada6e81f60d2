"""Batch transforms from uint8 images to a backbone's input, on the device.

Both take what ``Images.read`` returns: a tensor (B, 3, H, W) or a list of (3, H, W) of any sizes, uint8. They return
(B, 3, S, S) float32, normalised. Images are resized as uint8 with antialiasing, which reproduces timm's evaluation
transform of Pillow images to about one grey level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vecaf.data.resampling import KERNELS, crop_resize
from vecaf.errors import ConfigError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP_SHARE = 224 / 256  # of the resized short side, in resize256_crop224
MODES = ("squash224", "resize256_crop224")
TRIES = 10
# A batch of one size is cropped and resized by matrix products on a GPU. On a CPU that pays for tiny images only: from
# here on torch's own uint8 kernel is faster although it takes crops one by one (64 crops of 32 × 32: 6 against 14 ms).
_MATRIX_PIXELS = 16 * 16

Batch = Tensor | Sequence[Tensor]


class _Transform:
    def __init__(self, input_size: int, interpolation: str, mean: Sequence[float], std: Sequence[float]):
        if interpolation not in KERNELS:
            raise ConfigError(f"interpolation {interpolation!r} is not one of {', '.join(KERNELS)}")
        self.input_size, self.interpolation = input_size, interpolation
        self.mean, self.std = tuple(mean), tuple(std)

    def _normalise(self, pixels: Tensor) -> Tensor:
        """Return (x / 255 − mean) / std of pixels (B, 3, S, S) with values 0 … 255, float32."""
        mean = torch.tensor(self.mean, device=pixels.device).mul_(255).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).mul_(255).view(3, 1, 1)
        pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        return pixels.sub_(mean).div_(std)

    def _resize(self, images: Tensor, height: int, width: int) -> Tensor:
        """Return images (B, 3, H, W) uint8 resized with antialiasing and rounded, (B, 3, height, width) uint8."""
        if images.shape[-2:] == (height, width):
            return images
        exact = images if images.device.type == "cpu" else images.float()  # only CPU kernels take uint8
        resized = F.interpolate(exact, size=(height, width), mode=self.interpolation, antialias=True)
        return resized if resized.dtype == torch.uint8 else resized.round_().clamp_(0, 255).to(torch.uint8)


class EvalTransform(_Transform):
    """The deterministic transform of scoring and evaluation.

    mode: ``squash224`` resizes to S × S whatever the aspect; ``resize256_crop224`` resizes the short side to
    S / 0.875 (rounded down, as timm does) and crops the centre S × S. The names are those of the 224-pixel case.
    Raises ConfigError for an unknown mode or interpolation.
    """

    def __init__(
        self,
        input_size: int,
        mode: str = "squash224",
        interpolation: str = "bicubic",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ):
        super().__init__(input_size, interpolation, mean, std)
        if mode not in MODES:
            raise ConfigError(f"eval_transform {mode!r} is not one of {', '.join(MODES)}")
        self.mode = mode

    def __call__(self, images: Batch, device: torch.device | str = "cpu") -> Tensor:
        """Return normalised images on the device."""
        if isinstance(images, Tensor):
            return self._normalise(self._fit(images.to(device, non_blocking=True)))
        by_size: dict[torch.Size, list[int]] = {}
        for position, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(position)
        pixels = torch.empty(len(images), 3, self.input_size, self.input_size, dtype=torch.uint8, device=device)
        for positions in by_size.values():
            batch = torch.stack([images[position] for position in positions])
            pixels[positions] = self._fit(batch.to(device, non_blocking=True))
        return self._normalise(pixels)

    def _fit(self, images: Tensor) -> Tensor:
        size = self.input_size
        if self.mode == "squash224":
            return self._resize(images, size, size)
        height, width = images.shape[-2:]
        short = math.floor(size / CROP_SHARE)
        if height <= width:
            height, width = short, int(short * width / height)
        else:
            height, width = int(short * height / width), short
        top, left = round((height - size) / 2), round((width - size) / 2)
        return self._resize(images, height, width)[..., top : top + size, left : left + size]


class TrainTransform(_Transform):
    """Random resized crop and horizontal flip (Szegedy et al., 2015), each image of a batch on its own.

    scale: range of the crop's share of the area; ratio: range of its aspect, drawn uniformly on a log scale. crop=False
    resizes the whole image to S × S. All draws come from one CPU generator and their number depends on the batch size
    alone, so results do not depend on the device or on image sizes. Raises ConfigError for an impossible range.
    """

    def __init__(
        self,
        input_size: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        interpolation: str = "bicubic",
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: bool = True,
        crop: bool = True,
    ):
        super().__init__(input_size, interpolation, mean, std)
        for name, (low, high), most in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
            if not 0 < low <= high <= most:
                raise ConfigError(f"crop {name} {low} … {high} is no range within 0 … {most}")
        self.scale, self.ratio, self.flip, self.crop = tuple(scale), tuple(ratio), flip, crop

    def __call__(
        self, images: Batch, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> Tensor:
        """Return cropped, resized, flipped and normalised images on the device.

        generator: a CPU generator, required; its state moves on by the same amount for every batch of this size.
        Raises ValueError without one.
        """
        if generator is None:
            raise ValueError("TrainTransform draws from an explicit generator; pass generator=torch.Generator()")
        sizes = [images.shape[-2:]] * len(images) if isinstance(images, Tensor) else [i.shape[-2:] for i in images]
        boxes, flips = self.draw(torch.tensor(sizes), generator)
        if isinstance(images, Tensor):
            pixels = images.to(device, non_blocking=True)
            if pixels.device.type != "cpu" or pixels.shape[-2] * pixels.shape[-1] <= _MATRIX_PIXELS:
                boxes, flips = boxes.to(device), flips.to(device)
                return self._normalise(crop_resize(pixels, boxes, flips, self.input_size, self.interpolation))
        cropped = [
            self._one(image, box, flip, device)
            for image, box, flip in zip(images, boxes.tolist(), flips.tolist(), strict=True)
        ]
        return self._normalise(torch.cat(cropped))

    def _one(self, image: Tensor, box: list[int], flip: bool, device: torch.device | str) -> Tensor:
        top, left, height, width = box
        crop = image[None, :, top : top + height, left : left + width].to(device, non_blocking=True)
        resized = self._resize(crop, self.input_size, self.input_size)
        return resized.flip(3) if flip else resized

    def draw(self, sizes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return boxes (B, 4) int64 of top, left, height, width and flips (B,) bool for images of given (B, 2) sizes.

        As torchvision's and timm's RandomResizedCrop: the first of 10 draws of area and aspect that fits the image,
        else the largest central crop whose aspect is allowed; then a uniform position.
        """
        number = len(sizes)
        areas, aspects = torch.rand(2, number, TRIES, generator=generator, dtype=torch.float64)
        down, right, side = torch.rand(3, number, generator=generator, dtype=torch.float64)
        flips = (side < 0.5) if self.flip else torch.zeros(number, dtype=torch.bool)
        full_height, full_width = sizes.unbind(1)
        if not self.crop:
            return torch.stack(
                [torch.zeros_like(full_height), torch.zeros_like(full_width), full_height, full_width], 1
            ), flips

        area = (self.scale[0] + areas * (self.scale[1] - self.scale[0])) * (full_height * full_width)[:, None]
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = torch.exp(low + aspects * (high - low))
        widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        fits = (widths > 0) & (widths <= full_width[:, None]) & (heights > 0) & (heights <= full_height[:, None])
        first = fits.long().argmax(dim=1, keepdim=True)
        height, width = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]

        given = full_width / full_height
        narrow, wide = given < self.ratio[0], given > self.ratio[1]
        central_height = torch.where(narrow, (full_width / self.ratio[0]).round().long(), full_height)
        central_width = torch.where(wide, (full_height * self.ratio[1]).round().long(), full_width)
        found = fits.any(dim=1)
        height = torch.where(found, height, central_height.minimum(full_height))
        width = torch.where(found, width, central_width.minimum(full_width))
        room_down, room_right = full_height - height, full_width - width
        top = torch.where(found, (down * (room_down + 1)).long(), room_down // 2)
        left = torch.where(found, (right * (room_right + 1)).long(), room_right // 2)
        return torch.stack([top, left, height, width], dim=1), flips
