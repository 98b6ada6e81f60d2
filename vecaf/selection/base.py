"""The contract of a selector, its registry, and the checks that every selection passes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from vecaf.errors import SelectionError
from vecaf.seeds import derive, keyed_uniform

if TYPE_CHECKING:
    from vecaf.checkpoint import Checkpoint

Need = Literal["labels", "embeddings", "losses", "logits", "head", "predicted_losses", "images"]
CHUNK_ROWS = 16_384


class Logits:
    """The logits (N, C) of stored embeddings (N, d) under a linear head, made when rows are asked for.

    For a pool like ImageNet's they would take more memory than all other inputs together.
    """

    def __init__(self, embeddings: np.ndarray, weight: np.ndarray, bias: np.ndarray):
        self.embeddings, self.weight, self.bias = embeddings, weight, bias

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.embeddings), len(self.weight)

    def __getitem__(self, rows) -> np.ndarray:
        import torch

        part = torch.from_numpy(np.array(self.embeddings[rows], dtype=np.float32))
        weight, bias = torch.from_numpy(self.weight), torch.from_numpy(self.bias)
        return torch.nn.functional.linear(part, weight, bias).numpy()


@dataclass(frozen=True)
class Inputs:
    """What a selection may read; a selector gets what it declares in ``needs``.

    ids, labels: (N,) int64. embeddings: (N, d) float16 or float32, array or memory map. losses: (N,) float32. logits:
    (N, C), an array or ``Logits``. head: the linear layer behind the embeddings, weight (C, d) and bias (C,) float32.
    predicted_losses: (N,) float32, of a loss-prediction head that was trained along. images: (N, S, S, 3) uint8, small
    copies of the pool's. earlier: the ids that each loop before chose, in order. loop counts from 1. device: where
    tensors live, ``auto``, ``cpu`` or ``cuda``. checkpoint: where a selector that ``resumes`` keeps its state.
    """

    ids: np.ndarray
    labels: np.ndarray
    embeddings: np.ndarray | None = None
    losses: np.ndarray | None = None
    logits: np.ndarray | Logits | None = None
    head: tuple[np.ndarray, np.ndarray] | None = None
    predicted_losses: np.ndarray | None = None
    images: np.ndarray | None = None
    earlier: tuple[np.ndarray, ...] = ()
    loop: int = 1
    device: str = "auto"
    checkpoint: Checkpoint | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def labelled(self) -> np.ndarray:
        """The ids that any loop before chose, (L,) int64 in increasing order."""
        return np.unique(np.concatenate(self.earlier)) if self.earlier else np.empty(0, dtype=np.int64)

    def torch_device(self) -> str:
        """Return ``cpu`` or ``cuda``; raises SelectionError for ``cuda`` without a visible GPU."""
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise SelectionError("device cuda, but no GPU is visible; use auto or check CUDA_VISIBLE_DEVICES")
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"

    def in_order(self) -> Inputs:
        """Return the pool with its rows in the order of ids: then no result depends on the order it came in."""
        order = np.argsort(self.ids, kind="stable")
        if np.array_equal(order, np.arange(len(order))):
            return self
        given = {name: getattr(self, name) for name in ("ids", *PER_SAMPLE)}
        return replace(self, **{name: _reordered(value, order) for name, value in given.items() if value is not None})


def _reordered(value: np.ndarray | Logits, order: np.ndarray) -> np.ndarray | Logits:
    if isinstance(value, Logits):
        return Logits(_reordered(value.embeddings, order), value.weight, value.bias)
    return np.asarray(value)[order]


# The inputs that have a row for every sample of the pool.
PER_SAMPLE = tuple(need for need in get_args(Need) if need != "head")


class NoParams(BaseModel):
    """Parameters of a selector that has none."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Selector:
    """A rule that chooses K ids of the pool.

    Class attributes: ``name`` (also its key in the configuration), ``title``, ``citation``, ``needs`` and ``Params``,
    a pydantic model of its parameters. ``excludes_labelled``: whether it never chooses what an earlier loop chose.
    ``cold_start``: whether it can choose in loop 1, before anything is trained. ``resumes``: whether it trains for long
    and goes on from ``inputs.checkpoint``. A parameter called ``loss_head`` makes finetuning train a loss-prediction
    head along (``vecaf.models.loss_prediction``).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str | None] = None
    needs: ClassVar[frozenset[Need]] = frozenset()
    Params: ClassVar[type[BaseModel]] = NoParams
    excludes_labelled: ClassVar[bool] = False
    cold_start: ClassVar[bool] = True
    resumes: ClassVar[bool] = False

    def __init__(self, params: BaseModel | None = None):
        self.params = params if params is not None else self.Params()

    def select(self, inputs: Inputs, k: int, seeds: Mapping[str, int]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return k ids, (k,) int64, and diagnostics: plain JSON, beside ``initial_ids`` (what it started from) and
        ``warnings`` (sentences that the log repeats), if it has any.

        seeds: ``random_set`` (differs from loop to loop) and ``centroids``. Draws are keyed by id
        (``vecaf.seeds.keyed_uniform``), so permuting the pool permutes the result.
        """
        raise NotImplementedError

    @classmethod
    def cite(cls) -> str:
        """Return the selector in a line: its title, its source and what it reads."""
        source = f" ({cls.citation})" if cls.citation else ""
        return f"{cls.title}{source}, reads {cls.reads()}"

    @classmethod
    def reads(cls) -> str:
        """Return what the selector reads, in words."""
        return ", ".join(sorted(cls.needs)).replace("_", " ") or "ids alone"

    @classmethod
    def remark(cls, params: Mapping[str, Any]) -> str | None:
        """Return what a table says beside the method's title, such as a cap on its cost; None for nothing."""
        return None


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
    initial, warnings = found.pop("initial_ids", None), found.pop("warnings", [])
    return ids, {**found, **diagnostics.common(inputs, ids, initial, warnings), "seconds": round(seconds, 4)}


