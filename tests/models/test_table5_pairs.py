"""All pairs of table 5: each backbone with each family of text encoders builds, scores, selects and finetunes a batch.

Backbones are timm's own at their full width and depth with random weights, on images of 32 pixels; text encoders have
the released widths and one layer. Six backbones of up to 188 million parameters take about a minute on one core, which
is why this module is marked slow. A backbone is built and scored once and goes back to its first weights for each pair.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_language_models import MAKERS, WORDS

from vecaf import augmentation, selection
from vecaf.augmentation import cea
from vecaf.data.images import Images
from vecaf.data.transforms import EvalTransform, TrainTransform
from vecaf.models import backbone, text_encoders
from vecaf.training import recipes
from vecaf.training.finetune import finetune
from vecaf.training.score import score

pytestmark = pytest.mark.slow

WIDTHS = {"deit_s": 384, "deit_b_dino": 768, "swin_s": 768, "swin_b": 1024, "xcit_m": 512, "xcit_l": 768}
# Method of the table: family, sizes of its model here, width of its text embeddings.
ENCODERS = {
    "vecaf": ("clip", {"width": 768, "projection": 768}, 768),
    "vecaf_bert_l": ("bert", {"width": 1024}, 1024),
    "vecaf_mt5_l": ("mt5", {"width": 1024}, 1024),
    "vecaf_gpt2_l": ("gpt2", {"width": 1280}, 1280),
}
SIZE, CLASSES, K = 32, ["a", "b", "c"], 3
COUNT = 12
SEEDS = {"batches": 1, "augmentation": 2}


@pytest.fixture(scope="module")
def pool():
    """Twelve random images that are resized to what the backbones read."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 40, 40, 3), dtype=np.uint8)
    labels, names = np.arange(COUNT) % len(CLASSES), np.array([f"{number:02d}" for number in range(COUNT)])
    return Images(np.arange(COUNT), labels, np.zeros(COUNT, bool), names, CLASSES, pixels=pixels)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The caption embeddings of the pool by each family, (N, t) float32."""
    captions = [" ".join(np.random.default_rng(row).permutation(WORDS)[:6]) for row in range(COUNT)]
    found = {}
    for method, (family, sizes, _) in ENCODERS.items():
        MAKERS[family](folder := tmp_path_factory.mktemp(family), layers=1, **sizes)
        found[method] = text_encoders.build({"kind": "transformers", "model": str(folder)}).encode(captions)
    return found


@pytest.fixture(scope="module", params=WIDTHS)
def scored(request, paper, pool):
    """A backbone with its first weights, how it reads images, and what scoring the pool says."""
    spec = paper.backbone_params("imagenet", request.param)["backbone"]
    model = backbone.build(spec, len(CLASSES), input_size=SIZE, seed=7)
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    normal = backbone.data_config(spec)
    embeddings = np.empty((COUNT, model.width), np.float32)
    losses = score(model, pool, EvalTransform(SIZE, **normal), embeddings=embeddings)
    return request.param, model, first, normal, embeddings, losses


def test_the_pairs_are_those_of_table_5_and_share_one_projection(paper):
    cells = paper.cells("table5")
    assert {(cell.backbone, cell.method) for cell in cells} == {(b, m) for b in WIDTHS for m in ENCODERS}
    assert {paper.method(method).cea.projection for method in ENCODERS} == {"orthogonal"}
    assert {paper.encoder("imagenet", method) for method in ENCODERS} == {"clip_l", "bert_l", "mt5_l", "gpt2_l"}


@pytest.mark.parametrize("method", ENCODERS)
def test_a_pair_scores_augments_selects_and_finetunes(scored, texts, paper, pool, method):
    name, model, first, normal, embeddings, losses = scored
    text = texts[method]
    readings = augmentation.Readings(**paper.method(method).cea.model_dump())
    assert embeddings.shape == (COUNT, WIDTHS[name])
    assert text.shape == (COUNT, ENCODERS[method][2])
    assert np.isfinite(embeddings).all()
    assert np.isfinite(losses).all()

    augmented = np.empty_like(embeddings)
    told = cea.augment_pool(embeddings, text, readings, 5, out=augmented)
    assert 0 < told["relative_shift"] < 1
    selector = selection.build("ods", {"iterations": 10, "ensemble": 2})
    inputs = selection.Inputs(
        ids=pool.ids, labels=pool.labels, embeddings=augmented, losses=losses, loop=2, device="cpu"
    )
    ids, _ = selection.choose(selector, inputs, K, {"centroids": 3, "random_set": 4})
    assert len(set(ids.tolist())) == K

    t, alpha = cea.for_selection(embeddings, text, ids, readings, 5)
    assert t.shape == (K, WIDTHS[name])
    chosen = pool.subset(ids)
    transform = TrainTransform(SIZE, crop=False, flip=False, **normal)
    expected, plain = by_hand(model, first, chosen, transform, (t, alpha, readings.step))
    recipe = recipes.resolve("paper", {"batch_size": K})
    model.load_state_dict(first)
    result = finetune(
        *(model, chosen, chosen.labels), train_transform=transform, recipe=recipe, start=0, stop=1, total=1,
        seeds=SEEDS, cea=(t.numpy(), alpha.numpy(), readings.step), precision="float32",
    )  # fmt: skip
    assert result.log["loss"] == pytest.approx([expected], rel=1e-4)
    assert abs(expected - plain) > 1e-3 * plain  # the captions have a say
    after = model.state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
    stem = next(part for part in first if part.startswith("patch_embed") and part.endswith("weight"))
    for part in (f"{model.classifier}.weight", stem):  # gradients reach both ends
        assert not torch.equal(after[part], first[part]), part


def by_hand(model, first, chosen, transform, captions):
    """Return the loss of one batch with equation 9 and without, as a model says that trains (XCiT has batch norms)."""
    t, alpha, step = captions
    model.load_state_dict(first)
    model.train()
    with torch.no_grad():
        e = model.embed(transform(chosen.read(np.arange(K)), generator=torch.Generator()))
        labels = torch.from_numpy(chosen.labels)
        moved = (1 - step * alpha[:, None]) * e + step * alpha[:, None] * t
        return tuple(float(F.cross_entropy(model.classify(part), labels)) for part in (moved, e))
