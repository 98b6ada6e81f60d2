import numpy as np
import pytest

from vecaf.errors import ConfigError, DataError
from vecaf.models import text_encoders

ANIMALS = ["cat", "dog", "emu", "fox"]
PLACES = ["in a green meadow", "on a white carpet", "under a dark sky", "by the blue sea", "near a red barn"]
CAPTIONS = [f"A picture of a {animal} {place}." for animal in ANIMALS for place in PLACES for _ in range(4)]


def encode(captions, **params):
    return text_encoders.build({"kind": "tfidf", "seed": 1, "prompt": None, **params}).encode(captions)


def test_shape_and_determinism():
    text = encode(CAPTIONS, width=12)
    assert text.shape == (80, 12)
    assert text.dtype == np.float32
    assert np.isfinite(text).all()
    assert np.array_equal(text, encode(CAPTIONS, width=12))
    assert text_encoders.build({"kind": "tfidf", "width": 12}).width == 12


def test_truncation_keeps_the_leading_directions():
    """Against the definition: rows of U·S of the TF-IDF matrix, up to the sign of a column."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    matrix = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b").fit_transform(CAPTIONS).toarray()
    singular = np.linalg.svd(matrix, compute_uv=False)[:5]
    assert np.allclose(np.linalg.norm(encode(CAPTIONS, width=5), axis=0), singular, rtol=1e-4)


def test_with_all_directions_dot_products_are_those_of_tf_idf():
    """And what the captions cannot fill is zero, so that the width is always as promised."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    few = CAPTIONS[::4]
    matrix = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b").fit_transform(few).toarray()
    text = encode(few, width=100)
    assert text.shape == (20, 100)
    assert (text[:, 20:] == 0).all()
    assert np.allclose(text @ text.T, matrix @ matrix.T, atol=1e-5)
    assert np.array_equal(text, encode(few, width=100))


def test_equal_captions_have_equal_embeddings_and_close_ones_are_closer():
    text = encode(CAPTIONS, width=20)
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    assert np.allclose(text[0], text[1], atol=1e-6)
    same_animal, same_place, neither = unit[0] @ unit[4], unit[0] @ unit[20], unit[0] @ unit[24]
    assert min(same_animal, same_place) > neither


def test_one_caption_for_all_is_one_direction():
    text = encode(["the same words"] * 6, width=3)
    assert np.allclose(text, text[0])
    assert np.linalg.norm(text[0]) == pytest.approx(1, abs=1e-5)


def test_captions_without_words_are_named():
    with pytest.raises(DataError, match=r"1 captions have no words, the first is that of id 2: '!!'"):
        encode(["a cat", "a dog", "!!"])
    with pytest.raises(DataError, match="no caption has any words"):
        encode(["", " ", "?"])


def test_a_prompt_is_appended_to_every_caption_and_moves_all_embeddings_alike():
    prompted = text_encoders.suffix(CAPTIONS, "It's a snowy day!")
    assert prompted[0] == "A picture of a cat in a green meadow. It's a snowy day!"
    assert len(prompted) == len(CAPTIONS)
    assert text_encoders.suffix(CAPTIONS, None) == CAPTIONS
    text = encode(prompted, width=10)
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    plain = encode(CAPTIONS, width=10)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert (unit @ unit.T).mean() > (plain @ plain.T).mean() + 0.05


def test_unknown_kinds_and_parameters_are_named():
    with pytest.raises(ConfigError, match="text encoder kind 'clap' is not one of tfidf"):
        text_encoders.build({"kind": "clap"})
    with pytest.raises(ConfigError, match="width: "):
        encode(CAPTIONS, width=0)
    assert text_encoders.implemented("tfidf")
    assert not text_encoders.implemented("clap")
    assert set(text_encoders.get("tfidf").Params.model_fields) == {"width", "ngrams"}
