"""A map of a pool: UMAP of its embeddings in two dimensions (McInnes, Healy & Melville, 2018)."""

from __future__ import annotations

import warnings

import numpy as np

from vecaf.errors import ArtifactError

LEAST = 8  # samples; below, UMAP's spectral start has no solution


def coordinates(embeddings: np.ndarray, *, neighbors: int, min_distance: float, metric: str, seed: int) -> np.ndarray:
    """Return the place of each sample, (N, 2) float32: the same to the last bit for equal embeddings and seed.

    embeddings: (N, d) float16 or float32. neighbors: at most N − 1 of them are used. One thread: several would make
    the result depend on their order. Axes and distances between far samples mean nothing. Raises ArtifactError for a
    pool of fewer than ``LEAST`` samples.
    """
    if len(embeddings) < LEAST:
        raise ArtifactError(f"a map needs at least {LEAST} samples, the pool has {len(embeddings)}")
    import numba
    import umap
    from threadpoolctl import threadpool_limits

    # numba starts one thread a core, and with that gives as many to torch; at the end it has what it had.
    with threadpool_limits(1, "openmp"), warnings.catch_warnings():
        numba.set_num_threads(1)
        warnings.filterwarnings("ignore", message="n_jobs value")
        reducer = umap.UMAP(
            n_neighbors=min(neighbors, len(embeddings) - 1),
            min_dist=min_distance,
            metric=metric,
            random_state=seed % 2**32,
            n_jobs=1,
        )
        return np.asarray(reducer.fit_transform(np.asarray(embeddings, dtype=np.float32)), dtype=np.float32)
