"""Every text encoder meets every backbone: the widths of the study, seeds, and captions that cannot be projected."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vecaf.augmentation import Readings, cea, projection
from vecaf.errors import DataError

every_pair = pytest.mark.parametrize(
    ("text_width", "width"), [(t, e) for t in (512, 768, 1024, 1280) for e in (384, 512, 768, 1024)]
)
KINDS = ["orthogonal", "ridge", "pca"]


def pairs(size, text_width, width):
    generator = np.random.default_rng(0)
    text = generator.normal(size=(size, text_width)).astype(np.float32)
    return text, (2 * generator.normal(size=(size, width)) + 1).astype(np.float32)


def projected(text, embeddings, seed, kind="orthogonal"):
    project = projection.fit(text, embeddings, Readings(projection=kind), seed)
    return project(torch.from_numpy(text), torch.from_numpy(embeddings)).numpy()


@every_pair
def test_the_shorter_side_is_orthonormal(text_width, width):
    matrix = projection.orthogonal(text_width, width, 3)
    assert matrix.shape == (text_width, width)
    gram = matrix @ matrix.T if text_width < width else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(min(text_width, width)), rtol=0, atol=1e-5)


@every_pair
def test_text_gets_the_width_and_length_of_its_image(text_width, width):
    text, embeddings = pairs(6, text_width, width)
    t = projected(text, embeddings, 3)
    assert t.shape == embeddings.shape
    np.testing.assert_allclose(np.linalg.norm(t, axis=1), np.linalg.norm(embeddings, axis=1), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_orthogonal_matrix_depends_on_the_seed(kind):
    text, embeddings = pairs(40, 6, 8)
    first, again, other = (projected(text, embeddings, seed, kind) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.allclose(first, other) == (kind != "orthogonal")


@pytest.mark.parametrize("kind", [*KINDS, "identity"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_caption_that_is_not_finite_is_named(kind, value):
    text, embeddings = pairs(10, 8, 8)
    text[6, 2] = value
    with pytest.raises(DataError, match="row 6 is not finite"):
        projection.fit(text, embeddings, Readings(projection=kind), 0)


def test_noise_leaves_the_global_random_state():
    text, embeddings = pairs(10, 8, 8)
    state = torch.get_rng_state()
    cea.augment_pool(embeddings, text, Readings(noise=0.1), 3, np.zeros_like(embeddings))
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200))
def test_attention_sums_to_one_and_its_relative_form_to_n(values):
    cosine = torch.tensor(values, dtype=torch.float32)
    alpha, relative = cea.attention(cosine, "literal"), cea.attention(cosine, "relative")
    assert float(alpha.double().sum()) == pytest.approx(1, abs=1e-5)
    assert float(relative.double().sum()) == pytest.approx(len(values), rel=1e-5)
    # No α is more than e² times another, since cosines differ by at most two.
    assert float(alpha.max() / alpha.min()) <= np.exp(2) * (1 + 1e-5)
    assert alpha[cosine.argmax()] == alpha.max()
