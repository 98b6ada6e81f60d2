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
RECIPE = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.05})


@pytest.fixture
def run(images, jitter):
    """Finetune with defaults; every keyword can be replaced."""

    def run(model, **options):
        given = {"train_transform": jitter, "recipe": RECIPE, "start": 0, "stop": 6, "total": 6, "seeds": SEEDS}
        chosen = options.pop("images", images)
        return finetune(model, chosen, chosen.labels, **(given | options))

    return run


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns(run, make_model, images, normalise):
    model = make_model()
    result = run(model, stop=60, total=60)
    with torch.no_grad():
        hits = model(normalise(images.pixels, "cpu")).argmax(dim=1).numpy() == images.labels
    assert hits.mean() > 0.9
    assert np.mean(result.log["loss"][-5:]) < 0.5 * result.log["loss"][0]


def test_three_loops_share_one_cosine(run, make_model):
    """12,500 batches in loops of 4167, 4167 and 4166 have the rates of one run; so do the logs of real loops."""
    paper = recipes.resolve("paper")
    borders = [0, 4167, 8334, 12500]
    loops = [[recipes.learning_rate(paper, b, 12500) for b in range(*pair)] for pair in itertools.pairwise(borders)]
    whole = [recipes.learning_rate(paper, b, 12500) for b in range(12500)]
    assert [len(loop) for loop in loops] == [4167, 4167, 4166]
    assert sum(loops, []) == whole  # noqa: RUF017
    logs = [run(make_model(), start=a, stop=b, total=7).log for a, b in ((0, 3), (3, 5), (5, 7))]
    assert sum((log["batch"] for log in logs), []) == list(range(7))  # noqa: RUF017
    rates = sum((log["learning_rate"] for log in logs), [])  # noqa: RUF017
    assert rates == [recipes.learning_rate(RECIPE, b, 7) for b in range(7)]
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


def test_a_loop_starts_a_fresh_pass_over_its_set(run, make_model, images):
    """The first batches of a later loop cover its set once, whatever batch of the budget it starts at."""
    seen = []

    def watching(pixels, device, generator):
        seen.extend(pixels.flatten(1).float().mean(dim=1).tolist())
        return pixels.float() / 255

    run(make_model(), train_transform=watching, start=3, stop=8, total=8)
    assert sorted(seen) == sorted(images.pixels.flatten(1).float().mean(dim=1).tolist())


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
    recipe = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.05, "drop_path": 0.5})
    results = []
    for state in (1, 2):
        model = make_model(drop_path=0.5)
        torch.manual_seed(state)
        before = torch.get_rng_state()
        run(model, recipe=recipe)
        assert torch.equal(before, torch.get_rng_state())
        results.append(weights(model))
    assert equal(*results)
    plain = make_model(drop_path=0.0)
    run(plain)
    assert not equal(results[0], weights(plain))


def test_drop_path_that_the_model_lacks_is_refused(run, make_model):
    recipe = recipes.resolve("paper", {"batch_size": 8, "drop_path": 0.1})
    with pytest.raises(TrainingError, match="built without it"):
        run(make_model(), recipe=recipe)


def test_first_step_is_sgd_on_the_mean_loss(run, make_model, images, normalise):
    """One batch against the textbook update: w ← w − lr(∇L + wd·w)."""
    recipe = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.1})
    model = make_model()
    drawn = Sampler(SEEDS["batches"], 40, 8)[0]
    loss = F.cross_entropy(model(normalise(images.read(drawn), "cpu")), torch.from_numpy(images.labels[drawn]))
    loss.backward()
    expected = {n.removeprefix("model."): p - 0.01 * (p.grad + 0.1 * p) for n, p in model.named_parameters()}
    trained = make_model()
    result = run(trained, recipe=recipe, stop=1, total=10, train_transform=normalise)
    assert result.log["loss"][0] == pytest.approx(loss.item(), rel=1e-6)
    for name, tensor in expected.items():
        assert torch.allclose(trained.state_dict()[name], tensor, atol=1e-7)


def test_head_multiplier_speeds_up_the_head_alone(run, make_model, normalise):
    start = weights(make_model())
    moved = []
    for factor in (1.0, 20.0):
        model = make_model()
        recipe = recipes.resolve("paper", {"batch_size": 8, "head_lr_multiplier": factor})
        run(model, recipe=recipe, stop=1, total=10, train_transform=normalise)
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
        recipe = recipes.resolve(
            "paper", {"batch_size": 8, "learning_rate": 1.0, "weight_decay": 0.0, "clip_norm": clip}
        )
        run(model, recipe=recipe, stop=1, total=10, train_transform=normalise)
        steps.append(sum(((tensor - before[name]) ** 2).sum() for name, tensor in weights(model).items()).sqrt().item())
    assert steps[0] > 0.1
    assert steps[1] == pytest.approx(1e-3, rel=1e-3)


