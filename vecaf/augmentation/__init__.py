"""Cross-attentive embedding augmentation (CEA): image embeddings moved towards those of their captions.

VeCAF, section 3.2, equations 8 and 9. This module is torch-free: it holds the readings, ``cea`` and ``projection`` the
arithmetic.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Readings(BaseModel):
    """What the paper leaves open about CEA; docs/readings.md explains each."""

    model_config = ConfigDict(extra="forbid", strict=True)

    attention: Literal["relative", "literal", "unit"] = Field(
        "relative", description="K·softmax (mean one); the printed softmax over K; one, as released"
    )
    step: float = Field(0.1, ge=0, description="η of equation 9")
    noise: float = Field(0.0, ge=0, description="standard deviation of noise on the augmented pool (released: 0.001)")
    projection: Literal["orthogonal", "identity", "ridge", "pca"] = Field(
        "orthogonal", description="how text reaches the width of image embeddings"
    )
    ridge_fit: Literal["pool", "selected"] = Field("pool", description="rows that ridge is fitted on in finetuning")
    ridge_penalty: float = Field(1e-2, gt=0, description="over the mean eigenvalue of the text's covariance")
    scope: Literal["pool", "selected"] = Field("pool", description="pool: also before selection, from loop 2 on")
    in_finetune: bool = Field(True, description="also in finetuning: logits = head(e − ηα(e − t))")


def applies_to_pool(readings: Readings, loop: int, prompt: str | None) -> bool:
    """Say whether the pool is augmented before the selection of a loop: from loop 2 on, with a prompt from loop 1."""
    return readings.scope == "pool" and (loop >= 2 or prompt is not None)
