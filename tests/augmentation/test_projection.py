"""Text brought to the width of images: every pair of widths by one rule, and the fitted ones by a second route."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vecaf.augmentation import Readings, projection
from vecaf.errors import DataError

WIDTHS = [(12, 5), (5, 12), (8, 8)]


def draw(text_width, image_width, size=60):
    generator = np.random.default_rng(0)
    text = generator.normal(size=(size, text_width)).astype(np.float32) + 0.5
    images = (4 * generator.normal(size=(size, image_width))).astype(np.float32)
    return text, images


def project(text, images, kind, seed=7, **readings):
    fitted = projection.fit(text, images, Readings(projection=kind, **readings), seed)
    return fitted(torch.from_numpy(text), torch.from_numpy(images))


@pytest.mark.parametrize(("wide", "narrow"), WIDTHS)
def test_orthogonal_matrices(wide, narrow):
    matrix = projection.orthogonal(wide, narrow, 3)
    assert matrix.shape == (wide, narrow)
    gram = matrix.T @ matrix if wide >= narrow else matrix @ matrix.T
    torch.testing.assert_close(gram, torch.eye(min(wide, narrow)), atol=1e-6, rtol=0)
    assert torch.equal(matrix, projection.orthogonal(wide, narrow, 3))
    assert not torch.allclose(matrix, projection.orthogonal(wide, narrow, 4))


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("kind", ["orthogonal", "pca"])
def test_projected_text_has_the_length_of_its_image(widths, kind):
    text, images = draw(*widths)
    t = project(text, images, kind)
    assert t.shape == images.shape
    assert t.dtype == torch.float32
    np.testing.assert_allclose(t.norm(dim=1), np.linalg.norm(images, axis=1), rtol=1e-5)


def test_a_wider_target_keeps_all_angles():
    text, images = draw(5, 12)
    t = torch.nn.functional.normalize(project(text, images, "orthogonal"), dim=1)
    unit = torch.nn.functional.normalize(torch.from_numpy(text), dim=1)
    torch.testing.assert_close(t @ t.T, unit @ unit.T, atol=1e-5, rtol=0)


def test_identity_needs_equal_widths():
    text, images = draw(8, 8)
    np.testing.assert_array_equal(project(text, images, "identity"), text)
    with pytest.raises(DataError, match="text has 12 and images have 5; use orthogonal"):
        project(*draw(12, 5), "identity")


@pytest.mark.parametrize("widths", WIDTHS)
def test_ridge_is_penalised_least_squares(widths):
    text, images = draw(*widths)
    found = project(text, images, "ridge", ridge_penalty=0.05)
    t, e = (array.astype(np.float64) - array.mean(axis=0, dtype=np.float64) for array in (text, images))
    penalty = 0.05 * np.trace(t.T @ t) / widths[0]
    rows = np.concatenate([t, np.sqrt(penalty) * np.eye(widths[0])])
    weights, *_ = np.linalg.lstsq(rows, np.concatenate([e, np.zeros((widths[0], widths[1]))]), rcond=None)
    np.testing.assert_allclose(found, t @ weights + images.mean(axis=0), atol=1e-4)


def test_ridge_finds_a_linear_map():
    text, _ = draw(6, 6)
    images = (text @ np.random.default_rng(1).normal(size=(6, 9)) + 2).astype(np.float32)
    found = project(text, images, "ridge", ridge_penalty=1e-6)
    np.testing.assert_allclose(found, images, atol=1e-3)


def test_a_strong_penalty_leaves_the_mean_image():
    text, images = draw(6, 6)
    found = project(text, images, "ridge", ridge_penalty=1e9)
    np.testing.assert_allclose(found, np.broadcast_to(images.mean(axis=0), images.shape), atol=1e-4)


def test_ridge_on_captions_without_variety_is_the_mean_image():
    text, images = draw(6, 6)
    found = project(np.ones_like(text), images, "ridge")
    np.testing.assert_allclose(found, np.broadcast_to(images.mean(axis=0), images.shape), atol=1e-4)


def test_principal_components_by_singular_values():
    text, images = draw(12, 5)
    centred = text - text.mean(axis=0)
    _, _, v = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    wanted = centred @ v[:5].T
    wanted *= np.linalg.norm(images, axis=1, keepdims=True) / np.linalg.norm(wanted, axis=1, keepdims=True)
    found = project(text, images, "pca").numpy()
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, atol=1e-3)


def test_principal_components_fill_up_with_zeros():
    found = project(*draw(5, 12), "pca")
    assert (found[:, 5:] == 0).all()
    assert (found[:, :5] != 0).any()


@pytest.mark.parametrize("kind", ["orthogonal", "ridge", "pca"])
def test_a_caption_of_zeros_stays_finite(kind):
    text, images = draw(8, 8)
    text[4] = 0
    images[5] = 0
    assert torch.isfinite(project(text, images, kind)).all()


@pytest.mark.parametrize("kind", ["orthogonal", "ridge", "pca", "identity"])
def test_missing_captions_are_counted(kind):
    text, images = draw(8, 8)
    with pytest.raises(DataError, match="59 caption embeddings for 60 images"):
        project(text[1:], images, kind)


@pytest.mark.parametrize("kind", ["orthogonal", "ridge", "pca"])
def test_fitting_on_mapped_chunks_of_half_precision(kind, monkeypatch, tmp_path):
    text, images = (array.astype(np.float16) for array in draw(5, 7))
    rows = [torch.from_numpy(array.astype(np.float32)) for array in (text, images)]
    whole = project(*(row.numpy() for row in rows), kind)
    for name, array in (("text", text), ("images", images)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("text", "images")]
    monkeypatch.setattr(projection, "CHUNK", 4)
    part = projection.fit(*mapped, Readings(projection=kind), 7)(*rows)
    torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-4)
