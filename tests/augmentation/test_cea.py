"""Equations 8 and 9: identities, whole pools in chunks, and what finetuning gets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from vecaf.augmentation import Readings, cea, projection
from vecaf.errors import DataError

SAME = {"projection": "identity"}


@pytest.fixture
def images():
    return (3 * np.random.default_rng(0).normal(size=(50, 6))).astype(np.float32)


@pytest.fixture
def text():
    return np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)


def augmented(images, text, seed=7, **readings):
    out = np.empty_like(images)
    diagnostics = cea.augment_pool(images, text, Readings(**readings), seed, out=out)
    json.dumps(diagnostics, allow_nan=False)
    return out, diagnostics


@pytest.mark.parametrize(("kind", "total"), [("literal", 1), ("relative", 40), ("unit", 40)])
def test_attention_sums_to(kind, total):
    cosine = torch.rand(40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    alpha = cea.attention(cosine, kind)
    assert alpha.dtype == torch.float32
    assert alpha.sum().item() == pytest.approx(total, rel=1e-6)
    assert (alpha > 0).all()


def test_attention_is_equation_8():
    cosine = np.linspace(-1, 1, 9)
    wanted = np.exp(cosine) / np.exp(cosine).sum()
    found = cea.attention(torch.from_numpy(cosine), "literal")
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)
    relative = cea.attention(torch.from_numpy(cosine), "relative")
    np.testing.assert_allclose(relative.numpy(), 9 * wanted, rtol=1e-12)
    assert (relative.diff() > 0).all()  # more alike, further moved


def test_cosines_ignore_length_and_survive_zero():
    e = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    t = torch.tensor([[5.0, 0.0], [-2.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(cea.cosines(e, t), [1, -np.sqrt(0.5), 0], atol=1e-6)


def rows(seed, count=8):
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("step", [0.1, 1.0, 1.2])
def test_text_equal_to_the_image_changes_nothing(step):
    e, alpha = rows(0), torch.linspace(0.5, 2, 8)
    assert torch.equal(cea.augment(e, e.clone(), alpha, step), e)


def test_no_step_changes_nothing():
    e = rows(0)
    assert torch.equal(cea.augment(e, rows(1), torch.ones(8), 0.0), e)


def test_a_step_times_attention_of_one_arrives_at_the_text():
    torch.testing.assert_close(cea.augment(rows(0), rows(1), torch.full((8,), 4.0), 0.25), rows(1))


def test_each_row_has_its_own_attention():
    e, t = rows(0, 3), rows(1, 3)
    moved = cea.augment(e, t, torch.tensor([0.0, 1.0, 0.5]), 1.0)
    torch.testing.assert_close(moved, torch.stack([e[0], t[1], (e[2] + t[2]) / 2]), rtol=0, atol=1e-5)


def test_the_released_step_overshoots():
    e, t = rows(0), rows(1)
    torch.testing.assert_close(cea.augment(e, t, torch.ones(8), 1.2), -0.2 * e + 1.2 * t)


def test_a_pool_by_hand(images, text):
    found, diagnostics = augmented(images, text, step=0.3, **SAME)
    cosine = (images * text).sum(1) / np.linalg.norm(images, axis=1) / np.linalg.norm(text, axis=1)
    alpha = 50 * np.exp(cosine) / np.exp(cosine).sum()
    wanted = images - 0.3 * alpha[:, None] * (images - text)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert diagnostics["cosine_mean"] == pytest.approx(cosine.mean(), abs=1e-6)
    assert diagnostics["attention_max"] == pytest.approx(alpha.max(), rel=1e-5)
    shift = np.linalg.norm(wanted - images, axis=1) / np.linalg.norm(images, axis=1)
    assert diagnostics["relative_shift"] == pytest.approx(shift.mean(), rel=1e-5)


def direct(embeddings, text, readings, seed):
    """Equations 8 and 9 in float64 over the whole pool at once."""
    e = torch.from_numpy(embeddings)
    t = projection.fit(text, embeddings, readings, seed)(torch.from_numpy(text), e).double().numpy()
    e = embeddings.astype(np.float64)
    cosine = (e * t).sum(axis=1) / np.linalg.norm(e, axis=1) / np.linalg.norm(t, axis=1)
    alpha = np.exp(cosine) / np.exp(cosine).sum()
    alpha = {"literal": alpha, "relative": alpha * len(e), "unit": np.ones(len(e))}[readings.attention]
    return e - readings.step * alpha[:, None] * (e - t), cosine, alpha


@pytest.mark.parametrize("how", ["orthogonal", "ridge", "pca"])
@pytest.mark.parametrize("kind", ["literal", "relative", "unit"])
def test_a_pool_in_chunks_is_one_direct_computation(images, monkeypatch, how, kind):
    wide = np.random.default_rng(2).normal(size=(50, 12)).astype(np.float32)
    readings = Readings(attention=kind, step=0.7, projection=how)
    wanted, cosine, alpha = direct(images, wide, readings, 7)
    monkeypatch.setattr(cea, "CHUNK", 10)
    monkeypatch.setattr(projection, "CHUNK", 7)
    out = np.zeros_like(images)
    log = cea.augment_pool(images, wide, readings, 7, out)
    np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-4)
    shift = np.linalg.norm(wanted - images, axis=1) / np.linalg.norm(images, axis=1)
    numbers = {
        "cosine_mean": cosine.mean(),
        "attention_min": alpha.min(),
        "attention_max": alpha.max(),
        "relative_shift": shift.mean(),
    }
    assert log == pytest.approx(numbers, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", ["orthogonal", "identity", "ridge", "pca"])
def test_no_step_leaves_a_pool_as_it_is(images, text, kind):
    found, diagnostics = augmented(images, text, step=0.0, projection=kind)
    np.testing.assert_array_equal(found, images)
    assert diagnostics["relative_shift"] == 0


def test_the_printed_attention_is_nearly_nothing(images, text):
    """Softmax over K has a mean of 1/K: the reason for the reading `relative`."""
    literal = augmented(images, text, attention="literal", **SAME)[1]["relative_shift"]
    relative = augmented(images, text, attention="relative", **SAME)[1]["relative_shift"]
    assert relative / literal == pytest.approx(50, rel=1e-3)


@pytest.mark.parametrize("kind", ["orthogonal", "identity", "ridge", "pca"])
def test_permuting_the_pool_permutes_the_result(images, text, kind):
    order = np.random.default_rng(3).permutation(50)
    straight, _ = augmented(images, text, projection=kind)
    shuffled, _ = augmented(images[order], text[order], projection=kind)
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-4)


@pytest.mark.parametrize("kind", ["orthogonal", "identity", "ridge", "pca"])
def test_chunks_change_nothing(images, text, kind, monkeypatch):
    whole, _ = augmented(images, text, projection=kind)
    monkeypatch.setattr(cea, "CHUNK", 7)
    monkeypatch.setattr(projection, "CHUNK", 7)
    np.testing.assert_allclose(augmented(images, text, projection=kind)[0], whole, atol=1e-4)


def test_memory_maps_of_half_precision_in_and_out(images, text, tmp_path):
    np.save(tmp_path / "e.npy", images.astype(np.float16))
    mapped = np.load(tmp_path / "e.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float16, shape=images.shape)
    cea.augment_pool(mapped, text, Readings(), 7, out=out)
    wanted, _ = augmented(images.astype(np.float16).astype(np.float32), text)
    np.testing.assert_allclose(out, wanted, rtol=1e-3, atol=2e-3)


def test_noise_is_seeded_and_of_the_right_size(images, text):
    settings = {"step": 0.0, "noise": 0.5, **SAME}
    once, again = augmented(images, text, **settings)[0], augmented(images, text, **settings)[0]
    np.testing.assert_array_equal(once, again)
    other = augmented(images, text, seed=8, **settings)[0]
    assert not np.array_equal(once, other)
    assert (once - images).std() == pytest.approx(0.5, rel=0.15)


def test_a_selection_has_its_own_attention(images, text):
    ids = np.array([2, 5, 11, 30, 41])
    t, alpha = cea.for_selection(images, text, ids, Readings(**SAME), 7)
    np.testing.assert_array_equal(t, text[ids])
    assert t.dtype == alpha.dtype == torch.float32
    assert alpha.sum().item() == pytest.approx(5, rel=1e-6)
    wanted = cea.attention(cea.cosines(torch.from_numpy(images[ids]), torch.from_numpy(text[ids])), "relative")
    torch.testing.assert_close(alpha, wanted)


@pytest.mark.parametrize("kind", ["orthogonal", "ridge", "pca"])
def test_a_selection_is_projected_as_the_pool_is(images, text, kind):
    ids = np.array([2, 5, 11, 30, 41])
    readings = Readings(projection=kind)
    t, _ = cea.for_selection(images, text, ids, readings, 7)
    project = projection.fit(text, images, readings, 7)
    torch.testing.assert_close(t, project(torch.from_numpy(text), torch.from_numpy(images))[ids])


def test_ridge_may_see_the_selection_alone(images, text):
    """Fitted on the pool, ridge carries the captions of samples that were never selected."""
    ids = np.arange(0, 50, 4)
    poisoned = text.copy()
    poisoned[np.setdiff1d(np.arange(50), ids)] += 100
    own, pool = (
        [cea.for_selection(images, t, ids, Readings(projection="ridge", ridge_fit=fit), 7)[0] for t in (text, poisoned)]
        for fit in ("selected", "pool")
    )
    assert torch.equal(*own)
    assert not torch.allclose(*pool)


def test_captions_that_are_missing(images, text):
    with pytest.raises(DataError, match="id 50 has no caption"):
        cea.for_selection(images, text, np.array([3, 50]), Readings(), 7)
    with pytest.raises(DataError, match="49 caption embeddings for 50 images"):
        augmented(images, text[1:])
    broken = text.copy()
    broken[9, 2] = np.nan
    with pytest.raises(DataError, match="row 9 is not finite"):
        augmented(images, broken)
