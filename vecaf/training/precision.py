"""Which number format a forward pass runs in."""

from __future__ import annotations

import torch

from vecaf.errors import TrainingError


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """Return the autocast context of ``auto`` (bfloat16 on a GPU, float32 on a CPU), ``float32`` or ``bfloat16``.

    Weights stay float32 in all of them. Raises TrainingError for another name.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise TrainingError(f"precision {precision!r} is not one of auto, float32, bfloat16")
    kind = torch.device(device).type
    low = precision == "bfloat16" or (precision == "auto" and kind == "cuda")
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=low)
