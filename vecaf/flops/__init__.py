"""Multiply-accumulates (MACs): of models, counted; of selection and augmentation, by formula; of a whole cell.

One multiply-accumulate is two floating-point operations. Products are what is counted (linear layers, convolutions,
attention, similarities); norms, activations, softmax, sorting and optimiser steps are left out, as in the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A training step costs a forward pass and twice that for the gradients of inputs and of weights.
TRAINING_STEP = 3


def profile(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the count of one model as plain JSON; told: as of ``Study.profile_params``."""
    # Each brings libraries of its own, which are slow to load.
    if told["part"] == "backbone":
        from vecaf.flops import backbones

        return backbones.profile(told["model"], told["input_sizes"], told["loss_heads"])
    if told["part"] == "encoder":
        from vecaf.flops import text_encoders

        return text_encoders.profile(told["model"])
    from vecaf.flops import captioners

    return captioners.profile(told["model"])