def _check_inputs(selector: Selector, inputs: Inputs, k: int) -> None:
    size = len(inputs)
    if not 1 <= k <= size:
        raise SelectionError(f"{selector.name}: K = {k} is outside 1..{size}, the size of the pool; change the ratio")
    values, counts = np.unique(inputs.ids, return_counts=True)
    if len(values) != size:
        raise SelectionError(f"id {int(values[counts.argmax()])} occurs twice in the pool; make its index again")
    for name in sorted(selector.needs):
        if getattr(inputs, name) is None:
            raise SelectionError(f"{selector.name} needs {name}, which this step was not given")
    for name in PER_SAMPLE:
        value = getattr(inputs, name)
        if value is None:
            continue
        if len(value) != size:
            raise SelectionError(f"{name} have {len(value)} rows for a pool of {size} ids; score the pool again")
        if name not in ("labels", "images"):
            _check_finite(name, value, inputs.ids)
    if inputs.head is not None:
        _check_head(inputs)
    if selector.excludes_labelled:
        unlabelled(inputs, k, selector.name)


def _check_head(inputs: Inputs) -> None:
    weight, bias = inputs.head
    width = weight.shape[1] if weight.ndim == 2 else None
    if width is None or bias.shape != weight.shape[:1]:
        raise SelectionError(
            f"the head has a weight of shape {weight.shape} and a bias of shape {bias.shape}; a linear head has "
            "(C, d) and (C,), and no other kind is known here"
        )
    if inputs.embeddings is not None and inputs.embeddings.shape[1] != width:
        raise SelectionError(
            f"the head reads embeddings of width {width}, these have {inputs.embeddings.shape[1]}; both must come from "
            "one scoring"
        )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise SelectionError("the head is not finite; its training has diverged, lower the learning rate")


def _check_finite(name: str, values: np.ndarray | Logits, ids: np.ndarray) -> None:
    for rows in chunks(len(values)):
        start, part = rows.start, np.asarray(values[rows])
        good = np.isfinite(part) if part.ndim == 1 else np.isfinite(part).all(axis=1)
        if not good.all():
            bad = int(ids[start + int(np.flatnonzero(~good)[0])])
            raise SelectionError(
                f"{name} of id {bad} is not finite (at least {int((~good).sum())} such rows); "
                "the weights that scored the pool have diverged, lower the learning rate"
            )


def chunks(size: int, rows: int = CHUNK_ROWS) -> Iterator[slice]:
    """Yield slices of at most ``rows`` rows over a pool, so that memory does not grow with it."""
    for start in range(0, size, rows):
        yield slice(start, min(start + rows, size))


def unlabelled(inputs: Inputs, k: int, name: str) -> np.ndarray:
    """Return the rows of what no loop before chose, (U,) int64.

    Raises SelectionError when fewer than k are left.
    """
    rows = np.flatnonzero(~np.isin(inputs.ids, inputs.labelled))
    if len(rows) < k:
        raise SelectionError(
            f"{name} chooses from what no loop before chose; {len(rows)} of {len(inputs)} samples are left, K = {k}: "
            "lower the ratio or the number of loops"
        )
    return rows


def subpool(inputs: Inputs, rows: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return ``size`` of the given rows (all, if there are fewer), drawn at random by id, in increasing order."""
    if size >= len(rows):
        return rows
    draws = keyed_uniform(derive(seed, "subpool"), inputs.ids[rows])
    return np.sort(rows[np.lexsort((inputs.ids[rows], draws))[:size]])


def lowest(values: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """Return the ids of the k smallest values, ties to the lowest id; values, ids: (N,)."""
    return ids[np.lexsort((ids, values))[:k]]


def random_ids(seed: int, ids: np.ndarray, k: int) -> np.ndarray:
    """Return k distinct ids drawn at random by id: those with the smallest keyed draws; (k,) int64 in drawn order.

    Permuting the pool changes nothing, and the k ids of a smaller k come first.
    """
    return lowest(keyed_uniform(seed, ids), ids, k)
