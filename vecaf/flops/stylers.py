"""MACs of CLIPstyler in closed form: restyling an image, and training a decoder for one text."""

from __future__ import annotations

from vecaf.flops import TRAINING_STEP
from vecaf.flops.closed_form import vit_macs
from vecaf.models.clipstyler.options import Options

# Of VGG-19 up to relu4_1 and of the decoder that mirrors it: 3×3 convolutions (inputs, outputs, how much smaller).
_CONVOLUTIONS = (
    *((3, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 2)),
    *((128, 256, 4), (256, 256, 4), (256, 256, 4), (256, 256, 4), (256, 512, 8)),
)
_CLIP = {"width": 768, "depth": 12, "patch": 32, "image": 224, "projection": 512}  # ViT-B/32, the authors' choice
BYTES = 4 * sum(9 * inputs * outputs for inputs, outputs, _ in _CONVOLUTIONS)  # of a decoder's weights


def image_macs(options: Options) -> int:
    """Return the MACs of restyling a square image: encoder and decoder at its size."""
    return 2 * _one_way(options.size)


def training_macs(options: Options) -> int:
    """Return the MACs of training a styler, both phases; calibration, a few batches, is left out.

    A step of either phase encodes content and result and decodes once; gradients pass through the frozen encoder of the
    result and, at twice the cost, through the decoder. The second phase also shows frozen CLIP content, result, views.
    """
    vgg = _one_way(options.crop)
    both = vgg + 2 * vgg + TRAINING_STEP * vgg
    clip = vit_macs(**_CLIP) * (1 + 2 * (1 + options.views))
    return options.batch_size * (options.reconstruction * both + options.steps * (both + clip))


def _one_way(side: int) -> int:
    return sum(9 * inputs * outputs * (side // smaller) ** 2 for inputs, outputs, smaller in _CONVOLUTIONS)
