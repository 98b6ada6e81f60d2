"""Finetuning: loops that carry on, CEA, what must not matter, what must, and errors that say where."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vecaf.errors import TrainingError
from vecaf.training import optimizer as optimizers
from vecaf.training import recipes
from vecaf.training.finetune import finetune
from vecaf.training.monitor import Monitor, fixed_subset
from vecaf.training.sampler import Sampler

SEEDS = {"batches": 11, "augmentation": 12}


def recipe(**changes):
    """Return the paper's recipe for forty images and few batches."""
    return recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.05} | changes)


@pytest.fixture
def run(images, jitter):
    """Finetune with defaults; every keyword can be replaced."""

    def run(model, **options):
        given = {"train_transform": jitter, "recipe": recipe(), "start": 0, "stop": 6, "total": 6, "seeds": SEEDS}
        chosen = options.pop("images", images)
        return finetune(model, chosen, chosen.labels, **(given | options))

    return run


@pytest.fixture
def watched():
    """A transform that draws nothing and keeps, in ``seen``, every batch it is given."""

    def watching(pixels, device, generator):
        watching.seen.append(pixels)
        return pixels.float() / 255

    watching.seen = []
    return watching


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns(run, make_model, images, normalise):
    model = make_model()
    result = run(model, stop=60, total=60)
    assert not model.training
    with torch.no_grad():
        hits = model(normalise(images.pixels, "cpu")).argmax(dim=1).numpy() == images.labels
    assert hits.mean() > 0.9
    assert np.mean(result.log["loss"][-5:]) < 0.5 * result.log["loss"][0]


def test_three_loops_share_one_cosine(run, make_model):
    logs = [run(make_model(), start=a, stop=b, total=7).log for a, b in ((0, 3), (3, 5), (5, 7))]
    batches, rates = ([value for log in logs for value in log[name]] for name in ("batch", "learning_rate"))
    assert batches == list(range(7))
    assert rates == [recipes.learning_rate(recipe(), batch, 7) for batch in range(7)]
    assert rates == sorted(rates, reverse=True)


def test_two_parts_with_carried_state_are_one_run_bit_for_bit(run, make_model):
    whole = make_model()
    one = run(whole, stop=8, total=8)
    parts = make_model()
    first = run(parts, stop=3, total=8)
    second = run(parts, start=3, stop=8, total=8, origin=0, optimizer_state=first.optimizer_state)
    assert equal(weights(whole), weights(parts))
    assert equal(one.optimizer_state, second.optimizer_state)
    assert one.log["loss"] == first.log["loss"] + second.log["loss"]


def test_state_makes_a_difference(run, make_model):
    models = []
    for carried in (True, False):
        model = make_model()
        first = run(model, stop=3, total=8)
        run(model, start=3, stop=8, total=8, origin=0, optimizer_state=first.optimizer_state if carried else None)
        models.append(weights(model))
    assert not equal(*models)


def test_a_loop_starts_a_fresh_pass_over_its_set(run, make_model, images, watched):
    """The first five batches of eight of a later loop are its forty images, whichever of the budget they are."""
    run(make_model(), train_transform=watched, start=3, stop=8, total=8)
    seen = torch.cat(watched.seen)
    assert sorted(seen.flatten(1).tolist()) == sorted(images.pixels.flatten(1).tolist())


def test_same_seeds_same_weights_and_each_seed_matters(run, make_model):
    def trained(seeds):
        model = make_model()
        run(model, seeds=seeds)
        return weights(model)

    reference = trained(SEEDS)
    assert equal(reference, trained(SEEDS))
    for name in SEEDS:
        assert not equal(reference, trained(SEEDS | {name: 99}))


def test_global_random_state_is_neither_used_nor_moved(run, make_model):
    results = []
    for state in (1, 2):
        model = make_model(drop_path=0.5)
        torch.manual_seed(state)
        before = torch.get_rng_state()
        run(model, recipe=recipe(drop_path=0.5))
        assert torch.equal(before, torch.get_rng_state())
        results.append(weights(model))
    assert equal(*results)
    plain = make_model(drop_path=0.0)
    run(plain)
    assert not equal(results[0], weights(plain))


def test_drop_path_that_the_model_lacks_is_refused(run, make_model):
    with pytest.raises(TrainingError, match="built without it"):
        run(make_model(), recipe=recipe(drop_path=0.1))


def test_head_multiplier_speeds_up_the_head_alone(run, make_model, normalise):
    start = weights(make_model())
    moved = []
    for factor in (1.0, 20.0):
        model = make_model()
        slow = recipe(learning_rate=5e-4, head_lr_multiplier=factor)
        run(model, recipe=slow, stop=1, total=10, train_transform=normalise)
        moved.append({name: tensor - start[name] for name, tensor in weights(model).items()})
    for name in start:
        factor = 20.0 if name.startswith("head.") else 1.0
        assert torch.allclose(moved[1][name], factor * moved[0][name], atol=2e-7), name


