"""Text embeddings brought to the width of image embeddings, by one rule for every pair of encoder and backbone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from vecaf.augmentation import Readings
from vecaf.errors import DataError

CHUNK = 65_536

# Takes (text (n, t), embeddings (n, d)) of some rows and returns the projected text (n, d).
Projection = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def fit(text: np.ndarray, embeddings: np.ndarray, readings: Readings, seed: int) -> Projection:
    """Return the projection from text (N, t) to image embeddings (N, d), fitted on these rows where it is fitted.

    ``orthogonal``: a seeded matrix with orthonormal rows or columns, each result scaled to its image embedding's norm.
    ``identity``: the text itself. ``pca``: its principal components, padded with zeros where t < d, scaled likewise.
    ``ridge``: least squares from text to image embeddings. Raises DataError when identity meets unequal widths or the
    rows do not correspond or a caption's embedding is not finite.
    """
    if len(text) != len(embeddings):
        raise DataError(f"{len(text)} caption embeddings for {len(embeddings)} images; embed the captions again")
    _check_finite(text)
    if readings.projection == "identity":
        if text.shape[1] != embeddings.shape[1]:
            raise DataError(
                f"cea.projection identity needs equal widths, text has {text.shape[1]} and images have "
                f"{embeddings.shape[1]}; use orthogonal, ridge or pca"
            )
        return lambda t, e: t
    if readings.projection == "ridge":
        return _ridge(text, embeddings, readings.ridge_penalty)
    if readings.projection == "pca":
        matrix, mean = _principal(text, embeddings.shape[1])
        return lambda t, e: _to_norm_of((t - mean) @ matrix, e)
    matrix = orthogonal(text.shape[1], embeddings.shape[1], seed)
    return lambda t, e: _to_norm_of(t @ matrix, e)


def _check_finite(text: np.ndarray) -> None:
    for start in range(0, len(text), CHUNK):
        good = np.isfinite(text[start : start + CHUNK]).all(axis=1)
        if not good.all():
            row = start + int(np.flatnonzero(~good)[0])
            raise DataError(f"the caption embedding in row {row} is not finite; embed the captions again")


def orthogonal(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Return a seeded (rows, columns) matrix whose shorter side is orthonormal, float32."""
    generator = torch.Generator().manual_seed(seed)
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(tall)
    q = q * r.diagonal().sign()  # one matrix for every LAPACK
    return (q if rows >= columns else q.T).float()


def _to_norm_of(t: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(t, dim=1) * e.norm(dim=1, keepdim=True)


def _chunks(*arrays: np.ndarray):
    for start in range(0, len(arrays[0]), CHUNK):
        yield tuple(torch.from_numpy(np.asarray(a[start : start + CHUNK], dtype=np.float64)) for a in arrays)


def _moments(text: np.ndarray, embeddings: np.ndarray | None = None):
    """Return means and centred second moments of text, and of text with images where given, in one pass each."""
    count = len(text)
    t_mean = sum(t.sum(dim=0) for (t,) in _chunks(text)) / count
    if embeddings is None:
        return t_mean, sum((t - t_mean).T @ (t - t_mean) for (t,) in _chunks(text)) / count
    e_mean = sum(e.sum(dim=0) for (e,) in _chunks(embeddings)) / count
    t_cov, cross = 0, 0
    for t, e in _chunks(text, embeddings):
        t_cov = t_cov + (t - t_mean).T @ (t - t_mean)
        cross = cross + (t - t_mean).T @ (e - e_mean)
    return t_mean, e_mean, t_cov / count, cross / count


def _ridge(text: np.ndarray, embeddings: np.ndarray, penalty: float) -> Projection:
    t_mean, e_mean, t_cov, cross = _moments(text, embeddings)
    scale = max(float(t_cov.diagonal().mean()), 1e-12)
    identity = torch.eye(len(t_cov), dtype=t_cov.dtype)
    matrix = torch.linalg.solve(t_cov + penalty * scale * identity, cross).float()
    t_mean, e_mean = t_mean.float(), e_mean.float()
    return lambda t, e: (t - t_mean) @ matrix + e_mean


def _principal(text: np.ndarray, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    mean, covariance = _moments(text)
    vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :width]
    # The sign of an eigenvector is arbitrary; its largest entry is made positive.
    vectors = vectors * vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    padded = torch.zeros(text.shape[1], width, dtype=torch.float64)
    padded[:, : vectors.shape[1]] = vectors
    return padded.float(), mean.float()
