"""The offline text encoder: TF-IDF and a truncated SVD (latent semantic analysis, Deerwester et al., 1990)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vecaf.errors import DataError


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    width: int = Field(64, ge=1, description="dimensions of the embedding")


class TfidfEncoder:
    """Words and pairs of words, weighted by TF-IDF and reduced. It is fitted on the captions that it encodes."""

    Params = Params

    def __init__(self, params: Params | None = None, seed: int = 0):
        self.params, self.seed = params or Params(), seed
        self.width = self.params.width

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Return (N, width) float32 embeddings, zeros filled in where the vocabulary has fewer dimensions.

        Raises DataError when the captions hold no word.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        try:
            counts = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(captions)
        except ValueError as error:
            raise DataError(f"the captions give no vocabulary ({error}); caption the images again") from error
        width = min(self.width, counts.shape[1] - 1, counts.shape[0])
        text = np.zeros((counts.shape[0], self.width), dtype=np.float32)
        if width < 1:  # one word for all: the only direction there is
            text[:, 0] = counts.toarray()[:, 0]
            return text
        svd = TruncatedSVD(n_components=width, random_state=self.seed % (1 << 32), algorithm="randomized")
        text[:, :width] = svd.fit_transform(counts)
        return text
