"""The contract of a selector, its registry, and the checks that every selection passes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from vecaf.errors import SelectionError
from vecaf.seeds import keyed_uniform

Need = Literal["embeddings", "losses", "logits", "labels"]


@dataclass(frozen=True)
class Inputs:
    """What a selection may read; a selector gets what it declares in ``needs``.

    ids, labels: (N,) int64. embeddings: (N, d) float16 or float32, array or memory map. losses: (N,) float32.
    logits: (N, C). labelled: ids of the selection of the loop before, empty in loop 1. loop counts from 1. device:
    where tensors live, ``auto``, ``cpu`` or ``cuda``.
    """

    ids: np.ndarray
    labels: np.ndarray
    embeddings: np.ndarray | None = None
    losses: np.ndarray | None = None
    logits: np.ndarray | None = None
    labelled: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    loop: int = 1
    device: str = "auto"

    def __len__(self) -> int:
        return len(self.ids)


class NoParams(BaseModel):
    """Parameters of a selector that has none."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Selector:
    """A rule that chooses K ids of the pool.

    Class attributes: ``name`` (also its key in the configuration), ``title``, ``citation``, ``needs`` and ``Params``,
    a pydantic model of its parameters.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str | None] = None
    needs: ClassVar[frozenset[Need]] = frozenset()
    Params: ClassVar[type[BaseModel]] = NoParams

    def __init__(self, params: BaseModel | None = None):
        self.params = params if params is not None else self.Params()

    def select(self, inputs: Inputs, k: int, seeds: Mapping[str, int]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return k ids, (k,) int64, and diagnostics.

        seeds: ``random_set`` (differs from loop to loop) and ``centroids``. Draws are keyed by id
        (``vecaf.seeds.keyed_uniform``), so permuting the pool permutes the result.
        """
        raise NotImplementedError


_REGISTRY: dict[str, type[Selector]] = {}


def register(name: str):
    """Register a selector class under a name; raises ValueError for a name that is taken."""

    def add(selector: type[Selector]) -> type[Selector]:
        if name in _REGISTRY:
            raise ValueError(f"two selectors are called {name!r}")
        selector.name = name
        _REGISTRY[name] = selector
        return selector

    return add


def names() -> list[str]:
    return sorted(_REGISTRY)


def implemented(name: str) -> bool:
    return name in _REGISTRY


def get(name: str) -> type[Selector]:
    """Return a selector's class; raises SelectionError for an unknown name."""
    if name not in _REGISTRY:
        raise SelectionError(f"selector {name!r} is not one of {', '.join(names())}")
    return _REGISTRY[name]


def build(name: str, params: Mapping[str, Any] | None = None) -> Selector:
    """Return a selector with checked parameters; raises SelectionError naming the parameter that is wrong."""
    selector = get(name)
    try:
        return selector(selector.Params.model_validate(dict(params or {}), strict=True))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SelectionError(f"parameters of {name}: {'; '.join(lines)}") from error


def choose(selector: Selector, inputs: Inputs, k: int, seeds: Mapping[str, int]) -> tuple[np.ndarray, dict[str, Any]]:
    """Run one selection with the checks and the diagnostics that all selectors share.

    seeds: ``random_set`` and ``centroids``. Returns k unique ids in increasing order, (k,) int64, and the diagnostics,
    plain JSON without NaN. Raises SelectionError when k is not in 1..N, an id occurs twice, an input the selector needs
    is missing, an input is of another length or not finite, or the selector breaks its contract.
    """
    from vecaf.selection import diagnostics

    _check_inputs(selector, inputs, k)
    start = time.perf_counter()
    ids, found = selector.select(inputs, k, seeds)
    seconds = time.perf_counter() - start
    ids = np.sort(np.asarray(ids, dtype=np.int64))
    if len(ids) != k or len(np.unique(ids)) != k or not np.isin(ids, inputs.ids).all():
        raise SelectionError(
            f"{selector.name} returned {len(np.unique(ids))} distinct ids of the pool where {k} were asked for; "
            "this is a mistake in the selector"
        )
    initial = found.pop("initial_ids", None)
    return ids, {**found, **diagnostics.common(inputs, ids, initial), "seconds": round(seconds, 4)}


def _check_inputs(selector: Selector, inputs: Inputs, k: int) -> None:
    size = len(inputs)
    if not 1 <= k <= size:
        raise SelectionError(f"{selector.name}: K = {k} is outside 1..{size}, the size of the pool; change the ratio")
    values, counts = np.unique(inputs.ids, return_counts=True)
    if len(values) != size:
        raise SelectionError(f"id {int(values[counts.argmax()])} occurs twice in the pool; make its index again")
    for name in get_args(Need):
        value = getattr(inputs, name)
        if value is None:
            if name in selector.needs:
                raise SelectionError(f"{selector.name} needs {name}, which this step was not given")
            continue
        if len(value) != size:
            raise SelectionError(f"{name} have {len(value)} rows for a pool of {size} ids; score the pool again")
        if name != "labels":
            _check_finite(name, value, inputs.ids)


def _check_finite(name: str, values: np.ndarray, ids: np.ndarray, chunk: int = 65_536) -> None:
    for start in range(0, len(values), chunk):
        part = np.asarray(values[start : start + chunk])
        good = np.isfinite(part) if part.ndim == 1 else np.isfinite(part).all(axis=1)
        if not good.all():
            bad = int(ids[start + int(np.flatnonzero(~good)[0])])
            raise SelectionError(
                f"{name} of id {bad} is not finite ({int((~good).sum())} such rows from id {int(ids[start])} on); "
                "the weights that scored the pool have diverged, lower the learning rate"
            )


def lowest(values: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """Return the ids of the k smallest values, ties to the lowest id; values, ids: (N,)."""
    return ids[np.lexsort((ids, values))[:k]]


def random_ids(seed: int, ids: np.ndarray, k: int) -> np.ndarray:
    """Return k distinct ids drawn at random by id: those with the smallest keyed draws; (k,) int64 in drawn order.

    Permuting the pool changes nothing, and the k ids of a smaller k come first.
    """
    return lowest(keyed_uniform(seed, ids), ids, k)
