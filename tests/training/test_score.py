"""Scoring and evaluation: equal to the direct computation, in order of ids, and finite."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vecaf.errors import TrainingError
from vecaf.models.head import one_vs_all_logits
from vecaf.training.evaluate import accuracies, evaluate
from vecaf.training.score import score


@pytest.fixture
def direct(make_model, images, normalise):
    model = make_model()
    with torch.no_grad():
        embeddings = model.embed(normalise(images.pixels, "cpu"))
        return model, embeddings, model.classify(embeddings), torch.from_numpy(images.labels)


@pytest.mark.parametrize("batch_size", [1, 7, 40, 64])
def test_score_is_the_direct_computation_whatever_the_batch(direct, images, normalise, batch_size):
    model, embeddings, logits, labels = direct
    written, spoken = np.empty((40, 24), np.float32), np.empty((40, 3), np.float32)
    model.train()  # scoring must switch to eval by itself
    losses = score(model, images, normalise, batch_size=batch_size, embeddings=written, logits=spoken)
    assert losses.dtype == np.float32
    assert np.allclose(written, embeddings.numpy(), atol=1e-5)
    assert np.allclose(spoken, logits.numpy(), atol=1e-5)
    assert np.allclose(losses, F.cross_entropy(logits, labels, reduction="none").numpy(), atol=1e-5)


def test_score_without_a_head_writes_embeddings_alone(make_model, images, normalise, direct):
    headless = make_model(num_classes=0, state=direct[0].state_dict())
    written = np.empty((40, 24), np.float16)
    assert score(headless, images, normalise, objective=None, embeddings=written) is None
    assert np.allclose(written, direct[1].numpy(), atol=1e-2)


def test_score_of_one_against_all(direct, images, normalise):
    model, _, logits, labels = direct
    p = logits.softmax(dim=1)[:, 2]
    expected = -torch.where(labels == 2, p, 1 - p).log()
    losses = score(model, images, normalise, objective={"one_vs_all": 2, "form": "logsumexp"})
    assert np.allclose(losses, expected.numpy(), atol=1e-6)


def test_score_writes_into_a_memory_map(direct, images, normalise, tmp_path):
    from vecaf import artifacts

    with artifacts.array_writer(tmp_path / "e.npy", (40, 24), "float32") as out:
        score(direct[0], images, normalise, batch_size=9, embeddings=out)
    assert np.allclose(artifacts.read_array(tmp_path / "e.npy"), direct[1].numpy(), atol=1e-5)


def test_diverged_weights_are_told_with_the_first_id(direct, image_set, images):
    def poisoned(pixels, device):
        inputs = pixels.float()
        inputs[pixels.flatten(1).float().mean(dim=1) == images.pixels[17].float().mean()] = float("nan")
        return inputs

    with pytest.raises(TrainingError, match="image id 117"):
        score(direct[0], images, poisoned, batch_size=5)


def test_labels_beyond_the_head_are_refused(make_model, images, normalise):
    for function in (score, evaluate):
        with pytest.raises(TrainingError, match="head of 2 classes"):
            function(make_model(num_classes=2), images, normalise)


def test_evaluate_is_the_direct_computation(direct, images, normalise):
    model, _, logits, labels = direct
    found = evaluate(model, images, normalise, batch_size=7)
    p = logits.softmax(dim=1)
    assert found.predictions.dtype == np.int16
    assert np.array_equal(found.predictions, logits.argmax(dim=1).numpy())
    assert np.allclose(found.confidence, p.max(dim=1).values.numpy(), atol=1e-6)
    assert found.target is None
    assert found.metrics["top1"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert found.metrics["n"] == 40


def test_evaluate_keeps_the_probability_of_the_target(direct, images, normalise):
    model, _, logits, _ = direct
    objective = {"one_vs_all": 1, "form": "logsumexp"}
    found = evaluate(model, images, normalise, objective=objective)
    assert np.allclose(found.target, logits.softmax(dim=1)[:, 1].numpy(), atol=1e-6)
    assert np.array_equal(found.predictions, logits.argmax(dim=1).numpy())
    summed = evaluate(model, images, normalise, objective=objective | {"form": "sum"})
    expected = one_vs_all_logits(logits, {"one_vs_all": 1, "form": "sum"}).softmax(dim=1)[:, 1]
    assert np.allclose(summed.target, expected.numpy(), atol=1e-6)


def test_accuracies_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 3])
    predictions = np.array([0, 0, 0, 1, 1, 0, 3], dtype=np.int16)
    found = accuracies(predictions, labels, 4)
    assert found["per_class"] == [0.75, 0.5, None, 1.0]
    assert found["top1"] == pytest.approx(5 / 7)
    assert found["mean_per_class"] == pytest.approx(0.75)
    assert found["n"] == 7
