"""Equations 8 and 9: α, the step, and a whole pool in chunks against one direct computation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vecaf.augmentation import Readings, applies_to_pool, cea, projection
from vecaf.errors import DataError

SEED = 5


def pairs(size=30, width=8, text_width=8, seed=0):
    generator = np.random.default_rng(seed)
    embeddings = (3 * generator.normal(size=(size, width)) + 1).astype(np.float32)
    return embeddings, generator.normal(size=(size, text_width)).astype(np.float32)


def tensors(**kwargs):
    return tuple(map(torch.from_numpy, pairs(**kwargs)))


cosine_lists = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(cosine_lists)
def test_attention_sums_to_one_or_to_its_number(values):
    cosine = torch.tensor(values, dtype=torch.float32)
    literal, relative, unit = (cea.attention(cosine, kind) for kind in ("literal", "relative", "unit"))
    assert float(literal.double().sum()) == pytest.approx(1, abs=1e-5)
    assert float(relative.double().sum()) == pytest.approx(len(values), rel=1e-5)
    assert torch.equal(unit, torch.ones(len(values)))
    assert (literal > 0).all()


@settings(max_examples=60, deadline=None)
@given(cosine_lists)
def test_attention_is_the_softmax_of_equation_8(values):
    exponentials = np.exp(np.asarray(values, dtype=np.float64))
    alpha = cea.attention(torch.tensor(values, dtype=torch.float32), "literal").numpy()
    np.testing.assert_allclose(alpha, exponentials / exponentials.sum(), rtol=1e-5)


def test_a_caption_nearer_to_its_image_moves_it_more():
    alpha = cea.attention(torch.tensor([-0.5, 0.1, 0.9]), "relative")
    assert alpha[0] < alpha[1] < alpha[2]


@pytest.mark.parametrize("kind", ["literal", "relative", "unit"])
def test_attention_follows_a_permutation(kind):
    cosine = torch.linspace(-1, 1, 17)
    order = torch.randperm(17, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(cea.attention(cosine[order], kind), cea.attention(cosine, kind)[order], rtol=1e-6)


def test_text_equal_to_the_image_leaves_it_unchanged():
    e, _ = tensors()
    assert torch.equal(cea.augment(e, e.clone(), torch.rand(len(e)), 1.2), e)


def test_a_step_of_zero_changes_nothing():
    e, t = tensors()
    assert torch.equal(cea.augment(e, t, torch.ones(len(e)), 0.0), e)


def test_a_product_of_one_lands_on_the_text():
    e, t = tensors()
    torch.testing.assert_close(cea.augment(e, t, torch.full((len(e),), 4.0), 0.25), t, rtol=0, atol=1e-5)


def test_the_released_reading_overshoots_past_the_text():
    e, t = tensors()
    alpha = cea.attention(cea.cosines(e, t), "unit")
    torch.testing.assert_close(cea.augment(e, t, alpha, 1.2), -0.2 * e + 1.2 * t, rtol=0, atol=1e-5)


def test_each_row_has_its_own_attention():
    e, t = tensors(size=3)
    moved = cea.augment(e, t, torch.tensor([0.0, 1.0, 0.5]), 1.0)
    torch.testing.assert_close(moved, torch.stack([e[0], t[1], (e[2] + t[2]) / 2]), rtol=0, atol=1e-5)


def test_cosines_do_not_depend_on_length_and_bear_zero_vectors():
    e, t = tensors()
    torch.testing.assert_close(cea.cosines(100 * e, 0.01 * t), cea.cosines(e, t), rtol=1e-4, atol=1e-6)
    assert torch.equal(cea.cosines(torch.zeros(2, 3), torch.ones(2, 3)), torch.zeros(2))


def direct(embeddings, text, readings):
    """Equations 8 and 9 in float64 over the whole pool at once."""
    e = torch.from_numpy(embeddings)
    t = projection.fit(text, embeddings, readings, SEED)(torch.from_numpy(text), e).double().numpy()
    e = embeddings.astype(np.float64)
    cosine = (e * t).sum(axis=1) / np.linalg.norm(e, axis=1) / np.linalg.norm(t, axis=1)
    alpha = np.exp(cosine) / np.exp(cosine).sum()
    alpha = {"literal": alpha, "relative": alpha * len(e), "unit": np.ones(len(e))}[readings.attention]
    return e - readings.step * alpha[:, None] * (e - t), cosine, alpha


@pytest.mark.parametrize("how", ["orthogonal", "ridge", "pca"])
@pytest.mark.parametrize("attention", ["literal", "relative", "unit"])
def test_a_pool_in_chunks_is_one_direct_computation(monkeypatch, how, attention):
    embeddings, text = pairs(size=53, width=8, text_width=12)
    readings = Readings(attention=attention, step=0.7, projection=how)
    expected, cosine, alpha = direct(embeddings, text, readings)
    monkeypatch.setattr(cea, "CHUNK", 10)
    monkeypatch.setattr(projection, "CHUNK", 7)
    out = np.zeros_like(embeddings)
    log = cea.augment_pool(embeddings, text, readings, SEED, out)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    shift = np.linalg.norm(expected - embeddings, axis=1) / np.linalg.norm(embeddings, axis=1)
    assert log == pytest.approx(
        {
            "cosine_mean": cosine.mean(),
            "attention_min": alpha.min(),
            "attention_max": alpha.max(),
            "relative_shift": shift.mean(),
        },
        rel=1e-3,
        abs=1e-5,
    )


def test_a_pool_in_half_precision_memory_maps(tmp_path):
    embeddings, text = pairs(size=40, text_width=5)
    np.save(tmp_path / "embeddings.npy", embeddings.astype(np.float16))
    np.save(tmp_path / "text.npy", text.astype(np.float16))
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("embeddings", "text")]
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float16, shape=embeddings.shape)
    cea.augment_pool(*mapped, Readings(), SEED, out)
    expected = np.zeros_like(embeddings)
    cea.augment_pool(*(np.asarray(array, dtype=np.float32) for array in mapped), Readings(), SEED, expected)
    np.testing.assert_array_equal(np.asarray(out), expected.astype(np.float16))
    np.testing.assert_array_equal(mapped[0], embeddings.astype(np.float16))


def test_permuting_the_pool_permutes_the_result():
    embeddings, text = pairs()
    order = np.random.default_rng(1).permutation(len(embeddings))
    plain, shuffled = np.zeros_like(embeddings), np.zeros_like(embeddings)
    cea.augment_pool(embeddings, text, Readings(step=1.0), SEED, plain)
    cea.augment_pool(embeddings[order], text[order], Readings(step=1.0), SEED, shuffled)
    np.testing.assert_allclose(shuffled, plain[order], rtol=1e-5, atol=1e-6)


def test_noise_is_seeded_and_of_the_size_asked_for():
    embeddings, text = pairs(size=500)

    def out(seed, noise):
        written = np.zeros_like(embeddings)
        cea.augment_pool(embeddings, text, Readings(noise=noise, projection="identity"), seed, written)
        return written

    np.testing.assert_array_equal(out(1, 0.5), out(1, 0.5))
    assert not np.array_equal(out(1, 0.5), out(2, 0.5))
    assert (out(1, 0.5) - out(1, 0.0)).std() == pytest.approx(0.5, rel=0.05)


def test_the_global_random_state_stays_as_it_was():
    embeddings, text = pairs()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    cea.augment_pool(embeddings, text, Readings(noise=0.1), SEED, np.zeros_like(embeddings))
    assert torch.equal(torch.get_rng_state(), state)


def test_finetuning_gets_text_and_attention_of_its_selection():
    embeddings, text = pairs(size=30, text_width=12)
    ids = np.array([2, 3, 11, 29])
    t, alpha = cea.for_selection(embeddings, text, ids, Readings(attention="literal"), SEED)
    project = projection.fit(text, embeddings, Readings(), SEED)
    e = torch.from_numpy(embeddings[ids])
    torch.testing.assert_close(t, project(torch.from_numpy(text[ids]), e))
    assert t.dtype == alpha.dtype == torch.float32
    # α is one softmax over the selection, not the pool's rows of these ids.
    assert float(alpha.sum()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(alpha, torch.softmax(cea.cosines(e, t), dim=0))


@pytest.mark.parametrize("rows", ["pool", "selected"])
def test_ridge_is_fitted_on_the_rows_that_the_reading_names(rows):
    embeddings, text = pairs(size=60, text_width=4)
    ids = np.arange(0, 60, 4)
    readings = Readings(projection="ridge", ridge_fit=rows)
    t, _ = cea.for_selection(embeddings, text, ids, readings, SEED)
    source = ids if rows == "selected" else np.arange(60)
    project = projection.fit(text[source], embeddings[source], readings, SEED)
    torch.testing.assert_close(t, project(torch.from_numpy(text[ids]), torch.from_numpy(embeddings[ids])))


def test_an_image_without_a_caption_is_named():
    embeddings, text = pairs(size=30)
    with pytest.raises(DataError, match="id 29 has no caption embedding"):
        cea.for_selection(embeddings, text[:29], np.array([4, 29]), Readings(), SEED)


def test_a_pool_with_fewer_captions_than_images_is_refused():
    embeddings, text = pairs(size=30)
    with pytest.raises(DataError, match="29 caption embeddings for 30 images"):
        cea.augment_pool(embeddings, text[:29], Readings(), SEED, np.zeros_like(embeddings))


@pytest.mark.parametrize(
    ("scope", "loop", "prompt", "applies"),
    [
        ("pool", 1, None, False),
        ("pool", 2, None, True),
        ("pool", 3, None, True),
        ("pool", 1, "in the fog", True),
        ("selected", 1, None, False),
        ("selected", 2, None, False),
        ("selected", 1, "in the fog", False),
        ("selected", 3, "in the fog", False),
    ],
)
def test_when_the_pool_is_augmented(scope, loop, prompt, applies):
    assert applies_to_pool(Readings(scope=scope), loop, prompt) is applies


def test_a_reading_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="strength"):
        Readings(strength=1.0)
    with pytest.raises(ValueError, match="attention"):
        Readings(attention="softmax")
    with pytest.raises(ValueError, match="step"):
        Readings(step=-0.1)
