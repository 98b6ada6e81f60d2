"""What tells an image how a text wants it to look: CLIP, frozen, and the direction from one text to another."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vecaf.errors import ArtifactError, first_line
from vecaf.models import hub, text_encoders
from vecaf.models.clipstyler.losses import text_direction
from vecaf.models.text_encoders import loading

# The prompts that CLIP's authors wrote for ImageNet (Radford et al., 2021), in CLIPstyler's choice of 79.
_OF = (
    *("a photo", "a bad photo", "a good photo", "a blurry photo", "a bright photo", "a dark photo", "a close-up photo"),
    *("a cropped photo", "a low resolution photo", "a pixelated photo", "a jpeg corrupted photo"),
    *("a black and white photo", "a drawing", "a painting", "a sketch", "a doodle", "a sculpture", "a tattoo"),
    *("a rendering", "a rendition", "art", "graffiti", "itap"),
)
_KINDS = ("clean", "cool", "dirty", "hard to see", "large", "nice", "small", "weird")
_THINGS = ("cartoon", "embroidered", "origami", "plastic", "plushie", "toy")
TEMPLATES = [
    *(f"{what} of {article} {{}}." for what in _OF for article in ("a", "the")),
    *(f"a photo of {article} {kind} {{}}." for kind in _KINDS for article in ("a", "the")),
    *(f"{article} {thing} {{}}." for thing in _THINGS for article in ("a", "the")),
    *("a {} in a video game.", "the {} in a video game."),
    *("a photo of my {}.", "a photo of one {}.", "itap of my {}."),
]


class Guide:
    """CLIP's view of images, and the direction in it from a source text to a target text.

    model: a CLIP model of the Hugging Face hub or its folder. direction: (d,) float32 of length 1. Raises ArtifactError
    for weights that cannot be had and ConfigError for a model that is no CLIP.
    """

    def __init__(self, model: str, revision: str | None, source: str, target: str, device: torch.device | str = "cpu"):
        spec = {"kind": "transformers", "model": model, "revision": revision, "pooling": "projected_eos"}
        encoder = text_encoders.build(spec | {"precision": "float32"})
        source_texts, target_texts = (
            torch.from_numpy(encoder.encode([template.format(text) for template in TEMPLATES], device=device))
            for text in (source, target)
        )
        self.direction = text_direction(target_texts, source_texts).to(device)
        self.facts: dict[str, Any] = encoder.facts()
        self.vision = _vision(model, revision).to(device)
        self._size = self.vision.config.image_size

    def embed(self, images: Tensor) -> Tensor:
        """Return the embeddings (B, d) of images (B, 3, H, W) with values in [0, 1], of length 1."""
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        if images.shape[-2:] != (self._size, self._size):
            images = F.interpolate(images, (self._size, self._size), mode="bicubic")
        mean, std = (torch.tensor(values, device=images.device) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        normalised = (images - mean[:, None, None]) / std[:, None, None]
        return F.normalize(self.vision(pixel_values=normalised).image_embeds, dim=1)


def _vision(model: str, revision: str | None):
    """Return the frozen image tower; that the model is a CLIP was seen when its texts were encoded."""
    import transformers

    folder = hub.locate(model, revision, role="CLIP of the styler", weights=hub.SAFETENSORS_OR_PICKLES)
    try:
        whole = transformers.CLIPConfig.from_pretrained(folder)
        config = whole.vision_config
        config.projection_dim = whole.projection_dim
        with loading.quiet():  # that the text tower is left out
            vision, report = transformers.CLIPVisionModelWithProjection.from_pretrained(
                folder, config=config, output_loading_info=True, trust_remote_code=False
            )
    except Exception as error:  # safetensors, torch and transformers each have their own
        raise ArtifactError(f"{folder}: its image tower cannot be loaded ({first_line(error)})") from error
    if missing := sorted(report["missing_keys"]):  # drawn at random, without an error
        raise ArtifactError(f"{folder} lacks {len(missing)} tensors of a CLIP image tower; the first is {missing[0]}")
    return vision.float().eval().requires_grad_(False)
