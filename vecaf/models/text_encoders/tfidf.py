"""TF-IDF and truncated SVD (latent semantic analysis; Deerwester et al., 1990): text embeddings without a model."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from vecaf.errors import DataError
from vecaf.models.text_encoders import base


class Params(base.Params):
    width: int = Field(64, ge=1, description="width of the embeddings; columns the captions cannot fill are zero")
    ngrams: int = Field(2, ge=1, le=3, description="longest run of words that counts as a term of its own")


@base.register("tfidf")
class TfIdf(base.TextEncoder):
    """Weighted counts of words and word pairs, projected on their leading singular directions.

    Fitted on the captions it is given, so embeddings of two calls do not compare. Deterministic by seed.
    """

    Params = Params
    fitted = True

    @property
    def width(self) -> int:
        return self.params.width

    def batches(self, captions, device="cpu"):
        """Yield all embeddings at once; captions with fewer than ``width`` directions are padded with zeros.

        Padding keeps the width that projections and other steps rely on and changes no dot product. Raises DataError
        naming the first caption that has no words.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        captions = list(captions)
        # Words of one letter count too (the default leaves them out), so that any caption with a word has a vector.
        terms = TfidfVectorizer(ngram_range=(1, self.params.ngrams), token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
        try:
            counts = terms.fit_transform(captions)
        except ValueError as error:  # an empty vocabulary
            raise DataError("no caption has any words; write the captions of this pool again") from error
        empty = np.flatnonzero(np.diff(counts.indptr) == 0)
        if len(empty):
            raise DataError(
                f"{len(empty)} captions have no words, the first is that of id {empty[0]}: {captions[empty[0]]!r}; "
                "write the captions of this pool again"
            )
        embeddings = np.zeros((len(captions), self.width), dtype=np.float32)
        rank = min(self.width, counts.shape[1], counts.shape[0])
        if rank == min(counts.shape):  # nothing to truncate, and randomised SVD wants to
            left, values, _ = np.linalg.svd(counts.toarray(), full_matrices=False)
            signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(rank)])
            embeddings[:, :rank] = left * values * signs
        else:
            svd = TruncatedSVD(rank, n_iter=7, random_state=self.seed % 2**32)
            with np.errstate(invalid="ignore"):  # its explained variance is 0/0 where all captions are equal
                embeddings[:, :rank] = svd.fit_transform(counts)
        yield np.arange(len(captions)), embeddings
