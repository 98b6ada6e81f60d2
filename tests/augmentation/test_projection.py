"""Every pair of text and image widths gets a projection, and each does what its name says."""

import numpy as np
import pytest
import torch

from vecaf.augmentation import Readings, projection
from vecaf.errors import DataError

IMAGE_WIDTHS = [384, 512, 768, 1024]
TEXT_WIDTHS = [512, 768, 1024, 1280]
KINDS = ["orthogonal", "ridge", "pca"]


def pairs(size, text_width, width, seed=0):
    generator = np.random.default_rng(seed)
    text = generator.normal(size=(size, text_width)).astype(np.float32)
    return text, (2 * generator.normal(size=(size, width)) + 1).astype(np.float32)


def projected(text, embeddings, seed=0, **readings):
    project = projection.fit(text, embeddings, Readings(**readings), seed)
    return project(torch.from_numpy(text), torch.from_numpy(embeddings)).numpy()


@pytest.mark.parametrize("width", IMAGE_WIDTHS)
@pytest.mark.parametrize("text_width", TEXT_WIDTHS)
def test_the_shorter_side_of_the_matrix_is_orthonormal(text_width, width):
    matrix = projection.orthogonal(text_width, width, 3).double()
    assert matrix.shape == (text_width, width)
    gram = matrix @ matrix.T if text_width < width else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(min(text_width, width), dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", IMAGE_WIDTHS)
@pytest.mark.parametrize("text_width", TEXT_WIDTHS)
def test_projected_text_is_as_long_as_its_image(text_width, width):
    text, embeddings = pairs(6, text_width, width)
    t = projected(text, embeddings)
    assert t.shape == embeddings.shape
    np.testing.assert_allclose(np.linalg.norm(t, axis=1), np.linalg.norm(embeddings, axis=1), rtol=1e-4)


def test_text_into_a_wider_space_keeps_its_angles():
    text, embeddings = pairs(9, 12, 20)
    t = projected(text, embeddings)

    def cosines(x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return unit @ unit.T

    np.testing.assert_allclose(cosines(t), cosines(text), atol=1e-5)


def test_the_matrix_is_a_function_of_its_seed():
    text, embeddings = pairs(5, 12, 8)
    np.testing.assert_array_equal(projected(text, embeddings, 1), projected(text, embeddings, 1))
    assert not np.allclose(projected(text, embeddings, 1), projected(text, embeddings, 2))


@pytest.mark.parametrize("kind", ["ridge", "pca"])
def test_what_is_fitted_needs_no_seed(kind):
    text, embeddings = pairs(40, 6, 8)
    first, second = (projected(text, embeddings, seed, projection=kind) for seed in (1, 2))
    np.testing.assert_array_equal(first, second)


def test_identity_is_the_text_itself():
    text, embeddings = pairs(5, 8, 8)
    np.testing.assert_array_equal(projected(text, embeddings, projection="identity"), text)


def test_identity_between_unequal_widths_says_what_fits():
    text, embeddings = pairs(5, 8, 12)
    with pytest.raises(DataError, match=r"text has 8 and images .*12.*orthogonal, ridge or pca"):
        projected(text, embeddings, projection="identity")


@pytest.mark.parametrize(("text_width", "width"), [(6, 9), (9, 6)])
def test_ridge_recovers_a_linear_map(text_width, width):
    text, _ = pairs(200, text_width, width)
    generator = np.random.default_rng(4)
    matrix, offset = generator.normal(size=(text_width, width)), generator.normal(size=width)
    embeddings = (text @ matrix + offset).astype(np.float32)
    t = projected(text, embeddings, projection="ridge", ridge_penalty=1e-9)
    np.testing.assert_allclose(t, embeddings, atol=1e-3)


def test_ridge_solves_its_normal_equations():
    text, embeddings = pairs(50, 5, 7)
    t = projected(text, embeddings, projection="ridge", ridge_penalty=0.3)
    x, y = (array.astype(np.float64) - array.mean(axis=0, dtype=np.float64) for array in (text, embeddings))
    covariance = x.T @ x / len(x)
    weight = 0.3 * np.trace(covariance) / 5
    expected = x @ np.linalg.solve(covariance + weight * np.eye(5), x.T @ y / len(x)) + embeddings.mean(axis=0)
    np.testing.assert_allclose(t, expected, atol=1e-4)


def test_a_strong_penalty_leaves_the_mean_image():
    text, embeddings = pairs(50, 5, 7)
    t = projected(text, embeddings, projection="ridge", ridge_penalty=1e9)
    np.testing.assert_allclose(t, np.broadcast_to(embeddings.mean(axis=0), t.shape), atol=1e-4)


@pytest.mark.parametrize(("text_width", "width"), [(6, 9), (9, 6), (7, 7)])
def test_pca_has_the_width_and_length_of_the_images(text_width, width):
    text, embeddings = pairs(50, text_width, width)
    t = projected(text, embeddings, projection="pca")
    assert t.shape == embeddings.shape
    np.testing.assert_allclose(np.linalg.norm(t, axis=1), np.linalg.norm(embeddings, axis=1), rtol=1e-4)
    assert (t[:, text_width:] == 0).all()


def test_pca_has_the_scores_of_a_singular_value_decomposition():
    text, embeddings = pairs(50, 9, 4)
    text *= np.linspace(1, 3, 9, dtype=np.float32)
    centred = text.astype(np.float64) - text.mean(axis=0, dtype=np.float64)
    scores = centred @ np.linalg.svd(centred, full_matrices=False)[2][:4].T
    scores *= np.linalg.norm(embeddings, axis=1, keepdims=True) / np.linalg.norm(scores, axis=1, keepdims=True)
    t = projected(text, embeddings, projection="pca")
    np.testing.assert_allclose(np.abs(t), np.abs(scores), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_half_precision_change_nothing(kind, monkeypatch, tmp_path):
    text, embeddings = (array.astype(np.float16) for array in pairs(31, 5, 7))
    whole = projected(text.astype(np.float32), embeddings.astype(np.float32), projection=kind)
    for name, array in (("text", text), ("embeddings", embeddings)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("text", "embeddings")]
    monkeypatch.setattr(projection, "CHUNK", 4)
    project = projection.fit(*mapped, Readings(projection=kind), 0)
    part = project(*(torch.from_numpy(array.astype(np.float32)) for array in (text, embeddings)))
    np.testing.assert_allclose(part.numpy(), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, "identity"])
def test_missing_captions_are_counted(kind):
    text, embeddings = pairs(10, 8, 8)
    with pytest.raises(DataError, match="9 caption embeddings for 10 images"):
        projection.fit(text[:9], embeddings, Readings(projection=kind), 0)


@pytest.mark.parametrize("kind", [*KINDS, "identity"])
def test_a_caption_that_is_not_finite_is_named(kind):
    text, embeddings = pairs(10, 8, 8)
    text[6, 2] = np.inf
    with pytest.raises(DataError, match="row 6 is not finite"):
        projection.fit(text, embeddings, Readings(projection=kind), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_captions_that_are_all_the_same_give_finite_text(kind):
    text, embeddings = pairs(10, 6, 8)
    text[:] = text[0]
    assert np.isfinite(projected(text, embeddings, projection=kind)).all()