def test_released_recipe_decays_no_vectors(make_model):
    model = make_model(drop_path=0.1)
    optimizer = optimizers.build(model, recipes.resolve("released"))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (1e-4 if parameter.ndim > 1 else 0.0), name
    plain = optimizers.build(model, recipes.resolve("paper"))
    assert {group["weight_decay"] for group in plain.param_groups} == {1e-4}


def test_clipping_bounds_the_first_step(run, make_model, normalise):
    steps = []
    for clip in (None, 1e-3):
        model, before = make_model(), weights(make_model())
        clipped = recipe(learning_rate=1.0, weight_decay=0.0, clip_norm=clip)
        run(model, recipe=clipped, stop=1, total=10, train_transform=normalise)
        steps.append(sum(((tensor - before[name]) ** 2).sum() for name, tensor in weights(model).items()).sqrt().item())
    assert steps[0] > 0.1
    assert steps[1] == pytest.approx(1e-3, rel=1e-3)


def test_repeated_augmentation_draws_each_image_three_times(run, make_model, watched):
    run(make_model(), recipe=recipe(batch_size=9, repeated_augmentation=3), train_transform=watched, stop=2, total=2)
    for batch in watched.seen:
        assert torch.unique(batch, dim=0, return_counts=True)[1].tolist() == [3, 3, 3]


# --- CEA ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def text():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(40, 24, generator=generator).numpy(), np.linspace(0.5, 1.5, 40, dtype=np.float32)


def test_a_step_of_zero_is_no_cea(run, make_model, text):
    plain, zero = make_model(), make_model()
    run(plain)
    run(zero, cea=(*text, 0.0))
    assert equal(weights(plain), weights(zero))


@pytest.mark.parametrize("step", [0.0, 0.4])
def test_the_first_step_is_sgd_on_the_mean_loss_of_equation_9(run, make_model, images, normalise, text, step):
    """w ← w − lr(∇L + wd·w), L with smoothed labels, its gradients through e, also in e − t, and never into α or t."""
    captions, attention = text
    model = make_model()
    drawn = Sampler(SEEDS["batches"], 40, 8)[0]
    e = model.embed(normalise(images.read(drawn), "cpu"))
    t, alpha = torch.from_numpy(captions[drawn]), torch.from_numpy(attention[drawn])[:, None]
    logits = model.classify((1 - step * alpha) * e + step * alpha * t)
    loss = F.cross_entropy(logits, torch.from_numpy(images.labels[drawn]), label_smoothing=0.1)
    loss.backward()
    expected = {n.removeprefix("model."): p - 0.01 * (p.grad + 0.1 * p) for n, p in model.named_parameters()}
    kept, trained = (captions.copy(), attention.copy()), make_model()
    told = recipe(learning_rate=0.01, weight_decay=0.1, label_smoothing=0.1)
    cea = captions, attention, step
    result = run(trained, recipe=told, stop=1, total=10, train_transform=normalise, cea=cea)
    assert result.log["loss"][0] == pytest.approx(loss.item(), rel=1e-6)
    for name, tensor in expected.items():
        assert torch.allclose(trained.state_dict()[name], tensor, atol=1e-7), name
    assert np.array_equal(kept[0], captions)
    assert np.array_equal(kept[1], attention)


def test_a_full_step_trains_the_head_on_text_alone(run, make_model, normalise, text):
    """ηα = 1 replaces e by t: the backbone then has no gradient."""
    captions, _ = text
    model, before = make_model(), weights(make_model())
    cea = captions, np.ones(40, np.float32), 1.0
    run(model, recipe=recipe(weight_decay=0.0), train_transform=normalise, cea=cea)
    changed = {name for name, tensor in weights(model).items() if not torch.allclose(tensor, before[name], atol=1e-7)}
    assert changed == {"head.weight", "head.bias"}


def test_text_of_another_width_is_refused(run, make_model, text):
    with pytest.raises(TrainingError, match=r"\(40, 20\).*width 24"):
        run(make_model(), cea=(text[0][:, :20], text[1], 0.1))


# --- one against all -------------------------------------------------------------------------------------------------


def test_objective_reaches_the_training_loss(run, make_model, images, normalise):
    model = make_model()
    drawn = Sampler(SEEDS["batches"], 40, 8)[0]
    with torch.no_grad():
        p = model(normalise(images.read(drawn), "cpu")).softmax(dim=1)[:, 1]
    target = torch.from_numpy(images.labels[drawn] == 1)
    expected = -torch.where(target, p, 1 - p).log().mean().item()
    objective = {"one_vs_all": 1, "form": "logsumexp"}
    result = run(model, stop=1, total=2, train_transform=normalise, objective=objective)
    assert result.log["loss"][0] == pytest.approx(expected, rel=1e-5)


# --- what people look at ---------------------------------------------------------------------------------------------


def test_a_monitor_changes_nothing(run, make_model, images, normalise):
    looked_at, alone = make_model(drop_path=0.3), make_model(drop_path=0.3)
    monitor = Monitor(images, images, normalise, total=6, points=100)
    first = run(looked_at, recipe=recipe(drop_path=0.3), monitor=monitor)
    second = run(alone, recipe=recipe(drop_path=0.3))
    assert equal(weights(looked_at), weights(alone))
    assert first.log == second.log
    assert second.curve == []
    assert second.monitor_seconds == 0 < first.monitor_seconds


