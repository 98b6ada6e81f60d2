"""The readings of CEA, and where it acts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vecaf.augmentation import Readings, applies_to_pool


def test_defaults_are_those_of_the_study():
    assert Readings().model_dump() == {
        "attention": "relative",
        "step": 0.1,
        "noise": 0.0,
        "projection": "orthogonal",
        "ridge_fit": "pool",
        "ridge_penalty": 0.01,
        "scope": "pool",
        "in_finetune": True,
    }


@pytest.mark.parametrize(
    "wrong", [{"attention": "softmax"}, {"step": -0.1}, {"step": "0.1"}, {"noise": -1.0}, {"eta": 0.1}]
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        Readings(**wrong)


def test_every_reading_is_described():
    assert all(field.description for field in Readings.model_fields.values())


@pytest.mark.parametrize(
    ("scope", "loop", "prompt", "applies"),
    [
        ("pool", 1, None, False),
        ("pool", 1, "snow", True),
        ("pool", 2, None, True),
        ("pool", 3, "snow", True),
        ("selected", 1, "snow", False),
        ("selected", 2, None, False),
    ],
)
def test_the_pool_is_augmented_from_loop_two_or_with_a_prompt(scope, loop, prompt, applies):
    assert applies_to_pool(Readings(scope=scope), loop, prompt) == applies
