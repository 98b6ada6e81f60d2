"""Heads and objectives: closed forms, and the identity of one class against all others."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vecaf.errors import ConfigError, TrainingError
from vecaf.models import head


def test_random_head_is_its_seed_alone():
    weight, bias = head.random_head(10, 192, 5)
    torch.manual_seed(123)
    again, _ = head.random_head(10, 192, 5)
    assert torch.equal(weight, again)
    assert not torch.equal(weight, head.random_head(10, 192, 6)[0])
    assert weight.shape == (10, 192)
    assert weight.abs().max() <= 0.04
    assert weight.std() == pytest.approx(0.0176, abs=0.001)  # of N(0, 0.02²) cut at two standard deviations
    assert not bias.any()


@given(st.integers(2, 6), st.integers(0, 2**31), st.floats(0.1, 8))
@settings(max_examples=50, deadline=None)
def test_one_vs_all_is_the_binary_loss_of_the_softmax(classes, seed, scale):
    logits = scale * torch.randn(20, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.arange(20) % classes
    for target in range(classes):
        p = logits.softmax(dim=1)
        others = p[:, torch.arange(classes) != target].sum(dim=1)  # 1 − p(c), without its cancellation
        expected = -torch.where(labels == target, p[:, target], others).log()
        objective = {"one_vs_all": target, "form": "logsumexp"}
        losses = head.objective_loss(logits, labels, objective, reduction="none")
        assert torch.allclose(losses, expected, atol=1e-6, rtol=1e-6)


def test_summed_form_is_the_released_one():
    logits, labels = torch.tensor([[1.0, 2.0, -4.0], [0.5, 0.1, 0.2]]), torch.tensor([1, 2])
    losses = head.objective_loss(logits, labels, {"one_vs_all": 1, "form": "sum"}, reduction="none")
    assert losses[0] == pytest.approx(float(-torch.tensor([-3.0, 2.0]).log_softmax(0)[1]), rel=1e-6)
    assert losses[1] == pytest.approx(float(-torch.tensor([0.7, 0.1]).log_softmax(0)[0]), rel=1e-6)


def test_multiclass_with_smoothing_is_torchs():
    logits, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 4
    found = head.objective_loss(logits, labels, "multiclass", label_smoothing=0.1)
    assert found == F.cross_entropy(logits, labels, label_smoothing=0.1)


def test_resolving_an_objective():
    classes = ["cat", "dog"]
    assert head.resolve_objective("multiclass", classes) == "multiclass"
    assert head.resolve_objective({"one_vs_all": "dog"}, classes) == {"one_vs_all": 1, "form": "logsumexp"}
    assert head.resolve_objective({"one_vs_all": "cat", "form": "sum"}, classes) == {"one_vs_all": 0, "form": "sum"}
    with pytest.raises(ConfigError, match=r"'bird' is not a class of this dataset \(cat, dog\)"):
        head.resolve_objective({"one_vs_all": "bird"}, classes)


@pytest.fixture
def clusters():
    """Classes N(μ_c, 0.5² I) around means far from the origin: e (600, 8), labels."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(4, 8)) + 5
    labels = np.arange(600) % 4
    return (means[labels] + 0.5 * generator.normal(size=(600, 8))).astype(np.float32), labels


def test_class_mean_head_is_the_bayes_rule_of_its_model(clusters):
    """With known parameters the posterior is softmax(−‖e − μ_c‖²/2σ²); the estimated head must come close to it."""
    embeddings, labels = clusters
    weight, bias = head.class_mean_head(embeddings, labels, 4, chunk=77)
    means = np.stack([embeddings[labels == c].mean(axis=0) for c in range(4)])
    distances = ((embeddings[:, None] - means) ** 2).sum(axis=2)
    expected = torch.from_numpy(-distances / (2 * 0.5**2)).softmax(dim=1)
    found = F.linear(torch.from_numpy(embeddings), weight, bias).softmax(dim=1)
    assert (found - expected).abs().mean() < 0.01
    assert np.array_equal(found.argmax(dim=1).numpy(), distances.argmin(axis=1))


def test_class_mean_losses_are_neither_flat_nor_certain(clusters):
    embeddings, labels = clusters
    weight, bias = head.class_mean_head(embeddings, labels, 4)
    losses = head.losses_from_embeddings(embeddings, weight, bias, labels, "multiclass")
    accuracy = (F.linear(torch.from_numpy(embeddings), weight, bias).argmax(1).numpy() == labels).mean()
    assert 0 < losses.mean() < 0.5 * np.log(4)
    assert losses.mean() < 3 * (1 - accuracy) + 0.1


def test_class_mean_head_does_not_depend_on_the_chunk(clusters):
    first, second = (head.class_mean_head(*clusters, 4, chunk=chunk) for chunk in (50, 600))
    assert torch.allclose(first[0], second[0], rtol=1e-5)
    assert torch.allclose(first[1], second[1], rtol=1e-5)


def test_class_mean_head_needs_every_class_and_some_spread(clusters):
    embeddings, labels = clusters
    with pytest.raises(TrainingError, match=r"none of classes \[4\]"):
        head.class_mean_head(embeddings, labels, 5)
    with pytest.raises(TrainingError, match="Use the random head"):
        head.class_mean_head(embeddings[:4], labels[:4], 4)
    with pytest.raises(TrainingError, match="Use the random head"):
        head.class_mean_head(np.ones((20, 8), np.float32), np.arange(20) % 4, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_losses_from_embeddings_are_the_direct_ones_in_any_chunk(clusters, dtype, tmp_path):
    embeddings, labels = clusters[0].astype(dtype), clusters[1]
    np.save(tmp_path / "e.npy", embeddings)
    mapped = np.load(tmp_path / "e.npy", mmap_mode="r")
    weight, bias = head.random_head(4, 8, 0)
    logits = F.linear(torch.from_numpy(embeddings.astype(np.float32)), weight, bias)
    expected = F.cross_entropy(logits, torch.from_numpy(labels), reduction="none").numpy()
    for chunk in (7, 600):
        losses = head.losses_from_embeddings(mapped, weight, bias, labels, "multiclass", chunk)
        assert losses.dtype == np.float32
        assert np.allclose(losses, expected, atol=1e-6)
