"""A loss-prediction head that is trained along: what it may touch, when, and what it learns."""

import numpy as np
import pytest
import torch
from stand_ins import CLASSES, SIZE, SPEC

from vecaf.errors import TrainingError
from vecaf.models import backbone
from vecaf.models.backbone import LOSS_HEAD
from vecaf.selection.learning_loss import LossHead
from vecaf.training import optimizer as optimizers
from vecaf.training import recipes
from vecaf.training.finetune import finetune
from vecaf.training.score import score

SEEDS = {"batches": 11, "augmentation": 12}
RECIPE = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.05})
DEEP = SPEC | {"args": SPEC["args"] | {"depth": 4}}


def make(loss_head=6, **options):
    return backbone.build(DEEP, CLASSES, input_size=SIZE, loss_head=loss_head, **options)


@pytest.fixture
def run(images, jitter):
    def run(model, head=None, **options):
        given = {"train_transform": jitter, "recipe": RECIPE, "start": 0, "stop": 6, "total": 6, "seeds": SEEDS}
        told = LossHead(**(head or {})).model_dump() if model.loss_head is not None else None
        return finetune(model, images, images.labels, loss_head=told, **(given | options))

    return run


def classifier(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if not name.startswith(LOSS_HEAD)}


def predictor(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if name.startswith(LOSS_HEAD)}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_without_weight_the_classifier_is_that_of_plain_finetuning_bit_for_bit(run):
    plain, along = make(None), make()
    run(plain)
    run(along, {"weight": 0.0})
    assert equal(classifier(plain), classifier(along))


def test_it_shapes_the_backbone_until_it_is_detached(run):
    plain, whole, never, start = make(None), make(), make(), predictor(make())
    run(plain)
    run(whole, {"detach_after": 1.0})
    run(never, {"detach_after": 0.0})
    assert not equal(classifier(plain), classifier(whole))
    assert equal(classifier(plain), classifier(never))
    assert not equal(predictor(never), start)  # the head itself goes on learning


def test_the_mark_counts_the_batches_of_its_own_loop(run):
    """60 % of a loop of five batches are three, in its first loop as in its second."""
    for begin in (0, 5):
        models = []
        for share in (0.6, 1.0):
            model = make()
            span = {"start": begin, "total": 10}
            state = run(model, {"detach_after": share}, **span, stop=begin + 3, origin=begin).optimizer_state
            models.append((model, state))
        # the first three batches alone: with 0.6 of three batches, two reach the backbone
        assert not equal(classifier(models[0][0]), classifier(models[1][0]))
        spared, marked = make(), make()
        run(spared, {"detach_after": 0.6}, start=begin, stop=begin + 5, total=10)
        first = run(marked, {"detach_after": 1.0}, start=begin, stop=begin + 3, total=10)
        run(
            marked,
            {"detach_after": 0.0},
            **{"start": begin + 3, "stop": begin + 5, "total": 10, "origin": begin},
            optimizer_state=first.optimizer_state,
        )
        assert equal(classifier(spared), classifier(marked))


def test_a_loop_in_two_parts_is_one_loop_bit_for_bit(run):
    whole, parts = make(), make()
    one = run(whole, stop=8, total=8)
    # The mark is that of the whole loop: the part says where the loop began, and the caller where it ends.
    first = run(parts, {"detach_after": 1.0}, stop=5, total=8)
    second = run(parts, {"detach_after": 5 / 8}, start=5, stop=8, total=8, origin=0,
                 optimizer_state=first.optimizer_state)  # fmt: skip
    assert equal(whole.state_dict(), parts.state_dict())
    assert equal(one.optimizer_state, second.optimizer_state)
    assert one.log["pair_loss"] == first.log["pair_loss"] + second.log["pair_loss"]


