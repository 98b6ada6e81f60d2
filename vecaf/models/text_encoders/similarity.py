"""How close captions are to a domain prompt, in the eyes of a text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vecaf.models.text_encoders.base import TextEncoder

if TYPE_CHECKING:
    import torch

CHUNK = 65_536


def to_prompt(
    encoder: TextEncoder,
    captions: Sequence[str],
    embeddings: np.ndarray,
    prompt: str,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Return the cosine of each caption's embedding and that of the prompt, (N,) float32; 0 where either vanishes.

    embeddings: (N, t), of the captions without any prompt. An encoder that is fitted on captions is fitted once more,
    with the prompt among them: a prompt whose words no caption has is then close to none.
    """
    if encoder.fitted:
        together = encoder.encode([*captions, prompt], device=device)
        embeddings, target = together[:-1], together[-1]
    else:
        target = encoder.encode([prompt], device=device)[0]
    target = target / max(float(np.linalg.norm(target)), 1e-12)
    found = np.empty(len(captions), dtype=np.float32)
    for start in range(0, len(captions), CHUNK):
        rows = np.asarray(embeddings[start : start + CHUNK], dtype=np.float32)
        found[start : start + CHUNK] = rows @ target / np.linalg.norm(rows, axis=1).clip(1e-12)
    return found
