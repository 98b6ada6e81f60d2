"""The lazy assignment against all N×K products: drifts made to deceive its bounds, ties, and what it computes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from vecaf.selection import assignment, drift, engine, objectives


def sphere(rows, width, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, width, generator=generator, dtype=dtype), dim=1)


def check(found, z, c):
    """The similarity is the largest to a millionth, and the index the one where the gap is wider."""
    exact = z.double() @ c.double().T
    assert (exact.amax(dim=1) - exact.gather(1, found[:, None])[:, 0]).max() < 1e-6
    if len(c) > 1:
        first, second = exact.topk(2, dim=1).values.T
        clear = first - second > 1e-6
        assert torch.equal(found[clear], exact.argmax(dim=1)[clear])


@pytest.fixture(params=["bfloat16", "float32"])
def precision(request, monkeypatch):
    """What processors with and without units for bfloat16 screen in."""
    error = 3.05 * 2**-8 if request.param == "bfloat16" else assignment.SLACK
    monkeypatch.setattr(assignment, "screening", lambda device: (getattr(torch, request.param), error))


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 120),
    k=st.integers(1, 90),
    width=st.integers(1, 12),
    copies=st.integers(1, 4),
    step=st.sampled_from([0.0, 1e-4, 0.02, 0.3, 2.0]),
    candidates=st.sampled_from([1, 3, 32]),
    seed=st.integers(0, 1000),
)
def test_any_drift_gives_what_all_products_give(size, k, width, copies, step, candidates, seed):
    z = sphere(size, width, seed)
    c = sphere(-(-k // copies), width, seed + 1).repeat(copies, 1)[:k]  # every centroid up to four times
    nearest = assignment.Assignment(z, candidates)
    for iteration in range(6):
        check(nearest(c), z, c)
        moved = torch.rand(k, 1, generator=torch.Generator().manual_seed(iteration)) < 0.5  # some stay, so ties part
        c = normalize(c + step * moved * sphere(k, width, seed + 7 * iteration), dim=1)


def test_an_unlisted_centroid_that_creeps_up_is_noticed(precision):
    """Each step is far below the margin; only their sum is not. The listed ones stand still."""
    z, c = sphere(40, 16, 0), sphere(300, 16, 1)
    nearest = assignment.Assignment(z, candidates=4)
    before = nearest(c)
    far = int((c @ z[0]).argmin())
    for share in torch.linspace(0, 1, 60):
        c = c.clone()
        c[far] = normalize((1 - share) * c[far] + share * z[0], dim=0)
        check(nearest(c), z, c)
    assert before[0] != far
    assert nearest(c)[0] == far


def test_a_list_that_leaves_as_a_whole_is_made_anew(precision):
    z, c = sphere(40, 16, 0), sphere(300, 16, 1)
    nearest = assignment.Assignment(z, candidates=8)
    nearest(c)
    for _ in range(12):
        close = (c @ z[0]).topk(12).indices
        c = c.clone()
        c[close] = normalize(c[close] - 0.15 * z[0], dim=1)
        check(nearest(c), z, c)


def test_bounds_that_outlive_many_turns(precision):
    """Centroids that run in circles come far in sum; the bounds keep their digits."""
    z, c = sphere(60, 8, 0), sphere(200, 8, 1)
    nearest = assignment.Assignment(z)
    for turn in range(60):
        c = normalize(c.roll(1, dims=1) + 0.01 * sphere(200, 8, turn), dim=1)
        check(nearest(c), z, c)
    assert nearest._turned().max() < 8 + 2
    assert nearest.drift.reach < 8 + 2


@pytest.mark.parametrize("seed", range(4))
def test_centroids_that_hurry_and_rest_in_turn(precision, seed):
    """Who is fast is chosen again and again, turns are forgotten, and whoever rests may have come close before."""
    z, c = sphere(80, 6, seed), sphere(150, 6, seed + 1)
    nearest, chosen = assignment.Assignment(z, candidates=4), 0
    generator = torch.Generator().manual_seed(seed)
    for step in range(5 * drift.KEPT):
        if step % 24 == 0:
            speed = torch.where(torch.rand(150, 1, generator=generator) < 0.1, 0.1, 0.001)
            speed *= 0 if 150 < step < 200 else 1
            ahead = sphere(150, 6, seed + step)
        check(nearest(c), z, c)
        chosen += int(nearest.drift.fast.any())
        c = normalize(c + speed * ahead, dim=1)
    assert chosen > drift.KEPT


def test_one_that_hurried_close_rests_and_creeps_on(precision):
    """The bound on those that were fast goes with them when they are slow again, and when turns are forgotten."""
    z, c = sphere(40, 16, 0), sphere(300, 16, 1)
    nearest = assignment.Assignment(z, candidates=4)
    runner = int((c @ z[0]).argmin())
    away, best = c[runner], float((c @ z[0]).max())
    close = normalize(z[0] + math.tan(math.acos(best) + 0.01) * normalize(away - (away @ z[0]) * z[0], dim=0), dim=0)
    was_fast = False
    for step in range(3 * drift.KEPT):
        c = c.clone()
        if step < drift.KEPT:  # to and fro, and close to the sample at last
            share = 0.2 * (step % 2) if step < drift.KEPT - 2 else 1.0
            c[runner] = normalize((1 - share) * away + share * close, dim=0)
            was_fast |= bool(nearest.last is not None and nearest.drift.fast[runner])
        elif step > drift.KEPT + 2 * drift.PERIOD:
            c[runner] = normalize(0.99 * c[runner] + 0.01 * z[0], dim=0)
        check(nearest(c), z, c)
    assert was_fast
    assert nearest(c)[0] == runner


def test_the_bounds_are_what_keeps_it_exact(monkeypatch):
    """Without the distance that centroids moved, the same drift is missed: the tests above can fail."""
    monkeypatch.setattr(assignment.Assignment, "_move", lambda self, angles, low: None)
    with pytest.raises(AssertionError):
        test_an_unlisted_centroid_that_creeps_up_is_noticed(None)


def test_the_error_of_screening_is_below_its_bound():
    z = normalize(sphere(300, 64, 0) + 2 * sphere(1, 64, 1), dim=1)
    for device in (torch.device("cpu"),):
        precision, bound = assignment.screening(device)
        screened = (z.to(precision) @ z.to(precision).T).double()
        assert (screened - z.double() @ z.double().T).abs().max() < bound
    rough = (z.bfloat16() @ z.bfloat16().T).double() - z.double() @ z.double().T
    assert 2**-11 < rough.abs().max() < 3.05 * 2**-8


@pytest.mark.parametrize("copies", [2, 40])
def test_equal_centroids_give_the_lowest_index(precision, copies):
    """Forty copies fill the list of candidates, and the lowest may not be on it."""
    z, few = sphere(50, 12, 0), sphere(20, 12, 1)
    c = few.repeat(copies, 1)
    nearest = assignment.Assignment(z, candidates=8)
    for _ in range(3):
        found = nearest(c)
        assert found.max() < 20
        check(found, z, c)
        c = normalize(few + 0.1 * sphere(20, 12, 2), dim=1).repeat(copies, 1)


def test_a_pool_without_directions():
    z, c = torch.zeros(5, 4), sphere(60, 4, 0)
    assert assignment.Assignment(z)(c).tolist() == [0] * 5


def test_similarities_at_chosen_places():
    z, c = sphere(30, 7, 0, torch.float64), sphere(11, 7, 1, torch.float64)
    rows = torch.tensor([2, 3, 17, 29])
    columns = torch.tensor([[0, 4], [10, 3], [5, 5], [1, 0]])
    wanted = (z @ c.T)[rows[:, None], columns]
    for kind in (torch.int32, torch.int64):
        torch.testing.assert_close(objectives.similarities(z, c, rows, columns.to(kind)), wanted, rtol=0, atol=1e-15)
    torch.testing.assert_close(objectives.gathered_similarities(z, c, rows, columns), wanted, rtol=0, atol=1e-15)


def test_similarities_of_the_pairs_that_are_asked_for():
    z, c = sphere(30, 7, 0, torch.float64), sphere(11, 7, 1, torch.float64)
    rows, columns = torch.tensor([2, 3, 17]), torch.tensor([[0, 4, 9], [3, 5, 10], [1, 2, 3]], dtype=torch.int32)
    asked = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    wanted = (z @ c.T)[rows[:, None], columns.long()][asked]
    for found in (objectives.similarities, objectives.gathered_similarities):
        torch.testing.assert_close(found(z, c, rows, columns, asked), wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize("columns", [40, 512, 515, 1031])
def test_the_largest_of_many_columns_are_those_of_topk(columns):
    values = sphere(20, columns, 0)
    values[:, columns // 3] = values[:, 0]  # equal values
    found, places = assignment.largest(values, 16)
    torch.testing.assert_close(found.sort(dim=1).values, values.topk(16, dim=1).values.flip(1), rtol=0, atol=0)
    assert torch.equal(values.gather(1, places), found)
    assert all(len(set(row.tolist())) == 16 for row in places)


def test_a_centroid_that_gets_a_direction_may_come_from_anywhere(precision):
    z, c = sphere(40, 16, 0), sphere(300, 16, 1)
    c[7] = 0  # as an embedding of zero has it
    nearest = assignment.Assignment(z, candidates=4)
    check(nearest(c), z, c)
    c = c.clone()
    c[7] = z[3]
    check(nearest(c), z, c)
    assert nearest(c)[3] == 7


def test_pull_adds_up_the_samples_of_each_centroid():
    z, weights = sphere(200, 5, 0), torch.rand(200, generator=torch.Generator().manual_seed(0))
    nearest = (
        torch.randint(0, 30, (200,), generator=torch.Generator().manual_seed(1)) // 2 * 2
    )  # every other one is empty
    wanted = torch.zeros(30, 5).index_add_(0, nearest, z * weights[:, None])
    torch.testing.assert_close(objectives.pull(z, nearest, weights, 30), wanted, rtol=0, atol=1e-6)


class Operations(TorchDispatchMode):
    """Counts the multiply-adds of dense products and of those sampled at few places."""

    def __init__(self):
        super().__init__()
        self.dense, self.sampled = 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function.overloadpacket is torch.ops.aten.mm:
            self.dense += arguments[0].numel() * arguments[1].shape[1]
        elif function is torch.ops.aten.sparse_sampled_addmm.default:
            self.sampled += arguments[0].values().numel() * arguments[1].shape[1]
        return function(*arguments, **(options or {}))


def clustered(size, width, seed=0):
    return normalize(
        sphere(1, width, seed) + sphere(25, width, seed + 1)[torch.arange(size) % 25] + sphere(size, width, 5)
    )


def test_an_optimisation_computes_a_small_part_of_all_products():
    """The guard against a slower engine counts products, not seconds: first all of them, then a few in a hundred."""
    size, k, width, iterations = 2000, 320, 32, 40
    z, objective = clustered(size, width), objectives.contrastive(0.07, 1.0)

    def products(iterations):
        with Operations() as count:
            engine.optimise(z, torch.ones(size), z[:k], objective, iterations=iterations, learning_rate=1e-3)
        between = 2 * k * k * width * (iterations + 1)  # the repulsion's; the end is evaluated once more
        return (count.dense - between) / (size * k * width), count.sampled / (size * k * width)

    dense, sampled = products(iterations)
    once, _ = products(1)
    assert 1 <= once < 1.3  # the first assignment, and what the evaluation at the end asks once more
    assert dense - once < 0.1 * (iterations - 1)
    assert sampled < 0.06 * (iterations + 1)


def test_the_repulsion_of_both_sides_takes_two_products():
    c = sphere(100, 16, 0)
    with Operations() as count:
        objectives.repulsion(c, 0.07, include_self=False, both_sides=True)
    assert count.dense == 2 * 100 * 100 * 16