def test_curve_rows_are_at_fixed_batches_and_without_stochastic_depth(run, make_model, images, normalise):
    model = make_model(drop_path=0.5)
    monitor = Monitor(images, images, normalise, total=11, points=5, batch_size=7)
    loops = [run(model, start=a, stop=b, total=11, monitor=monitor) for a, b in ((0, 5), (5, 11))]
    rows = loops[0].curve + loops[1].curve
    assert [row["batch"] for row in rows] == [0, 2, 4, 6, 8, 10, 11]
    with torch.no_grad():
        logits = model(normalise(images.pixels, "cpu"))
    labels = torch.from_numpy(images.labels)
    assert rows[-1]["probe_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert rows[-1]["top1"] == (logits.argmax(1) == labels).float().mean().item()
    assert all(earlier["probe_loss"] != later["probe_loss"] for earlier, later in itertools.pairwise(rows))


@pytest.mark.parametrize(("total", "interval"), [(750, 7), (12500, 125), (90, 1)])
def test_default_interval_is_one_percent_rounded_down_to_a_batch_at_least(images, normalise, total, interval):
    assert Monitor(images, images, normalise, total=total).interval == interval


def test_a_monitor_without_room_transforms_anew_and_says_the_same(make_model, images, normalise):
    roomy, tight = (Monitor(images, images, normalise, total=9, cache_bytes=room) for room in (1 << 30, 0))
    model = make_model().eval()
    assert roomy(model) == roomy(model) == tight(model)
    assert not tight._cache


def test_fixed_subset_is_by_id():
    ids = np.arange(1000)
    chosen = ids[fixed_subset(5, ids, 100)]
    shuffled = np.random.default_rng(0).permutation(ids)
    assert set(chosen) == set(shuffled[fixed_subset(5, shuffled, 100)])
    assert set(chosen) != set(ids[fixed_subset(6, ids, 100)])
    assert len(fixed_subset(5, ids[:10], 100)) == 10


# --- errors ----------------------------------------------------------------------------------------------------------


def test_a_nan_loss_names_the_first_bad_batch_its_rate_and_its_ids(run, make_model, images, normalise):
    """The fourth batch of a loop that begins with batch 10."""
    calls = []

    def poisoned(pixels, device, generator):
        calls.append(1)
        inputs = normalise(pixels, device)
        return inputs * float("nan") if len(calls) == 4 else inputs

    with pytest.raises(TrainingError) as caught:
        run(make_model(), train_transform=poisoned, start=10, stop=16, total=20)
    drawn = Sampler(SEEDS["batches"], 40, 8)[3]
    said = str(caught.value)
    assert "batch 13 is nan" in said
    assert f"learning rate {recipes.learning_rate(recipe(), 13, 20):.3g}" in said
    assert ", ".join(str(i) for i in images.ids[drawn]) in said
    assert "a lower learning_rate" in said


def test_an_infinite_loss_is_told_too(run, make_model):
    model = make_model()
    model.head.bias.data = torch.tensor([3e38, -3e38, 0.0])  # the probability of the second class is zero
    with pytest.raises(TrainingError, match="batch 0 is inf"):
        run(model)


def test_labels_without_a_logit_are_refused(run, make_model):
    with pytest.raises(TrainingError, match="labels 0 … 2 do not fit a head of 2 classes"):
        run(make_model(num_classes=2))


@pytest.mark.parametrize("part", [(3, 3, 6), (4, 3, 6), (0, 7, 6), (-1, 2, 6)])
def test_batches_outside_the_budget_are_refused(run, make_model, part):
    start, stop, total = part
    with pytest.raises(TrainingError, match="not part of a budget of 6"):
        run(make_model(), start=start, stop=stop, total=total)


@pytest.mark.parametrize("break_it", ["shape", "missing"])
def test_a_foreign_optimiser_state_is_refused(run, make_model, break_it):
    state = run(make_model(), stop=2).optimizer_state
    if break_it == "shape":
        state["momentum.head.weight"] = torch.zeros(5, 24)
    else:
        del state["momentum.head.weight"]
    with pytest.raises(TrainingError, match=r"momentum\.head\.weight is (of shape|missing)"):
        run(make_model(), start=2, stop=4, optimizer_state=state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bfloat16_on_a_gpu_learns_and_keeps_float32_weights(run, make_model, images, normalise):
    model = make_model()
    result = run(
        model, stop=60, total=60, device="cuda", monitor=Monitor(images, images, normalise, total=60, device="cuda")
    )
    assert result.curve[-1]["top1"] > 0.9
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values())


def test_unknown_precision_is_refused(run, make_model):
    with pytest.raises(TrainingError, match="float32, bfloat16"):
        run(make_model(), precision="fp8")


def test_bfloat16_on_request_stays_close(run, make_model):
    losses = [run(make_model(), precision=precision).log["loss"] for precision in ("float32", "bfloat16")]
    assert losses[0] != losses[1]
    assert np.allclose(*losses, rtol=0.05)
