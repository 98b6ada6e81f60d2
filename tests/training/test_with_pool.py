"""Finetuning, scoring and evaluation with the project's own images and transforms, packed and from files."""

import numpy as np
import pytest
import torch
from PIL import Image
from stand_ins import CLASSES, SIZE, SPEC

from vecaf.data.images import Images
from vecaf.data.transforms import EvalTransform, TrainTransform
from vecaf.models import backbone
from vecaf.training import recipes
from vecaf.training.evaluate import evaluate
from vecaf.training.finetune import finetune
from vecaf.training.monitor import Monitor
from vecaf.training.score import score

SEEDS = {"batches": 11, "augmentation": 12}


@pytest.fixture(params=["packed", "files"])
def pool(request, tmp_path):
    """Thirty images of three classes that differ in brightness; the files have two sizes."""
    labels = np.arange(30) % CLASSES
    noise = np.random.default_rng(0).integers(0, 60, (30, 12, 12, 3))
    pixels = (noise + labels[:, None, None, None] * 90).astype(np.uint8)
    names = [f"{number:02d}.png" for number in range(30)]
    columns = (np.arange(30), labels, np.zeros(30, bool), np.array(names), list("abc"))
    if request.param == "packed":
        return Images(*columns, pixels=pixels)
    for number, name in enumerate(names):
        Image.fromarray(pixels[number, : 12 - number % 2]).save(tmp_path / name)
    return Images(*columns, root=tmp_path)


def test_a_loop_on_a_subset_then_scores_and_accuracy(pool):
    normal = backbone.data_config(SPEC)
    recipe = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.05, "crop_scale": [0.5, 1.0]})
    transform = EvalTransform(SIZE, **normal)
    train_transform = TrainTransform(SIZE, scale=recipe.crop_scale, ratio=recipe.crop_ratio, **normal)
    chosen = pool.subset(np.arange(5, 25))
    results = []
    for images in (chosen, chosen.in_memory()):
        model = backbone.build(SPEC, CLASSES, input_size=SIZE)
        result = finetune(
            *(model, images, images.labels),
            **{"train_transform": train_transform, "recipe": recipe, "start": 0, "stop": 40, "total": 40},
            seeds=SEEDS,
            monitor=Monitor(pool.in_memory(), pool.in_memory(), transform, total=40, points=4),
        )
        results.append((model, result))
    (model, result), (same, _) = results
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert result.curve[-1]["top1"] > 0.9 > result.curve[0]["top1"]
    found = evaluate(model, pool, transform, batch_size=7)
    assert found.metrics["top1"] == pytest.approx(result.curve[-1]["top1"])
    embeddings = np.empty((30, SPEC["width"]), np.float32)
    losses = score(model, pool, transform, batch_size=7, embeddings=embeddings)
    assert losses.mean() == pytest.approx(result.curve[-1]["probe_loss"], rel=1e-4)
    assert np.isfinite(embeddings).all()


def test_a_vanished_file_is_named(pool):
    if pool.root is None:
        pytest.skip("packed images have no files")
    (pool.root / "07.png").unlink()
    model = backbone.build(SPEC, CLASSES, input_size=SIZE)
    with pytest.raises(Exception, match=r"07\.png"):
        score(model, pool, EvalTransform(SIZE, **backbone.data_config(SPEC)))
