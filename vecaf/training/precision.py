"""Which number format a forward pass runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from vecaf.errors import TrainingError


@contextmanager
def autocast(device: torch.device | str, precision: str) -> Iterator[None]:
    """Run in ``auto`` (bfloat16 on a GPU, float32 on a CPU), ``float32`` or ``bfloat16``; weights stay float32 in all.

    A processor without instructions for bfloat16 takes the same products by ``RoundedProducts``. Raises TrainingError
    for another name.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise TrainingError(f"precision {precision!r} is not one of auto, float32, bfloat16")
    kind = torch.device(device).type
    low = precision == "bfloat16" or (precision == "auto" and kind == "cuda")
    rounded = low and kind == "cpu" and not multiplies_bfloat16()
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=low), RoundedProducts() if rounded else nullcontext():
        yield


def multiplies_bfloat16() -> bool:
    """Return whether torch has instructions of this processor for products of bfloat16."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


class RoundedProducts(TorchFunctionMode):
    """Products of bfloat16 numbers, summed in float32 and rounded to bfloat16, by float32 instructions.

    That is what a processor with units for bfloat16 does, up to the order of sums and, within attention, to fewer
    roundings. Without such units torch multiplies bfloat16 in a plain loop, which takes many times as long as float32
    (``python -m benchmarks.rounded_products``). Gradients are rounded where the numbers were.
    """

    _products = frozenset({F.linear, F.conv2d, F.scaled_dot_product_attention})

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func not in self._products:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            product = func(*map(_rounded, args), **{name: _rounded(value) for name, value in kwargs.items()})
        return product.to(torch.bfloat16)


def _rounded(value):
    """Return a tensor of numbers rounded to bfloat16, as float32, and anything else as it is."""
    return value.to(torch.bfloat16).float() if torch.is_tensor(value) and value.is_floating_point() else value
