import json

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


# --- one coordinate a caption -----------------------------------------------------------------------------------------


def one_hot(captions, **params):
    return text_encoders.build({"kind": "one_hot", "seed": 1, "prompt": None, **params}).encode(captions)


def test_a_caption_is_a_unit_vector_along_its_place_in_the_alphabet():
    text = one_hot(["dog", "ant", "emu", "dog"], width=4)
    assert text.dtype == np.float32
    assert text.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]


def test_only_equal_captions_share_a_coordinate():
    text = one_hot(CAPTIONS, width=30)
    same = np.array([[mine == theirs for theirs in CAPTIONS] for mine in CAPTIONS])
    assert np.array_equal(text @ text.T, same.astype(np.float32))


def test_one_hot_of_class_names_are_the_labels():
    """The control of CEA: with the class names as captions, as one-hot labels up to the order of the columns."""
    from vecaf.models import captioners

    labels, classes = np.array([2, 0, 1, 2, 2, 0]), ["bee", "cow", "ant"]
    captions = captioners.build({"kind": "class_name"}).caption(None, labels, classes, np.arange(6))
    assert np.array_equal(one_hot(captions, width=3)[:, np.argsort(np.argsort(classes))], np.eye(3)[labels])


def test_the_order_of_a_pool_is_no_matter():
    order = np.random.default_rng(2).permutation(len(CAPTIONS))
    assert np.array_equal(one_hot(CAPTIONS)[order], one_hot([CAPTIONS[row] for row in order]))


def test_more_distinct_captions_than_columns_are_refused():
    assert one_hot(["a", "b", "c", "a"], width=3).shape == (4, 3)
    with pytest.raises(DataError, match="3 distinct captions do not fit 2 columns: one_hot is for captions that are"):
        one_hot(["a", "b", "c", "a"], width=2)


def test_a_large_pool_comes_in_parts_of_which_none_is_larger_than_some_thousands():
    captions = [f"class {row % 7}" for row in range(9000)]
    encoder = text_encoders.build({"kind": "one_hot", "width": 8})
    parts = list(encoder.batches(captions))
    assert [len(rows) for rows, _ in parts] == [4096, 4096, 808]
    assert np.concatenate([rows for rows, _ in parts]).tolist() == list(range(9000))
    whole = encoder.encode(captions)
    assert np.array_equal(whole, np.concatenate([embeddings for _, embeddings in parts]))
    assert np.array_equal(whole.argmax(axis=1), np.arange(9000) % 7)


@pytest.mark.parametrize("kind", ["tfidf", "one_hot"])
def test_every_row_is_filled_with_finite_numbers_of_the_promised_width(kind):
    """Of the encoders that need no model."""
    encoder = text_encoders.build({"kind": kind, "width": 25, "seed": 1})
    out = np.full((len(CAPTIONS), 25), np.nan, dtype=np.float32)
    assert encoder.encode(CAPTIONS, out=out) is out
    assert encoder.width == 25
    assert np.isfinite(out).all()
    again = text_encoders.build({"kind": kind, "width": 25, "seed": 1}).encode(CAPTIONS)
    assert np.array_equal(out, again)
    json.dumps(encoder.facts(), allow_nan=False)


def test_unknown_kinds_and_parameters_are_named():
    with pytest.raises(ConfigError, match="text encoder kind 'clap' is not one of one_hot, tfidf, transformers"):
        text_encoders.build({"kind": "clap"})
    with pytest.raises(ConfigError, match="width: "):
        encode(CAPTIONS, width=0)
    assert text_encoders.implemented("tfidf")
    assert not text_encoders.implemented("clap")
    assert set(text_encoders.get("tfidf").Params.model_fields) == {"width", "ngrams"}
    with pytest.raises(ConfigError, match="width: "):
        one_hot(CAPTIONS, width=0)
    with pytest.raises(ConfigError, match="ngrams: Extra inputs"):
        one_hot(CAPTIONS, ngrams=1)
