"""Equations 8 and 9: how strongly, and how far, image embeddings move towards the embeddings of their captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vecaf.augmentation import Readings, projection
from vecaf.errors import DataError
from vecaf.seeds import derive

CHUNK = 65_536


def attention(cosine: torch.Tensor, kind: str) -> torch.Tensor:
    """Return α of equation 8 from the cosines of n image and text embeddings, (n,).

    ``literal``: α_i = exp(cos_i) / Σ_j exp(cos_j), summing to one. ``relative``: n times that, of mean one. ``unit``:
    one, which is what the released code computes.
    """
    if kind == "unit":
        return torch.ones_like(cosine)
    alpha = torch.softmax(cosine.double(), dim=0)
    return (alpha * len(cosine) if kind == "relative" else alpha).to(cosine.dtype)


def augment(e: torch.Tensor, t: torch.Tensor, alpha: torch.Tensor, step: float) -> torch.Tensor:
    """Return e_aug = e − η α (e − t), equation 9. e, t: (n, d); alpha: (n,); step: η."""
    return e - step * alpha[:, None] * (e - t)


def cosines(e: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return the cosine of each pair of rows, (n,), zero where either vanishes."""
    return torch.nn.functional.cosine_similarity(e, t, dim=1, eps=1e-12)


def augment_pool(
    embeddings: np.ndarray, text: np.ndarray, readings: Readings, seed: int, out: np.ndarray
) -> dict[str, Any]:
    """Write the augmented embeddings of a whole pool into ``out``; α is one softmax over the pool.

    embeddings, out: (N, d) arrays or memory maps; text: (N, t). seed: of the projection and the noise. Two passes in
    chunks of rows. Returns the mean cosine of image and text, the range of α and the mean relative shift.
    """
    project = projection.fit(text, embeddings, readings, seed)
    size = len(embeddings)
    chunks = [slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK)]

    def read(rows):
        e, t = (torch.tensor(np.asarray(array[rows], dtype=np.float32)) for array in (embeddings, text))
        return e, project(t, e)

    cosine = torch.cat([cosines(*read(rows)) for rows in chunks])
    alpha = attention(cosine, readings.attention)
    shift = 0.0
    for number, rows in enumerate(chunks):
        e, t = read(rows)
        moved = augment(e, t, alpha[rows], readings.step)
        if readings.noise:
            generator = torch.Generator().manual_seed(derive(seed, "noise", number))
            moved = moved + readings.noise * torch.randn(moved.shape, generator=generator)
        shift += float(((moved - e).norm(dim=1) / e.norm(dim=1).clamp_min(1e-12)).sum())
        out[rows] = moved.numpy()
    return {
        "cosine_mean": float(cosine.mean()),
        "attention_min": float(alpha.min()),
        "attention_max": float(alpha.max()),
        "relative_shift": shift / size,
    }


def for_selection(
    embeddings: np.ndarray, text: np.ndarray, ids: np.ndarray, readings: Readings, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what finetuning on a selection needs: projected text (K, d) and α over the selection (K,), float32.

    embeddings (N, d) and text (N, t) are those of the whole pool, ids the K rows selected. Projections that are fitted
    are fitted on the pool, or on the selection alone with ``ridge_fit: selected``. Raises DataError for an id without
    a caption.
    """
    if len(ids) and (ids.max() >= len(text) or ids.min() < 0):
        raise DataError(f"id {int(ids.max())} has no caption embedding ({len(text)} rows); embed the captions again")
    own_e, own_t = np.asarray(embeddings[ids], dtype=np.float32), np.asarray(text[ids], dtype=np.float32)
    on_selection = readings.projection == "ridge" and readings.ridge_fit == "selected"
    source = (own_t, own_e) if on_selection else (text, embeddings)
    e = torch.from_numpy(own_e)
    t = projection.fit(*source, readings, seed)(torch.from_numpy(own_t), e)
    return t, attention(cosines(e, t), readings.attention)
