"""Finetuning recipes: the paper's text and the released code, each a set of named values that a study may override."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vecaf.errors import ConfigError

Range = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)]


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="after")
    def _ordered(self):
        for key, limit in (("crop_scale", 1.0), ("crop_ratio", math.inf)):
            bounds = getattr(self, key)
            if bounds is not None and not bounds[0] <= bounds[1] <= limit:
                raise ValueError(f"{key} must be [lower, upper] with lower ≤ upper ≤ {limit:g}, not {bounds}")
        return self


class Recipe(_Values):
    """How weights move: SGD with one cosine over all batches of a cell, and what is done to the training images."""

    learning_rate: float = Field(gt=0, description="peak learning rate of the backbone")
    batch_size: int = Field(256, ge=1, description="global batch, over all GPUs")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-4, ge=0)
    decay_vectors: bool = Field(True, description="weight decay also on biases, norms and tokens, as plain SGD has it")
    head_lr_multiplier: float = Field(1.0, gt=0, description="the head's learning rate over the backbone's")
    minimum_lr: float = Field(0.0, ge=0, description="where the cosine ends")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the batches with a linear warm-up")
    warmup_lr: float = Field(1e-6, ge=0, description="where the warm-up starts")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient; none: not clipped")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth")
    repeated_augmentation: int = Field(1, ge=1, description="differently augmented copies of an image in a batch")
    crop: bool = Field(True, description="random resized crops; false: the whole image, squashed")
    crop_scale: Range = Field([0.08, 1.0], description="area of a crop, as a share of the image's")
    crop_ratio: Range = Field([3 / 4, 4 / 3], description="aspect of a crop, width over height")
    flip: bool = Field(True, description="horizontal flips; false where mirror images are other objects (digits)")

    @model_validator(mode="after")
    def _consistent(self):
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.minimum_lr > self.learning_rate:
            raise ValueError(f"minimum_lr {self.minimum_lr:g} is above learning_rate {self.learning_rate:g}")
        return self


class Overrides(_Values):
    """Single values of a recipe that a study, a dataset or a method changes; what is absent stays the recipe's."""

    learning_rate: float | None = Field(None, gt=0, description="used as it is, not scaled with the batch")
    batch_size: int | None = Field(None, ge=1)
    momentum: float | None = Field(None, ge=0, lt=1)
    nesterov: bool | None = None
    weight_decay: float | None = Field(None, ge=0)
    decay_vectors: bool | None = None
    head_lr_multiplier: float | None = Field(None, gt=0)
    minimum_lr: float | None = Field(None, ge=0)
    warmup: float | None = Field(None, ge=0, lt=1)
    warmup_lr: float | None = Field(None, ge=0)
    label_smoothing: float | None = Field(None, ge=0, lt=1)
    clip_norm: float | None = Field(None, gt=0)
    drop_path: float | None = Field(None, ge=0, lt=1)
    repeated_augmentation: int | None = Field(None, ge=1)
    crop: bool | None = None
    crop_scale: Range | None = None
    crop_ratio: Range | None = None
    flip: bool | None = None


RECIPES: dict[str, Recipe] = {
    # Section 4.1 of the paper; what it leaves open is torch's plain SGD and the field's usual crop and flip.
    "paper": Recipe(learning_rate=5e-4),
    # The finetuning fork of the released code (DeiT's with SGD), its epochs turned into shares of the batches.
    "released": Recipe(
        learning_rate=0.01 * 256 / 512,
        nesterov=True,
        decay_vectors=False,
        minimum_lr=1e-5,
        warmup=0.005,
        label_smoothing=0.1,
        clip_norm=2.0,
        drop_path=0.1,
        repeated_augmentation=3,
    ),
}
SCALES_WITH_BATCH = {"released"}


def resolve(name: str, overrides: Mapping[str, Any] | Overrides | None = None) -> Recipe:
    """Return a recipe with some of its values changed.

    name: a key of ``RECIPES``. overrides: field → value; an absent or None value keeps the recipe's. The learning rate
    of ``released`` is 0.01·batch/512 unless it is overridden. Raises ConfigError that lists what is wrong.
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe: {name!r} is not one of {', '.join(RECIPES)}")
    given = overrides.model_dump() if isinstance(overrides, Overrides) else dict(overrides or {})
    given = {key: value for key, value in given.items() if value is not None}
    values = RECIPES[name].model_dump() | given
    if name in SCALES_WITH_BATCH and "learning_rate" not in given and isinstance(values["batch_size"], int):
        values["learning_rate"] = RECIPES[name].learning_rate * values["batch_size"] / RECIPES[name].batch_size
    try:
        return Recipe(**values)
    except ValueError as error:
        details = getattr(error, "errors", list)()
        lines = [f"{'.'.join(map(str, item['loc'])) or 'recipe'}: {item['msg']}" for item in details] or [str(error)]
        known = f" (known here: {', '.join(Recipe.model_fields)})" if "extra" in str(error).lower() else ""
        raise ConfigError(f"recipe {name!r}: " + "; ".join(lines) + known) from None


def learning_rate(recipe: Recipe, batch: int, total: int) -> float:
    """Return the backbone's learning rate of one batch.

    batch: 0-based index in the cell's whole budget of ``total`` batches, so that the loops of a cell share one
    cosine. Warm-up is linear from ``warmup_lr``; the cosine counts from batch 0 (as timm's scheduler does) and would
    reach ``minimum_lr`` at batch ``total``. Raises ValueError outside 0 … total − 1.
    """
    if not 0 <= batch < total:
        raise ValueError(f"batch {batch} is outside a budget of {total} batches")
    warm = math.ceil(recipe.warmup * total)
    if batch < warm:
        return recipe.warmup_lr + (recipe.learning_rate - recipe.warmup_lr) * batch / warm
    swing = 1 + math.cos(math.pi * batch / total)
    return recipe.minimum_lr + (recipe.learning_rate - recipe.minimum_lr) * swing / 2