def test_repeated_augmentation_draws_each_image_three_times(run, make_model):
    batches = []

    def watching(pixels, device, generator):
        batches.append(pixels)
        return pixels.float() / 255

    recipe = recipes.resolve("paper", {"batch_size": 9, "repeated_augmentation": 3})
    run(make_model(), recipe=recipe, train_transform=watching, stop=2, total=2)
    assert all(len(torch.unique(batch, dim=0)) == 3 for batch in batches)


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


def test_cea_loss_and_gradient_follow_equation_9(run, make_model, images, normalise, text):
    """Gradients flow through e, also inside e − t, and never into α or t: the update is that of the formula."""
    captions, attention = text
    recipe = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.0})
    model = make_model()
    drawn = Sampler(SEEDS["batches"], 40, 8)[0]
    e = model.embed(normalise(images.read(drawn), "cpu"))
    t, alpha = torch.from_numpy(captions[drawn]), torch.from_numpy(attention[drawn])[:, None]
    loss = F.cross_entropy(
        model.classify((1 - 0.4 * alpha) * e + 0.4 * alpha * t), torch.from_numpy(images.labels[drawn])
    )
    loss.backward()
    expected = {n.removeprefix("model."): p - 0.01 * p.grad for n, p in model.named_parameters()}
    kept = captions.copy(), attention.copy()
    trained = make_model()
    result = run(trained, recipe=recipe, stop=1, total=10, train_transform=normalise, cea=(captions, attention, 0.4))
    assert result.log["loss"][0] == pytest.approx(loss.item(), rel=1e-6)
    for name, tensor in expected.items():
        assert torch.allclose(trained.state_dict()[name], tensor, atol=1e-6), name
    assert np.array_equal(kept[0], captions)
    assert np.array_equal(kept[1], attention)


def test_a_full_step_trains_the_head_on_text_alone(run, make_model, normalise, text):
    """ηα = 1 replaces e by t: the backbone then has no gradient."""
    captions, _ = text
    recipe = recipes.resolve("paper", {"batch_size": 8, "weight_decay": 0.0})
    model, before = make_model(), weights(make_model())
    run(model, recipe=recipe, train_transform=normalise, cea=(captions, np.ones(40, np.float32), 1.0))
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
    recipe = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 0.05, "drop_path": 0.3})
    watched, alone = make_model(drop_path=0.3), make_model(drop_path=0.3)
    monitor = Monitor(images, images, normalise, total=6, points=100)
    first = run(watched, recipe=recipe, monitor=monitor)
    second = run(alone, recipe=recipe)
    assert equal(weights(watched), weights(alone))
    assert first.log == second.log
    assert second.curve == []
    assert second.monitor_seconds == 0 < first.monitor_seconds


def test_curve_rows_are_at_fixed_batches_and_true(run, make_model, images, normalise):
    model = make_model()
    monitor = Monitor(images, images, normalise, total=11, points=5, batch_size=7)
    rows = (
        run(model, stop=5, total=11, monitor=monitor).curve
        + run(model, start=5, stop=11, total=11, monitor=monitor).curve
    )
    assert [row["batch"] for row in rows] == [0, 2, 4, 6, 8, 10, 11]
    with torch.no_grad():
        logits = model(normalise(images.pixels, "cpu"))
    labels = torch.from_numpy(images.labels)
    assert rows[-1]["probe_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert rows[-1]["top1"] == (logits.argmax(1) == labels).float().mean().item()
    assert all(earlier["probe_loss"] != later["probe_loss"] for earlier, later in itertools.pairwise(rows))


@pytest.mark.parametrize(("total", "interval"), [(750, 7), (1500, 15), (12500, 125), (90, 1)])
def test_default_interval_is_at_most_one_percent(images, normalise, total, interval):
    monitor = Monitor(images, images, normalise, total=total)
    assert monitor.interval == interval
    assert monitor.interval <= max(1, 0.01 * total)


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
    calls = []

    def poisoned(pixels, device, generator):
        calls.append(1)
        inputs = normalise(pixels, device)
        return inputs * float("nan") if len(calls) == 4 else inputs

    with pytest.raises(TrainingError) as caught:
        run(make_model(), train_transform=poisoned, stop=6, total=20)
    drawn = Sampler(SEEDS["batches"], 40, 8)[3]
    said = str(caught.value)
    assert "batch 3 is nan" in said
    assert f"learning rate {recipes.learning_rate(RECIPE, 3, 20):.3g}" in said
    assert ", ".join(str(i) for i in images.ids[drawn]) in said
    assert "learning_rate" in said


def test_an_exploding_run_is_told(run, make_model, normalise):
    recipe = recipes.resolve("paper", {"batch_size": 8, "learning_rate": 1e12})
    with pytest.raises(TrainingError, match="lower learning_rate"):
        run(make_model(), recipe=recipe, train_transform=normalise, stop=30, total=30)


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


def test_state_survives_safetensors(run, make_model, tmp_path):
    from vecaf import artifacts

    state = run(make_model(), stop=2).optimizer_state
    artifacts.write_weights(tmp_path / "optimizer.safetensors", state)
    assert equal(state, artifacts.read_weights(tmp_path / "optimizer.safetensors"))


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
