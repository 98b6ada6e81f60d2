"""How close captions are to a prompt: by hand, and whether an encoder is fitted or not."""

import numpy as np
import pytest

from vecaf.models import text_encoders
from vecaf.models.text_encoders import base, similarity


class Letters(base.TextEncoder):
    """Counts of a, b and c: an encoder that needs no fitting."""

    width = 3

    def batches(self, captions, device="cpu"):
        yield (
            np.arange(len(captions)),
            np.array([[text.count(letter) for letter in "abc"] for text in captions], np.float32),
        )


def test_the_cosine_to_the_prompt_by_hand():
    captions = ["aa", "ab", "c", "xyz"]
    encoder = Letters(base.Params())
    found = similarity.to_prompt(encoder, captions, encoder.encode(captions), "a", "cpu")
    assert found.dtype == np.float32
    assert found == pytest.approx([1, 1 / np.sqrt(2), 0, 0])
    assert similarity.to_prompt(encoder, captions, encoder.encode(captions), "xyz").tolist() == [0, 0, 0, 0]


def test_embeddings_of_an_encoder_that_is_not_fitted_are_used_as_they_are():
    encoder = Letters(base.Params())
    assert similarity.to_prompt(encoder, ["a", "b"], np.eye(3, dtype=np.float32)[[1, 0]], "a").tolist() == [0, 1]


def test_a_fitted_encoder_is_fitted_with_the_prompt():
    captions = ["a dog in the snow", "a cat in the sun", "a snowy day", "a bird"]
    tfidf = text_encoders.build({"kind": "tfidf", "seed": 1, "prompt": None})
    unused = np.full((4, 64), np.nan, dtype=np.float32)
    found = similarity.to_prompt(tfidf, captions, unused, "a snowy day")
    assert found.argmax() == 2
    assert found[2] == pytest.approx(1, abs=1e-5)
    one_hot = text_encoders.build({"kind": "one_hot", "seed": 1, "prompt": None})
    assert similarity.to_prompt(one_hot, captions, unused, "a bird").tolist() == [0, 0, 0, 1]
