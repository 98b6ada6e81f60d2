"""Formulas of selection and augmentation against what torch counts while they run."""

from dataclasses import replace

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from vecaf import selection
from vecaf.augmentation import Readings, cea
from vecaf.flops.selection import (
    FORMULAS,
    Sizes,
    augmentation_macs,
    selection_augmentation_macs,
    selection_macs,
)

N, D, C, K = 120, 7, 5, 9
SEEDS = {"random_set": 1, "centroids": 2}
# Parts that are products of matrices, which torch counts; the others multiply element by element.
PRODUCTS = ("assignment", "repulsion", "nearest", "debiasing", "logits", "start", "projection", "moments")


def pool(labelled=0):
    generator = np.random.default_rng(0)
    ids = np.arange(N, dtype=np.int64)
    weight, embeddings = (generator.normal(size=(rows, D)).astype(np.float32) for rows in (C, N))
    inputs = selection.Inputs(
        ids=ids,
        labels=ids % C,
        embeddings=embeddings,
        losses=generator.lognormal(size=N).astype(np.float32),
        logits=selection.Logits(embeddings, weight, np.zeros(C, dtype=np.float32)),
        head=(weight, np.zeros(C, dtype=np.float32)),
        predicted_losses=generator.lognormal(size=N).astype(np.float32),
        images=generator.integers(0, 255, (N, 32, 32, 3)).astype(np.uint8),
        device="cpu",
    )
    return replace(inputs, earlier=(ids[:labelled],), loop=2) if labelled else inputs


def counted(run):
    with FlopCounterMode(display=False) as counter:
        found = run()
    return counter.get_total_flops() / 2, found


def both(name, labelled=0, **params):
    """Return what torch counts while a selector chooses, the formula's parts, and the selector's log."""
    selector, inputs = selection.build(name, params), pool(labelled)
    unread = {"losses", "logits", "head", "predicted_losses", "images"} - selector.needs
    inputs = replace(inputs, **dict.fromkeys(unread))
    by_torch, (_, log) = counted(lambda: selection.choose(selector, inputs, K, SEEDS))
    return by_torch, selection_macs(name, Sizes(N, K, D, C, labelled), selector.params.model_dump(), log), log


def products(parts):
    return sum(macs for name, macs in parts.items() if name in PRODUCTS)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"until_convergence": False},
        {"rows": 50, "until_convergence": False},
        {"diversity": 0.0},
        {"objective": "uniform", "debias": "none"},
        {"objective": "released", "diversity": 1.0},
        {"debias": "literal"},
        {"debias": "released"},
        {"debias": "matched_mean"},
        {"debias": "matched"},
        {"ensemble": 1, "debias": "none"},
    ],
    ids=lambda params: ", ".join(map(str, params.values())) or "default",
)
def test_ods_does_the_products_of_its_formula(params):
    by_torch, parts, log = both("ods", **{"ensemble": 3, "iterations": 30, **params})
    assert products(parts) == by_torch
    rows = params.get("rows", N)
    whole = len(log["iterations"]) + 6 + (params.get("debias", "none") not in ("none", "best_member"))
    assert parts["pull"] == parts["similarity"] == D * (sum(log["iterations"]) * rows + whole * N)


def test_without_a_log_ods_is_counted_at_its_limits():
    params = selection.get("ods").Params().model_dump()
    at_most = selection_macs("ods", Sizes(N, K, D, C), params)
    ran = selection_macs("ods", Sizes(N, K, D, C), params, {"iterations": [300] * 5, "debiasing": {"member": 2}})
    assert at_most == ran
    stopped = selection_macs("ods", Sizes(N, K, D, C), params, {"iterations": [20] * 5, "debiasing": {"member": 1}})
    assert sum(stopped.values()) < sum(ran.values()) / 10


@pytest.mark.parametrize("params", [{}, {"rows": 40}, {"objective": "paper"}], ids=str)
def test_activeft_does_the_products_of_its_formula(params):
    by_torch, parts, _ = both("activeft", iterations=25, **params)
    assert products(parts) == by_torch


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence"])
def test_uncertainty_makes_the_logits_of_the_pool_twice(name):
    by_torch, parts, _ = both(name, labelled=K)
    assert products(parts) == by_torch == 2 * N * C * D


def test_typiclust_starts_with_the_products_of_its_formula():
    by_torch, parts, log = both("typiclust", labelled=4, max_clusters=10)
    assert products(parts) == by_torch
    assert parts["k_means"] == log["iterations"] * N * 10 * D


@pytest.mark.parametrize("name", ["random", "class_balanced", "top_k_loss", "learning_loss"])
def test_what_only_sorts_multiplies_nothing(name):
    by_torch, parts, _ = both(name, labelled=K)
    assert by_torch == sum(parts.values()) == 0


def test_k_center_measures_the_pool_from_every_centre(monkeypatch):
    from vecaf.selection import k_center

    asked, add = [], k_center._add
    monkeypatch.setattr(k_center, "_add", lambda centre, z, nearest: asked.append(z.numel()) or add(centre, z, nearest))
    _, parts, _ = both("k_center", labelled=6)
    assert parts == {"distances": sum(asked)}


def test_alfa_mix_counts_four_products_and_at_most_a_hundred_iterations_of_k_means():
    _, parts, log = both("alfa_mix", labelled=20, subpool=5.0, max_candidates=2.0)
    assert parts["mixing"] == 4 * log["subpool"] * C * D
    assert parts["k_means"] == 100 * min(log["candidates"], 18) * K * D
    assert selection_macs("alfa_mix", Sizes(N, K, D, C), selection.get("alfa_mix").Params().model_dump()) == {}


def test_the_game_of_ta_vaal_costs_what_torch_counts():
    """But for gradients that nobody needs: by the pixels, and by what the discriminator reads."""
    by_torch, parts, log = both("ta_vaal", labelled=20, width=8, batch_size=10, subpool=3.0, max_iterations=4)
    assert log["iterations"] == 4
    assert by_torch <= sum(parts.values()) <= 1.1 * by_torch


@pytest.mark.parametrize("projection", ["orthogonal", "identity", "pca", "ridge"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_augmenting_a_pool_does_the_products_of_its_formula(projection, noise):
    width = D if projection == "identity" else 11
    readings, inputs = Readings(projection=projection, noise=noise), pool()
    text = np.random.default_rng(1).normal(size=(N, width)).astype(np.float32)
    by_torch, _ = counted(lambda: cea.augment_pool(inputs.embeddings, text, readings, 3, np.empty((N, D))))
    parts = augmentation_macs(N, D, width, readings.model_dump())
    assert products(parts) == by_torch
    assert (parts["cosines"], parts["shift"]) == (3 * N * D, N * D)


@pytest.mark.parametrize(
    "choices", [{}, {"projection": "ridge"}, {"projection": "ridge", "ridge_fit": "selected"}], ids=str
)
def test_making_text_ready_for_finetuning_does_the_products_of_its_formula(choices):
    readings, inputs = Readings(**choices), pool()
    text, ids = np.random.default_rng(1).normal(size=(N, 11)).astype(np.float32), np.arange(K)
    by_torch, _ = counted(lambda: cea.for_selection(inputs.embeddings, text, ids, readings, 3))
    assert products(selection_augmentation_macs(N, K, D, 11, readings.model_dump())) == by_torch


def test_every_selector_of_the_paper_has_a_formula_and_an_unknown_one_is_not_zero(paper):
    used = {paper.method(cell.method).selector for cell in paper.cells()}
    assert used <= set(FORMULAS)
    assert selection_macs("of_my_own", Sizes(N, K, D, C), {}) is None
