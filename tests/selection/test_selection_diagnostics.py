"""What every selection logs."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from vecaf.selection import diagnostics


def test_numbers_by_hand(inputs):
    ids = inputs.ids[[0, 3, 5, 8]]
    found = diagnostics.common(
        replace(inputs, earlier=(inputs.ids[[0, 1, 2]], inputs.ids[[3, 4, 5]])), ids, inputs.ids[[0, 1, 2]]
    )
    rows = [0, 3, 5, 8]
    assert found["loss_ratio"] == pytest.approx(inputs.losses[rows].mean() / inputs.losses.mean(), rel=1e-6)
    assert found["overlap_previous"] == 0.5
    assert found["overlap_initial"] == 0.25
    assert found["class_histogram"] == np.bincount(inputs.labels[rows], minlength=5).tolist()
    assert found["classes_covered"] == len(set(inputs.labels[rows]))
    assert found["warnings"] == []


def test_what_does_not_apply_is_none(inputs):
    found = diagnostics.common(replace(inputs, losses=None), inputs.ids[:4], None)
    assert found["loss_ratio"] is found["overlap_initial"] is found["overlap_previous"] is None
    zero = replace(inputs, losses=np.zeros_like(inputs.losses))
    assert diagnostics.common(zero, inputs.ids[:4], None)["loss_ratio"] is None


@pytest.mark.parametrize(("kept", "warns"), [(8, False), (9, True)])
def test_a_selection_that_keeps_its_random_start_is_told(inputs, caplog, kept, warns):
    ids = inputs.ids[:10]
    with caplog.at_level(logging.WARNING):
        found = diagnostics.common(inputs, ids, np.concatenate([ids[:kept], inputs.ids[-2:]]))
    assert bool(found["warnings"]) == warns == ("random in disguise" in caplog.text)


def test_the_whole_pool_is_no_disguise(inputs):
    assert diagnostics.common(inputs, inputs.ids, inputs.ids)["warnings"] == []
