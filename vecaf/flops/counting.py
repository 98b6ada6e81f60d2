"""Multiply-accumulates of a forward pass, counted by fvcore, with a check that no product was left out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vecaf.errors import CountError

# The operations that fvcore counts beside products, at 1 to 5 “flops” an element: no multiply-accumulates.
_NO_PRODUCTS = (
    *("batch_norm", "group_norm", "instance_norm", "layer_norm"),
    *("adaptive_avg_pool2d", "grid_sampler", "upsample_bilinear2d", "upsample_nearest2d"),
)
# What fvcore may leave out, in place or not, since it works element by element, looks up, pools or reorders: what is in
# the models of timm and transformers. Anything else might hold a product and is refused, as fvcore passes over fused
# attention, recurrent layers and convolutions with `padding="same"` in silence.
_WITHOUT_PRODUCTS = {
    *("abs", "add", "addcmul", "amax", "amin", "any", "argmax", "avg_pool1d", "avg_pool2d", "bitwise_and"),
    *("bitwise_or", "ceil", "clamp_min", "clone", "col2im", "cos", "cumsum", "div", "dropout", "elu", "embedding"),
    *("exp", "expand_as", "fill", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "im2col", "index_select"),
    *("le", "leaky_relu", "linalg_vector_norm", "log", "logical_and", "logical_not", "logical_or", "lt"),
    *("masked_fill", "max_pool1d", "max_pool2d", "mean", "min", "mish", "mul", "ne", "neg", "new_ones", "norm"),
    *("ones_like", "pad", "pixel_shuffle", "pow", "prelu", "reciprocal", "relu6", "repeat", "repeat_interleave"),
    *("reshape_as", "rms_norm", "rsqrt", "rsub", "selu", "sigmoid", "sign", "silu", "sin", "softmax", "softplus"),
    *("sqrt", "square", "sub", "sum", "tanh", "tile", "tril", "triu", "unflatten", "unfold", "upsample_bicubic2d"),
    *("var", "where"),
}


@dataclass(frozen=True)
class Count:
    """MACs of one forward pass, of all products together and by kind; left_out: operation → times it occurred."""

    macs: int
    operators: dict[str, int]
    left_out: dict[str, int]


class _Forward(nn.Module):
    """A call of a module, as a module: what fvcore traces."""

    def __init__(self, module: nn.Module, call: Callable[..., Any]):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(self.module, *inputs)


def count(module: nn.Module, *inputs: Tensor, call: Callable[..., Any] = nn.Module.__call__) -> Count:
    """Return the ``Count`` of ``call(module, *inputs)`` in eval mode; call returns tensors.

    The module may lie on the meta device, where nothing is computed. timm's fused attention is switched off meanwhile;
    models of transformers must be built with ``attn_implementation="eager"``. Raises CountError when an operation was
    left out that is not known to be free of products.
    """
    from fvcore.nn import FlopCountAnalysis

    training = module.training
    try:
        with _unfused(module), torch.no_grad():
            analysis = FlopCountAnalysis(_Forward(module, call).eval(), inputs)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
            counted = sorted(analysis.by_operator().items())
            left_out = dict(sorted(analysis.unsupported_ops().items()))
    finally:
        module.train(training)
    check(type(module).__name__, left_out)
    operators = {name: int(macs) for name, macs in counted if name not in _NO_PRODUCTS}
    return Count(sum(operators.values()), operators, left_out)


def check(model: str, left_out: dict[str, int]) -> None:
    """Raise CountError when operations that were left out are not known to be free of products."""
    unknown = [name for name in left_out if re.sub(r"^.*::|_$", "", name) not in _WITHOUT_PRODUCTS]
    if unknown:
        raise CountError(
            f"the multiply-accumulates of {model} are unknown: fvcore does not count {', '.join(unknown)}. Build the "
            "model without fused attention; an operation that holds no product is added to the list in "
            "vecaf/flops/counting.py"
        )


def described(found: Count, model: nn.Module) -> dict[str, Any]:
    """Return a count as plain JSON, with the number of the model's parameters."""
    return {
        "macs": found.macs,
        "operators": found.operators,
        "left_out": found.left_out,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def uncounted(kind: str, free: Collection[str]) -> dict[str, Any]:
    """Return what stands for the count of a kind: 0 MACs for one without a neural network, None for an unknown one."""
    known = kind in free
    source = "no neural network" if known else f"vecaf/flops does not know how to count the kind {kind}"
    return {"macs": 0 if known else None, "operators": {}, "left_out": {}, "parameters": None, "source": source}


@contextlib.contextmanager
def _unfused(module: nn.Module) -> Iterator[None]:
    """Switch timm's fused attention off, and on again where it was on."""
    fused = [part for part in module.modules() if getattr(part, "fused_attn", False)]
    try:
        for part in fused:
            part.fused_attn = False
        yield
    finally:
        for part in fused:
            part.fused_attn = True
