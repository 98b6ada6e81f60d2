"""What every registered selector keeps, whatever it is: a new one is tested here without a line being added."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pools import SEEDS, after_a_loop, make_inputs, permuted, quick

from vecaf import selection
from vecaf.errors import SelectionError
from vecaf.selection.base import PER_SAMPLE

WHOLE_POOL = {"full"}  # its K is the size of the pool
# The same ids whatever the seed.
UNSEEDED = {"full", "top_k_loss", "entropy", "margin", "least_confidence"}

everyone = pytest.mark.parametrize("name", selection.names())


@pytest.fixture
def pool(name, inputs):
    """The pool in the first loop in which a selector does its own work: without labels some draw at random."""
    return inputs if selection.get(name).cold_start else after_a_loop(inputs)


def some(name, inputs):
    return len(inputs) if name in WHOLE_POOL else 13


def choose(name, inputs, k, seeds=SEEDS, **params):
    return selection.choose(quick(name, **params), inputs, k, seeds)


@everyone
def test_returns_k_unique_sorted_ids_of_the_pool(name, inputs):
    k = some(name, inputs)
    ids, diagnostics = choose(name, inputs, k)
    assert ids.dtype == np.int64
    assert len(ids) == k
    assert (np.diff(ids) > 0).all()
    assert np.isin(ids, inputs.ids).all()
    json.dumps(diagnostics, allow_nan=False)


@everyone
def test_leaves_its_inputs_alone(name, pool):
    choose(name, pool, some(name, pool))
    fresh = make_inputs()
    for field in ("ids", *PER_SAMPLE):
        np.testing.assert_array_equal(getattr(pool, field), getattr(fresh, field))


@everyone
def test_is_a_function_of_the_seed(name, pool):
    k = some(name, pool)
    once, again = choose(name, pool, k)[0], choose(name, pool, k)[0]
    np.testing.assert_array_equal(once, again)
    other = choose(name, pool, k, {"random_set": 21, "centroids": 22})[0]
    assert np.array_equal(once, other) == (name in UNSEEDED)


@everyone
def test_ignores_the_global_random_state(name, pool):
    import torch

    k = some(name, pool)
    once = choose(name, pool, k)[0]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(choose(name, pool, k)[0], once)
    assert torch.equal(torch.get_rng_state(), state)


@everyone
def test_permuting_the_pool_permutes_nothing_but_the_rows(name, inputs):
    order = np.random.default_rng(5).permutation(len(inputs))
    k = some(name, inputs)
    np.testing.assert_array_equal(choose(name, permuted(inputs, order), k)[0], choose(name, inputs, k)[0])


@everyone
def test_what_earlier_loops_chose(name, inputs):
    """A selector that excludes the labelled set never chooses from it, and says so when too little is left."""
    later = after_a_loop(inputs)
    k = some(name, inputs)
    ids, diagnostics = choose(name, later, k)
    assert len(np.unique(ids)) == k
    assert diagnostics["overlap_previous"] == np.isin(ids, later.labelled).mean()
    if not selection.get(name).excludes_labelled:
        return
    assert not np.isin(ids, later.labelled).any()
    assert set(choose(name, later, 75)[0]) == set(inputs.ids) - set(later.labelled)
    with pytest.raises(SelectionError, match=f"{name} chooses from what no loop before chose; 75 of 90 samples are"):
        choose(name, later, 76)


@everyone
def test_permuting_a_later_loop_permutes_nothing_but_the_rows(name, inputs):
    later = after_a_loop(inputs)
    order = np.random.default_rng(6).permutation(len(inputs))
    k = some(name, inputs)
    np.testing.assert_array_equal(choose(name, permuted(later, order), k)[0], choose(name, later, k)[0])


@everyone
def test_the_whole_pool(name, inputs):
    np.testing.assert_array_equal(choose(name, inputs, len(inputs))[0], inputs.ids)


@everyone
def test_a_single_sample(name, pool):
    ids, _ = choose(name, make_inputs(size=1) if name in WHOLE_POOL else pool, 1)
    assert len(ids) == 1


@everyone
@pytest.mark.parametrize("duplicates", ["some", "all"])
def test_duplicates_in_the_pool(name, pool, duplicates):
    embeddings = pool.embeddings.copy()
    embeddings[: None if duplicates == "all" else 40] = embeddings[0]
    k = some(name, pool)
    ids, _ = choose(name, replace(pool, embeddings=embeddings, losses=np.ones_like(pool.losses)), k)
    assert len(np.unique(ids)) == k


@everyone
def test_embeddings_of_zero_are_no_accident(name, pool):
    embeddings = np.zeros_like(pool.embeddings)
    k = some(name, pool)
    ids, diagnostics = choose(name, replace(pool, embeddings=embeddings), k)
    assert len(np.unique(ids)) == k
    json.dumps(diagnostics, allow_nan=False)


@everyone
def test_memory_maps_in_half_precision(name, pool, tmp_path):
    half = pool.embeddings.astype(np.float16)
    np.save(tmp_path / "embeddings.npy", half)
    mapped = replace(pool, embeddings=np.load(tmp_path / "embeddings.npy", mmap_mode="r"))
    exact = replace(pool, embeddings=half.astype(np.float32))
    k = some(name, pool)
    np.testing.assert_array_equal(choose(name, mapped, k)[0], choose(name, exact, k)[0])


@everyone
@pytest.mark.parametrize("k", [0, -1, 91])
def test_k_outside_the_pool(name, inputs, k):
    with pytest.raises(SelectionError, match=rf"K = {k} is outside 1\.\.90"):
        choose(name, inputs, k)


@everyone
def test_missing_inputs_are_named(name, inputs):
    for need in selection.get(name).needs:
        with pytest.raises(SelectionError, match=f"{name} needs {need}"):
            choose(name, replace(inputs, **{need: None}), some(name, inputs))


@everyone
@pytest.mark.parametrize("field", ["embeddings", "losses", "logits", "predicted_losses"])
def test_values_that_are_not_finite_name_the_id(name, inputs, field):
    broken = getattr(inputs, field).copy()
    broken[7] = np.nan
    with pytest.raises(SelectionError, match=f"{field} of id 15 is not finite"):
        choose(name, replace(inputs, **{field: broken}), some(name, inputs))


@everyone
def test_inputs_of_another_pool(name, inputs):
    with pytest.raises(SelectionError, match="losses have 89 rows for a pool of 90 ids"):
        choose(name, replace(inputs, losses=inputs.losses[1:]), some(name, inputs))


@everyone
def test_an_id_that_occurs_twice(name, inputs):
    ids = inputs.ids.copy()
    ids[3] = ids[4]
    with pytest.raises(SelectionError, match="id 9 occurs twice"):
        choose(name, replace(inputs, ids=ids), some(name, inputs))


@everyone
def test_card_and_parameters_are_described(name):
    selector = selection.get(name)
    assert selector.name == name
    assert selector.title
    assert all(field.description for field in selector.Params.model_fields.values())
    assert selector.needs <= {*PER_SAMPLE, "head"}
    with pytest.raises(SelectionError, match="no_such_parameter"):
        selection.build(name, {"no_such_parameter": 1})


def test_a_head_that_is_not_linear_or_of_another_width(inputs):
    weight, bias = inputs.head
    for head, sentence in (
        ((weight[None], bias), r"a linear head has \(C, d\) and \(C,\)"),
        ((weight, bias[1:]), r"a linear head has \(C, d\) and \(C,\)"),
        ((weight[:, 1:], bias), "embeddings of width 7, these have 8"),
        ((weight * np.nan, bias), "the head is not finite"),
    ):
        with pytest.raises(SelectionError, match=sentence):
            choose("random", replace(inputs, head=head), 5)


def test_logits_of_a_head_are_made_by_rows(inputs):
    weight, bias = inputs.head
    lazy = selection.Logits(inputs.embeddings, weight, bias)
    whole = inputs.embeddings @ weight.T + bias
    assert lazy.shape == whole.shape
    np.testing.assert_allclose(lazy[3:9], whole[3:9], rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(1).permutation(len(inputs))
    back = permuted(replace(inputs, logits=whole), order)
    shuffled = replace(back, logits=selection.Logits(inputs.embeddings[order], weight, bias)).in_order()
    np.testing.assert_allclose(shuffled.logits[:], whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(shuffled.images, inputs.images)


def test_a_selector_that_breaks_the_contract_is_caught(inputs):
    class Twice(selection.Selector):
        name = "twice"

        def select(self, inputs, k, seeds):
            return np.repeat(inputs.ids[0], k), {}

    with pytest.raises(SelectionError, match="mistake in the selector"):
        selection.choose(Twice(), inputs, 3, SEEDS)


@pytest.mark.parametrize("name", ["activeft", "k_center", "ods", "ta_vaal", "typiclust"])
def test_cuda_without_a_gpu_says_so(name, inputs, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SelectionError, match="no GPU is visible"):
        choose(name, replace(inputs, device="cuda"), 3)
