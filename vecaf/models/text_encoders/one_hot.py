"""One coordinate for every distinct caption: text without any meaning but that two captions are equal.

With the class names as captions these are the one-hot labels. What CEA gains from them is no work of language.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from vecaf.errors import DataError
from vecaf.models.text_encoders import base


class Params(base.Params):
    width: int = Field(1000, ge=1, description="width of the embeddings: at least the number of distinct captions")


@base.register("one_hot")
class OneHot(base.TextEncoder):
    """Unit vectors along the position of a caption among the distinct ones, in alphabetical order."""

    Params = Params
    fitted = True

    @property
    def width(self) -> int:
        return self.params.width

    def batches(self, captions, device="cpu"):
        """Yield all embeddings, some thousands at a time. Raises DataError for more distinct captions than columns."""
        place = {caption: position for position, caption in enumerate(sorted(set(captions)))}
        if len(place) > self.width:
            raise DataError(
                f"{len(place)} distinct captions do not fit {self.width} columns: one_hot is for captions that are "
                "class names; raise its width for more classes"
            )
        for start in range(0, len(captions), 4096):
            rows = np.arange(start, min(start + 4096, len(captions)))
            embeddings = np.zeros((len(rows), self.width), dtype=np.float32)
            embeddings[np.arange(len(rows)), [place[captions[row]] for row in rows]] = 1
            yield rows, embeddings
