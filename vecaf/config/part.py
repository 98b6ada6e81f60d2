"""What every part of the configuration is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]


class Part(BaseModel):
    """Any part of the configuration: unknown keys are refused and nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True)