def test_a_fresh_head_goes_on_with_the_classifiers_momentum(run):
    model = make()
    result = run(model, stop=3, total=8)
    state = {name: tensor for name, tensor in result.optimizer_state.items() if LOSS_HEAD not in name}
    fresh = make(state=classifier(model), seed=9)
    optimizer = optimizers.build(fresh, RECIPE)
    optimizers.load(fresh, optimizer, state)
    assert not optimizer.state[fresh.loss_head.joined.weight]
    some = dict(result.optimizer_state)
    some.pop(f"momentum.{LOSS_HEAD}joined.bias")
    with pytest.raises(TrainingError, match=r"momentum\.loss_head\.joined\.bias is missing"):
        optimizers.load(fresh, optimizer, some)


def test_its_learning_rate_is_its_own(run):
    optimizer = optimizers.build(make(), RECIPE, 7.0)
    counts = {group["multiplier"]: len(group["params"]) for group in optimizer.param_groups}
    assert counts[7.0] == 10
    slow, fast = make(), make()
    for model, factor in ((slow, 1.0), (fast, 3.0)):
        run(model, {"weight": 1.0, "detach_after": 0.0, "lr_multiplier": factor}, stop=1)
    start = predictor(make())
    for name, before in start.items():
        moved = (predictor(fast)[name] - before).norm(), (predictor(slow)[name] - before).norm()
        if moved[1] > 1e-6:
            assert moved[0] / moved[1] == pytest.approx(3, rel=1e-2)


def test_it_learns_to_order_losses_of_images_it_has_not_seen(images, normalise, image_set):
    """Half of the labels of one class are wrong, and those images are brighter: their loss can be told from them."""
    generator = torch.Generator().manual_seed(1)
    count = 120
    labels = np.arange(count) % CLASSES
    hard = np.arange(count) % 4 == 0
    noise = torch.randint(0, 40, (count, 3, SIZE, SIZE), generator=generator)
    shade = torch.from_numpy(labels)[:, None, None, None] * 50 + torch.from_numpy(hard)[:, None, None, None] * 100
    wrong = np.where(hard, np.random.default_rng(0).integers(0, CLASSES, count), labels)
    pool = image_set((noise + shade).clamp(0, 255).to(torch.uint8), wrong)
    model = make()
    seen = image_set(pool.pixels[:80], wrong[:80])
    finetune(
        *(model, seen, seen.labels),
        **{"train_transform": lambda pixels, device, generator: normalise(pixels, device), "recipe": RECIPE},
        **{"start": 0, "stop": 80, "total": 80, "seeds": SEEDS, "loss_head": LossHead().model_dump()},
    )
    predicted = np.empty(count, np.float32)
    losses = score(model, pool, normalise, batch_size=16, predicted_losses=predicted)
    from scipy.stats import spearmanr

    assert spearmanr(predicted[80:], losses[80:]).statistic > 0.3


def test_options_and_model_belong_together(run, images, jitter):
    given = {"train_transform": jitter, "recipe": RECIPE, "start": 0, "stop": 6, "total": 6, "seeds": SEEDS}
    with pytest.raises(TrainingError, match="belong together"):
        finetune(make(), images, images.labels, **given)
    with pytest.raises(TrainingError, match="belong together"):
        finetune(make(None), images, images.labels, loss_head=LossHead().model_dump(), **given)


def test_an_odd_batch_is_refused_before_anything_is_trained(run):
    recipe = recipes.resolve("paper", {"batch_size": 7})
    with pytest.raises(TrainingError, match="batches of 7: choose an even batch_size"):
        run(make(), recipe=recipe)


def test_clipping_is_that_of_the_classifier(run):
    """A long gradient of the loss head must not shorten the classifier's step."""
    recipe = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.05, "clip_norm": 0.01})
    plain, along = make(None), make()
    run(plain, recipe=recipe)
    run(along, {"detach_after": 0.0, "weight": 100.0, "lr_multiplier": 1e-6}, recipe=recipe)
    assert equal(classifier(plain), classifier(along))
