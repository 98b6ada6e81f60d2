"""TA-VAAL: the equations by hand, the game between the two networks, and what the discriminator's scores select."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from pools import SEEDS, after_a_loop, permuted, quick

from vecaf import selection
from vecaf.errors import SelectionError
from vecaf.selection import adversarial, ta_vaal

# Enough for stripes of one direction to be told from those of the other, by a discriminator that nobody tries to fool:
# with the adversarial term a VAE as small as this one succeeds, and the AUC wanders about chance.
LEARNS = {"max_iterations": 40, "batch_size": 16, "subpool": 10.0, "learning_rate": 2e-3, "gamma": 0.0}


def striped(count, axis, seed):
    """Return noisy images (count, 32, 32, 3) uint8 with stripes along an axis."""
    generator = np.random.default_rng(seed)
    stripes = np.expand_dims(150 * ((np.arange(32) // 4) % 2), axis=1 - axis)
    return (stripes[None, :, :, None] + generator.integers(0, 60, (count, 32, 32, 3))).astype(np.uint8)


def two_kinds(labelled=30, alike=0, unlike=60):
    """Return a pool in loop 2: labelled samples, unlabelled ones that look alike, and others that do not."""
    images = np.concatenate([striped(labelled + alike, 0, 1), striped(unlike, 1, 2)])
    ids = np.arange(len(images), dtype=np.int64) * 3 + 2
    return selection.Inputs(
        ids=ids,
        labels=np.zeros(len(ids), dtype=np.int64),
        predicted_losses=np.random.default_rng(3).normal(size=len(ids)).astype(np.float32),
        images=images,
        earlier=(ids[:labelled],),
        loop=2,
        device="cpu",
    )


def ta_vaal_ids(inputs, k=13, seeds=SEEDS, **params):
    return selection.choose(quick("ta_vaal", **params), inputs, k, seeds)


def new_game(width=2, latent=3, image_size=32, learning_rate=1e-3, seed=1):
    return adversarial.new_game(
        seed, width=width, latent=latent, image_size=image_size, learning_rate=learning_rate, device="cpu"
    )


def batches(count=6):
    labelled, unlabelled = adversarial.sides(
        np.concatenate([striped(count, 0, 4), striped(count, 1, 5)]),
        np.linspace(-2, 2, 2 * count),
        np.arange(count),
        np.arange(count, 2 * count),
    )
    return [labelled.batch(slice(None)), unlabelled.batch(slice(None))]


def two_sides(labelled, unlike):
    """Return what the two networks see of a pool of two kinds: the labelled side, then the other."""
    pool = two_kinds(labelled, 0, unlike)
    rows = np.arange(labelled), np.arange(labelled, labelled + unlike)
    return adversarial.sides(pool.images, pool.predicted_losses, *rows)


def weights(network):
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def same(before, after):
    return [torch.equal(before[name], after[name]) for name in before]


# Equations


@pytest.mark.parametrize(("mu", "logvar", "wanted"), [(0, 0, 0), (1, 0, 0.5), (0, 1, 0.5 * (np.e - 2))])
def test_divergence_by_hand(mu, logvar, wanted):
    shape = (4, 3)
    found = adversarial.divergence(torch.full(shape, float(mu)), torch.full(shape, float(logvar)))
    assert found.item() == pytest.approx(wanted, abs=1e-6)


def test_verdict_loss_by_hand():
    logits = torch.tensor([0.0, 2.0])
    sigmoid = 1 / (1 + np.exp(-logits.double().numpy()))
    assert adversarial.verdict_loss(logits, labelled=True).item() == pytest.approx(-np.log(sigmoid).mean(), rel=1e-6)
    assert adversarial.verdict_loss(logits, labelled=False).item() == pytest.approx(
        -np.log(1 - sigmoid).mean(), rel=1e-6
    )


def test_loss_of_a_set_by_hand():
    """The decoder is told sigmoid(r), the discriminator r."""
    game, (x, r), noise = new_game(), batches()[0], torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    mu, logvar = game.vae.encode(x)
    code = torch.cat([mu + torch.exp(0.5 * logvar) * noise, torch.sigmoid(r)[:, None]], dim=1)
    error = ((game.vae.decoder(code) - x) ** 2).mean()
    divergence = (-0.5 * (1 + logvar - mu**2 - torch.exp(logvar))).mean()
    verdict = torch.sigmoid(game.discriminator.layers(torch.cat([mu, r[:, None]], dim=1)))
    wanted = error + 0.3 * divergence - 0.7 * verdict.log().mean()
    torch.testing.assert_close(adversarial.vae_loss(game, x, r, noise, beta=0.3, gamma=0.7), wanted)


@pytest.mark.parametrize(("image_size", "small"), [(32, 2), (64, 4)])
def test_shapes_of_the_networks(image_size, small):
    width, latent = 4, 32
    vae = adversarial.VAE(width, latent, image_size)
    shapes = {name: tuple(parameter.shape) for name, parameter in vae.named_parameters() if parameter.ndim > 1}
    assert list(shapes.values()) == [
        (4, 3, 4, 4),
        (8, 4, 4, 4),
        (16, 8, 4, 4),
        (32, 16, 4, 4),
        (latent, 32 * small**2),
        (latent, 32 * small**2),
        (32 * (2 * small) ** 2, latent + 1),
        (32, 16, 4, 4),  # a transposed convolution's weight: from, to
        (16, 8, 4, 4),
        (8, 4, 4, 4),
        (3, 4, 1, 1),
    ]
    convolutions = {n: m for n, m in vae.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)}
    # Of all convolutions the last alone is not followed by a batch norm, which would take a bias away again.
    assert [name for name, module in convolutions.items() if module.bias is not None] == ["decoder.11"]
    images = torch.zeros(2, 3, image_size, image_size)
    mu, logvar = vae.encode(images)
    assert mu.shape == logvar.shape == (2, latent)
    assert vae.decode(mu, torch.zeros(2)).shape == images.shape
    discriminator = adversarial.Discriminator(latent)
    assert [tuple(p.shape) for p in discriminator.parameters()][::2] == [(512, latent + 1), (512, 512), (1, 512)]
    assert discriminator(mu, torch.zeros(2)).shape == (2,)


def test_the_default_width_is_the_authors():
    vae = adversarial.VAE(ta_vaal.Params().width, ta_vaal.Params().latent, 32)
    assert [m.out_channels for m in vae.encoder if isinstance(m, torch.nn.Conv2d)] == [128, 256, 512, 1024]
    assert vae.mu.weight.shape == (32, 4096)
    assert vae.decoder[0].weight.shape == (1024 * 16, 33)


@pytest.mark.parametrize(
    ("labelled", "candidates", "wanted"), [(500, 5000, 4296), (1000, 5000, 4687), (1000, 10_000, 8593), (1, 0, 1)]
)
def test_iterations_of_the_released_code(labelled, candidates, wanted):
    assert ta_vaal.iterations_by_formula(labelled, candidates, epochs=100, batch_size=128) == wanted


def test_auc_by_hand():
    assert adversarial.auc(np.array([3.0, 2.0]), np.array([1.0, 2.0, 0.0])) == pytest.approx(5.5 / 6)
    assert adversarial.auc(np.ones(4), np.ones(3)) == 0.5


def test_images_are_normalised_by_what_is_trained_on():
    images = np.random.default_rng(6).integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    images[..., 2] = 77
    rows = np.array([0, 2, 5]), np.array([1, 7])
    seen = [side.batch(np.arange(len(side)))[0] for side in adversarial.sides(images, np.zeros(9), *rows)]
    assert [len(part) for part in seen] == [3, 2]
    together = torch.cat(seen).permute(1, 0, 2, 3).reshape(3, -1)
    torch.testing.assert_close(together.mean(dim=1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(together.std(dim=1), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4, rtol=0)


# The game


def test_a_step_of_one_network_leaves_the_other_alone():
    game, noises = new_game(), torch.zeros(2, 6, 3)
    vae, discriminator = weights(game.vae), weights(game.discriminator)
    adversarial.vae_step(game, batches(), noises, 1.0, 1.0)
    assert all(same(discriminator, weights(game.discriminator)))
    assert not any(same(vae, weights(game.vae)))
    vae = weights(game.vae)
    adversarial.discriminator_step(game, batches())
    assert all(same(vae, weights(game.vae)))
    assert not any(same(discriminator, weights(game.discriminator)))


def test_gradients_of_the_other_step_do_not_leak():
    """A discriminator step after a VAE step is the same as one without it, for the same VAE."""
    game = new_game()
    adversarial.vae_step(game, batches(), torch.zeros(2, 6, 3), 1.0, 1.0)
    fresh = copy.deepcopy(game)
    fresh.discriminator.zero_grad(set_to_none=True)
    for each in (game, fresh):
        each.discriminator_adam = torch.optim.Adam(each.discriminator.parameters(), lr=1e-3)
        adversarial.discriminator_step(each, batches())
    assert all(same(weights(game.discriminator), weights(fresh.discriminator)))


def play(first, second):
    game = new_game(width=4, latent=32, learning_rate=2e-3)
    adversarial.train(game, first, second, iterations=40, batch_size=16, beta=1.0, gamma=0.0, seed=7)
    return game


def test_swapping_the_roles_flips_the_order():
    sides = two_sides(30, 30)
    for game, better in ((play(*sides), 0), (play(*reversed(sides)), 1)):
        scores = [adversarial.score(game, side, batch_size=16, bn_eval=True) for side in sides]
        assert adversarial.auc(scores[better], scores[1 - better]) > 0.95


def test_going_on_after_some_iterations_changes_nothing():
    sides = two_sides(9, 20)
    settings = {"batch_size": 4, "beta": 1.0, "gamma": 1.0, "seed": 7}
    whole, parts = new_game(), new_game()
    adversarial.train(whole, *sides, iterations=6, **settings)
    adversarial.train(parts, *sides, iterations=2, **settings)
    adversarial.train(parts, *sides, iterations=6, **settings)
    assert all(same(weights(whole.vae), weights(parts.vae)))
    assert all(same(weights(whole.discriminator), weights(parts.discriminator)))


def test_weights_come_from_the_seed():
    assert all(same(weights(new_game(seed=1).vae), weights(new_game(seed=1).vae)))
    assert not torch.equal(new_game(seed=1).vae.mu.weight, new_game(seed=2).vae.mu.weight)


def test_a_training_that_diverges_says_so():
    with pytest.raises(SelectionError, match="has diverged, lower the selector's learning_rate"):
        ta_vaal_ids(two_kinds(), learning_rate=1e18, max_iterations=9, batch_size=8)


# The selection


@pytest.fixture
def scored(monkeypatch):
    """Record what the discriminator says, labelled set first."""
    found = []

    def record(*args, **keywords):
        found.append(original(*args, **keywords))
        return found[-1]

    original = adversarial.score
    monkeypatch.setattr(adversarial, "score", record)
    return found


def test_the_lowest_scores_are_chosen_and_belong_to_what_looks_unlabelled(scored):
    pool = two_kinds(labelled=30, alike=40, unlike=40)
    ids, found = ta_vaal_ids(pool, k=20, **LEARNS)
    of_labelled, of_candidates = scored
    assert len(of_labelled) == 30
    assert found["warnings"] == []
    np.testing.assert_array_equal(ids, np.sort(pool.ids[30:][np.argsort(of_candidates)[:20]]))
    assert np.isin(ids, pool.ids[70:]).mean() > 0.9


def test_the_rank_alone_can_tell():
    """Images of one kind, but small predicted losses for the labelled set: D sees r, which no VAE can hide."""
    pool = two_kinds(labelled=45, alike=45, unlike=0)
    ranks = np.where(np.arange(90) < 45, -3.0, 3.0).astype(np.float32)
    assert ta_vaal_ids(replace(pool, predicted_losses=ranks), **LEARNS | {"gamma": 1.0})[1]["auc"] > 0.95


def test_what_is_told_about_a_selection():
    pool = two_kinds()
    found = ta_vaal_ids(pool, k=5, max_iterations=None, epochs=4, batch_size=8, subpool=2.0, width=2)[1]
    assert found["iterations"] == found["iterations_by_formula"] == (30 + 10) * 4 // 8
    assert not found["capped"]
    assert (found["width"], found["subpool"]) == (2, 10)
    assert 0 <= found["auc"] <= 1
    assert found["vae_loss"] > 0
    assert found["discriminator_loss"] > 0
    capped = ta_vaal_ids(pool, k=5, max_iterations=3, epochs=4, batch_size=8, subpool=2.0, width=2)[1]
    assert (capped["iterations"], capped["iterations_by_formula"], capped["capped"]) == (3, 20, True)


def test_chance_is_called_by_its_name(monkeypatch):
    monkeypatch.setattr(adversarial, "auc", lambda *scores: 0.52)
    assert "AUC 0.52, chance is 0.5" in ta_vaal_ids(two_kinds())[1]["warnings"][0]
    monkeypatch.setattr(adversarial, "auc", lambda *scores: 0.56)
    assert ta_vaal_ids(two_kinds())[1]["warnings"] == []


def test_images_that_do_not_differ_stay_at_chance():
    """One grey image everywhere and one rank: the scores differ by rounding at most, and a warning says so."""
    pool = two_kinds()
    grey = replace(pool, images=np.full_like(pool.images, 90), predicted_losses=np.zeros(90, dtype=np.float32))
    _, found = ta_vaal_ids(grey, k=6, subpool=10.0)
    assert abs(found["auc"] - 0.5) < 0.05
    assert "close to a random draw" in found["warnings"][0]


def test_nothing_labelled_is_a_random_draw_with_a_warning(inputs):
    ids, found = ta_vaal_ids(inputs, k=10)
    assert found["auc"] is None
    assert found["iterations"] == 0
    assert "random draw" in found["warnings"][0]
    assert not np.array_equal(ids, ta_vaal_ids(inputs, 10, {"random_set": 5, "centroids": 12})[0])


def test_batch_statistics_are_another_reading_that_is_blind_to_the_order_of_the_pool(scored):
    pool = two_kinds()
    order = np.random.default_rng(8).permutation(len(pool))
    for rows, bn_eval in ((pool, True), (pool, False), (permuted(pool, order), False)):
        ta_vaal_ids(rows, bn_eval=bn_eval)
    running, own, reordered = scored[1::2]  # of the candidates
    assert not np.allclose(running, own)
    np.testing.assert_array_equal(own, reordered)


def test_scoring_with_running_statistics_does_not_depend_on_the_batch():
    game, sides = new_game(), two_sides(12, 20)
    adversarial.train(game, *sides, iterations=3, batch_size=4, beta=1.0, gamma=1.0, seed=7)
    some = [adversarial.score(game, sides[1], batch_size=size, bn_eval=True) for size in (1, 7, 20)]
    np.testing.assert_allclose(some[0], some[2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(some[1], some[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bn_eval", [True, False])
def test_batches_of_one_image(inputs, bn_eval):
    later = after_a_loop(inputs, count=1)
    ids, found = ta_vaal_ids(later, k=1, batch_size=1, subpool=1.0, bn_eval=bn_eval)
    assert len(ids) == 1
    assert found["subpool"] == 1


def test_images_that_stay_on_disk_are_as_good(inputs, tmp_path):
    later = after_a_loop(inputs)
    np.save(tmp_path / "images.npy", inputs.images)
    mapped = replace(later, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    np.testing.assert_array_equal(ta_vaal_ids(mapped)[0], ta_vaal_ids(later)[0])


def test_only_the_labelled_set_and_the_subpool_are_read(inputs):
    class Watched(np.ndarray):
        def __getitem__(self, rows):
            read.append(rows)
            return np.asarray(self)[rows]

    read = []
    later = after_a_loop(inputs)
    ta_vaal_ids(replace(later, images=inputs.images.view(Watched)), k=5)
    assert sorted(map(len, read)) == [10, 15]


def test_images_of_64_pixels(inputs):
    later = after_a_loop(inputs)
    large = replace(later, images=later.images.repeat(2, axis=1).repeat(2, axis=2))
    assert len(ta_vaal_ids(large, image_size=64)[0]) == 13


@pytest.mark.parametrize(
    "spoil",
    [lambda x: x[:, :16], lambda x: x[..., 0], lambda x: x.astype(np.float32), lambda x: x.transpose(0, 3, 1, 2)],
)
def test_images_of_another_shape(inputs, spoil):
    with pytest.raises(SelectionError, match=r"image_size 32 needs uint8 of \(N, 32, 32, 3\)"):
        ta_vaal_ids(replace(inputs, images=spoil(inputs.images)))


def test_the_remark_names_width_and_cap():
    remark = selection.get("ta_vaal").remark
    assert remark({"max_iterations": 4167}) == "VAE of width 128, at most 4,167 iterations"
    assert remark({"width": 16}) == "VAE of width 16, iterations uncapped"


def test_images_of_a_side_that_the_vae_cannot_halve_are_refused():
    with pytest.raises(SelectionError, match="image_size"):
        selection.build("ta_vaal", {"image_size": 48})
