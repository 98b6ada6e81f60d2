"""ActiveFT: the released objective is the default, the paper's the other reading."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pools import SEEDS, make_inputs, quick

from vecaf import selection
from vecaf.seeds import derive
from vecaf.selection import assignment, engine, objectives
from vecaf.selection.base import random_ids


def activeft(inputs, k=20, **params):
    return selection.choose(quick("activeft", **params), inputs, k, SEEDS)


def test_starts_where_the_first_member_of_ods_starts(inputs):
    """Common random numbers: what differs between the two is the objective alone."""
    still = {"iterations": 1, "learning_rate": 1e-12}
    initial = np.sort(random_ids(derive(SEEDS["centroids"], 0), inputs.ids, 20))
    np.testing.assert_array_equal(activeft(inputs, **still)[0], initial)
    ods = selection.choose(quick("ods", ensemble=1, **still), inputs, 20, SEEDS)[0]
    np.testing.assert_array_equal(ods, initial)


def test_needs_no_losses(inputs):
    assert selection.get("activeft").needs == {"embeddings"}
    from dataclasses import replace

    np.testing.assert_array_equal(activeft(replace(inputs, losses=None))[0], activeft(inputs)[0])


def test_the_paper_form_is_the_unweighted_equation_7(inputs):
    shared = {"iterations": 30}
    ids, found = activeft(inputs, objective="paper", balance=0.3, **shared)
    twin = {"objective": "uniform", "diversity": 0.3, "ensemble": 1, "until_convergence": False}
    wanted_ids, wanted = selection.choose(quick("ods", **twin, **shared), inputs, 20, SEEDS)
    np.testing.assert_array_equal(ids, wanted_ids)
    assert found["objective_after"] == pytest.approx(wanted["objective_after"], rel=1e-6)
    assert found["objective_after"] != pytest.approx(activeft(inputs, **shared)[1]["objective_after"], rel=0.1)


def test_the_objective_falls_and_covers_the_pool_better(inputs):
    pool = make_inputs(size=600, width=16)
    ids, found = activeft(pool, iterations=150, learning_rate=1e-2)
    assert found["objective_after"] < found["objective_before"]
    z = engine.on_sphere(pool.embeddings)

    def coverage(chosen):
        return (z @ z[np.isin(pool.ids, chosen)].T).max(dim=1).values.mean().item()

    random = [coverage(random_ids(seed, pool.ids, 20)) for seed in range(20)]
    assert coverage(ids) > np.mean(random)


def test_the_logged_snapshot_takes_the_selected_images_as_centroids(inputs):
    ids, found = activeft(inputs)
    z = engine.on_sphere(inputs.embeddings)
    c = z[np.isin(inputs.ids, ids)]
    value, _ = objectives.contrastive(0.07, 1.0)(c, z, assignment.brute_force(z, c), torch.ones(len(z)))
    assert found["objective_of_selected"] == pytest.approx(value.item(), rel=1e-5)
    assert found["objective_of_random_sd"] > 0


def test_rows_are_drawn_afresh_in_each_step(inputs):
    sampled = activeft(inputs, rows=30)[1]
    assert sampled["objective_after"] != activeft(inputs)[1]["objective_after"]
    assert activeft(inputs, rows=90)[1]["objective_after"] == activeft(inputs)[1]["objective_after"]
