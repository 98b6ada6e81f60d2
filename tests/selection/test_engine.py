"""The engine: its optimisation against a naive one, the greedy choice against a full sort, ties, chunks and memory."""

from __future__ import annotations

import weakref
from collections import Counter

import numpy as np
import pytest
import torch
from pools import SEEDS, make_inputs, quick
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from vecaf import selection
from vecaf.selection import assignment, engine, objectives

TAU = 0.07


def sphere(rows, width, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, width, generator=generator, dtype=dtype), dim=1)


def greedy_by_sorting(z, c):
    """The released form: sort the whole row of each centroid and walk to the first sample that is free."""
    taken, chosen = set(), []
    for order in torch.argsort(-(c @ z.T), dim=1, stable=True).tolist():
        chosen.append(next(row for row in order if row not in taken))
        taken.add(chosen[-1])
    return chosen


def naive_activeft(z, initial, iterations):
    """ActiveFT as released, with N×K in autograd."""
    theta = initial.clone().requires_grad_()
    adam = torch.optim.Adam([theta], lr=1e-3)
    values = []
    for _ in range(iterations):
        c = normalize(theta, dim=1)
        p, k = torch.exp(z @ c.T / TAU).max(dim=1)
        s = torch.exp(c.detach() @ c.T / TAU).sum(dim=0)
        value = -(torch.log(p) - torch.log(p + s[k])).mean()
        adam.zero_grad()
        value.backward()
        values.append(value.item())
        adam.step()
    return normalize(theta.detach(), dim=1), values


def test_optimisation_follows_the_naive_one():
    z = sphere(200, 8, 0, torch.float64)
    initial = z[:15]
    wanted, values = naive_activeft(z, initial, 80)
    found = engine.optimise(
        z, torch.ones(200), initial, objectives.contrastive(TAU, 1.0), iterations=80, learning_rate=1e-3
    )
    np.testing.assert_allclose(found.values, values, rtol=1e-9)
    torch.testing.assert_close(found.centroids, wanted, rtol=0, atol=1e-7)
    assert engine.nearest_unique(z, found.centroids).tolist() == greedy_by_sorting(z, wanted)
    assert (initial - found.centroids).norm() > 0.1  # it went somewhere


def test_the_length_of_centroids_means_nothing():
    z, lengths = sphere(50, 6, 0), torch.linspace(0.2, 5, 7)[:, None]
    objective = objectives.contrastive(TAU, 1.0)
    values = [
        engine.optimise(z, torch.ones(50), initial, objective, iterations=1, learning_rate=1e-3).values[0]
        for initial in (z[:7], z[:7] * lengths)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_stops_when_the_objective_settles():
    z = sphere(60, 6, 0)
    objective = objectives.separate_terms(TAU, 0.1)
    weights = torch.full((60,), 1 / 60)
    options = {"iterations": 2000, "learning_rate": 1e-2}
    found = engine.optimise(z, weights, z[:6], objective, tolerance=1e-4, window=10, **options)
    assert 10 < found.iterations < 2000
    last, before = found.values[-1], found.values[-11]
    assert abs(last - before) < 1e-4 * abs(before)
    earlier = zip(found.values[10:-1], found.values[:-11], strict=True)
    assert all(abs(now - then) >= 1e-4 * abs(then) for now, then in earlier)


def test_one_centroid_ends_at_the_mean_direction():
    z = normalize(sphere(80, 5, 0) + torch.tensor([1.0, 0, 0, 0, 0]), dim=1)
    found = engine.optimise(
        z, torch.full((80,), 1 / 80), z[:1], objectives.separate_terms(TAU, 1.0), iterations=800, learning_rate=1e-2
    )
    mean = normalize(z.mean(dim=0), dim=0)
    assert (found.centroids[0] @ mean).item() > 0.9999
    assert engine.nearest_unique(z, found.centroids)[0] == int((z @ mean).argmax())


def test_sampled_rows_keep_the_expectation_of_a_sum():
    z, p = sphere(400, 6, 0), torch.full((400,), 1 / 400)
    ids = np.arange(400)
    objective = objectives.separate_terms(TAU, 0.1)
    options = {"iterations": 60, "learning_rate": 1e-12, "ids": ids, "seed": 3}
    whole = engine.optimise(z, p, z[:9], objective, **options).values
    sampled = engine.optimise(z, p, z[:9], objective, rows=100, sums=True, **options).values
    error = np.std(sampled, ddof=1) / np.sqrt(len(sampled))
    assert error > 0
    assert abs(np.mean(sampled) - whole[0]) < 4 * error
    assert len(set(sampled)) == len(sampled)  # fresh rows in each step


@pytest.mark.parametrize("candidates", [1, 3, 32])
def test_greedy_choice_equals_a_full_sort(candidates):
    z = sphere(300, 6, 0)
    c = normalize(sphere(4, 6, 1).repeat_interleave(30, dim=0) + 0.02 * sphere(120, 6, 2), dim=1)  # many collisions
    wanted = greedy_by_sorting(z, c)
    nearest = (c @ z.T).argmax(dim=1).tolist()
    assert sum(a != b for a, b in zip(wanted, nearest, strict=True)) > 80
    assert engine.nearest_unique(z, c, candidates).tolist() == wanted


@pytest.mark.parametrize("candidates", [1, 2, 5, 50])
def test_ties_go_to_the_lowest_row(candidates):
    z = torch.tensor([[0.0, 1.0]] * 3 + [[1.0, 0.0]] * 6)
    c = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]])
    assert engine.nearest_unique(z, c, candidates).tolist() == [3, 4, 5, 6, 7, 0]


