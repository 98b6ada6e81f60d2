"""How a styler is trained; free of torch, so that the configuration's schema can be made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vecaf.errors import ConfigError

STRIDE = 8  # pixels behind one position of the encoder's features


class Options(BaseModel):
    """How a styler is trained; all but the text and ``reconstruction`` are the values of the authors' train_fast.py."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    text: str = Field(min_length=1, description="what the images shall look like, as in “a photo of {text}”")
    source: str = Field("a Photo", min_length=1, description="what they look like now")
    clip: str = Field("openai/clip-vit-base-patch32", description="a CLIP model of the hub, or its folder")
    revision: str | None = Field(None, description="branch, tag or commit on the hub; null: main")
    vgg: str = Field("torchvision", description="VGG-19: torchvision's weights, or a .safetensors file of them")
    size: int = Field(256, ge=2 * STRIDE, description="short side to which images are resized, in pixels")
    crop: int = Field(224, ge=2 * STRIDE, multiple_of=STRIDE, description="side of the random training crops")
    reconstruction: int = Field(10_000, ge=0, description="steps in which the decoder learns to reconstruct images")
    reconstruction_rate: float = Field(1e-3, gt=0, description="their peak learning rate; a cosine to 0")
    steps: int = Field(200, ge=1, description="steps in which it learns the style")
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(1e-4, gt=0, description="of the style; Adam")
    decay: float = Field(5e-5, ge=0, description="the rate of step i is divided by 1 + decay · i")
    views: int = Field(16, ge=1, description="random perspectives of each image for the patch loss")
    distortion: float = Field(0.5, ge=0, le=1, description="of a perspective, as a share of half the side")
    threshold: float = Field(0.7, ge=0, le=2, description="views of a lower directional loss count as 0")
    content: float = Field(1.0, ge=0, description="weight of the difference of VGG features")
    patch: float = Field(10.0, ge=0, description="weight of the directional loss of the views")
    whole: float = Field(1.0, ge=0, description="weight of the directional loss of whole images")
    smoothness: float = Field(1e-4, ge=0, description="weight of the total variation")

    @model_validator(mode="after")
    def _crops_fit(self) -> Options:
        if self.crop > self.size:
            raise ValueError(f"crop {self.crop} is larger than size {self.size}")
        return self


def options(values: Mapping[str, Any]) -> Options:
    """Return the options of a styler; raises ConfigError that lists every wrong key and value."""
    try:
        return Options(**values)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['input']!r} ({item['msg']})" for item in error.errors()]
        raise ConfigError(f"styler: {'; '.join(lines)}; known here: {', '.join(Options.model_fields)}") from None
