"""Recipes: their values, what overrides do, and one cosine for all loops of a cell."""

import math
import subprocess
import sys

import pytest

from vecaf.errors import ConfigError
from vecaf.training import recipes


def test_paper_recipe_is_the_text_of_section_4_1():
    paper = recipes.resolve("paper")
    assert (paper.learning_rate, paper.momentum, paper.weight_decay, paper.batch_size) == (5e-4, 0.9, 1e-4, 256)
    assert not paper.nesterov
    assert paper.label_smoothing == paper.drop_path == paper.warmup == 0
    assert paper.clip_norm is None
    assert paper.crop
    assert paper.flip


def test_paper_cosine_starts_at_the_peak_and_halves_in_the_middle():
    paper = recipes.resolve("paper")
    assert recipes.learning_rate(paper, 0, 750) == 5e-4
    assert recipes.learning_rate(paper, 375, 750) == pytest.approx(2.5e-4, abs=1e-12)
    assert 0 < recipes.learning_rate(paper, 749, 750) < 1e-8


def test_released_learning_rates():
    released = recipes.resolve("released", {"batch_size": 512})
    assert released.learning_rate == 0.01
    warm = 5  # 0.5 % of 1,000 batches
    rates = [recipes.learning_rate(released, batch, 1000) for batch in range(1000)]
    assert rates[0] == 1e-6
    assert rates[2] == pytest.approx(1e-6 + (0.01 - 1e-6) * 2 / 5)
    assert rates[warm] == pytest.approx(1e-5 + (0.01 - 1e-5) * (1 + math.cos(math.pi * 5 / 1000)) / 2)
    assert max(rates) == rates[warm]
    assert rates[-1] == pytest.approx(1e-5, rel=0.01)
    assert all(later < earlier for earlier, later in zip(rates[warm:], rates[warm + 1 :], strict=False))


@pytest.mark.parametrize(("batch", "rate"), [(256, 0.005), (64, 0.00125)])
def test_released_learning_rate_goes_with_the_batch(batch, rate):
    assert recipes.resolve("released", {"batch_size": batch}).learning_rate == pytest.approx(rate)


def test_an_explicit_learning_rate_is_not_scaled():
    assert recipes.resolve("released", {"batch_size": 64, "learning_rate": 0.003}).learning_rate == 0.003


def test_absent_and_empty_overrides_keep_the_recipe():
    assert recipes.resolve("paper", recipes.Overrides()) == recipes.RECIPES["paper"]
    assert recipes.resolve("paper", {"flip": None}) == recipes.RECIPES["paper"]
    assert not recipes.resolve("paper", recipes.Overrides(flip=False)).flip


def test_every_value_of_a_recipe_can_be_overridden():
    assert set(recipes.Overrides.model_fields) == set(recipes.Recipe.model_fields)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"lerning_rate": 0.1}, "lerning_rate"),
        ({"learning_rate": -1.0}, "greater than 0"),
        ({"crop_scale": [0.9, 0.1]}, "lower ≤ upper"),
        ({"crop_scale": [0.5, 1.5]}, "≤ 1"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov needs"),
        ({"batch_size": "64"}, "batch_size"),
        ({"minimum_lr": 0.1}, "above learning_rate"),
    ],
)
def test_impossible_values_are_refused_with_their_key(overrides, said):
    with pytest.raises(ConfigError, match=said):
        recipes.resolve("paper", overrides)


def test_unknown_recipe_names_the_known_ones():
    with pytest.raises(ConfigError, match="paper, released"):
        recipes.resolve("papr")


@pytest.mark.parametrize("batch", [-1, 10])
def test_a_batch_outside_the_budget_is_refused(batch):
    with pytest.raises(ValueError, match="outside a budget of 10"):
        recipes.learning_rate(recipes.resolve("paper"), batch, 10)


@pytest.mark.parametrize("module", ["vecaf.training.recipes", "vecaf.training.sampler"])
def test_importing_costs_no_torch(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'timm', 'pandas', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