def test_assignment_takes_the_lowest_centroid_on_ties():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    c = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for chunk in (None, 1):
        assert assignment.brute_force(z, c, chunk).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["activeft", "ods"])
@pytest.mark.parametrize("rows", [7, 1000])
def test_chunk_sizes_give_identical_ids(name, rows, monkeypatch):
    inputs = make_inputs(size=1100)
    whole = selection.choose(quick(name, iterations=40), inputs, 50, SEEDS)[0]
    monkeypatch.setattr(objectives, "CHUNK_NUMBERS", rows * 50)
    monkeypatch.setattr(objectives, "CHUNK_ROWS", 16)
    np.testing.assert_array_equal(selection.choose(quick(name, iterations=40), inputs, 50, SEEDS)[0], whole)


def test_centring_and_length():
    embeddings = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32) + 3
    plain, centred = engine.on_sphere(embeddings), engine.on_sphere(embeddings, center=True)
    for z in (plain, centred):
        torch.testing.assert_close(z.norm(dim=1), torch.ones(40))
    wanted = embeddings - embeddings.mean(axis=0)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(centred.numpy(), wanted, atol=1e-6)


class Memory(TorchDispatchMode):
    """Adds up the bytes of all tensors that are alive after each operation."""

    def __init__(self):
        super().__init__()
        self.holders, self.alive, self.peak, self.largest = Counter(), 0, 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        out = function(*arguments, **(options or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:  # a sparse one is made of such
                self.hold(tensor)
        self.peak = max(self.peak, self.alive)
        return out

    def hold(self, tensor):
        """Count the storage of a tensor once, until the last tensor that shows it is gone."""
        storage = tensor.untyped_storage()
        held, size = (storage.data_ptr(), storage.nbytes()), storage.nbytes()
        self.largest = max(self.largest, size)
        self.alive += 0 if self.holders[held] else size
        self.holders[held] += 1
        weakref.finalize(tensor, self.let_go, held)

    def let_go(self, held):
        self.holders[held] -= 1
        self.alive -= 0 if self.holders[held] else held[1]


@pytest.mark.parametrize(("name", "params"), [("activeft", {}), ("ods", {}), ("ods", {"objective": "released"})])
def test_no_array_of_pool_times_selection_exists(name, params, monkeypatch):
    """N×K floats would be 77 MB, K×K 41 MB; N×d, lists of candidates, and what K×d and a chunk need stay far below."""
    size, k, width = 6000, 3200, 8
    monkeypatch.setattr(objectives, "CHUNK_NUMBERS", 1 << 17)
    monkeypatch.setattr(objectives, "CHUNK_ROWS", 16)
    inputs = make_inputs(size=size, width=width)
    with Memory() as memory:
        selection.choose(quick(name, iterations=2, **params), inputs, k, SEEDS)
    # A list for each sample, and at the end one of 64-bit numbers for each centroid.
    assert memory.largest <= max(4 * size * max(width, assignment.CANDIDATES), 8 * k * engine.CANDIDATES)
    assert memory.peak < 4 * size * k / 10


def test_the_memory_meter_sees_a_naive_form():
    z = sphere(600, 8, 0)
    with Memory() as memory:
        naive_activeft(z, z[:40], 1)
    assert memory.largest >= 4 * 600 * 40
    assert memory.peak >= 2 * 4 * 600 * 40


def test_adam_is_torchs():
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(5, 3, generator=generator)
    other = theta.clone()
    own, theirs = engine._Adam(theta, 1e-2), torch.optim.Adam([other], lr=1e-2)
    for _ in range(50):
        gradient = torch.randn(5, 3, generator=generator)
        own.step(gradient)
        other.grad = gradient.clone()
        theirs.step()
    torch.testing.assert_close(theta, other, rtol=1e-6, atol=1e-7)
