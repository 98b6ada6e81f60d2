"""The optimiser of a recipe, and its state as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vecaf.errors import TrainingError
from vecaf.models.backbone import LOSS_HEAD, Backbone
from vecaf.training.recipes import Recipe

PREFIX = "momentum."


def build(model: Backbone, recipe: Recipe, loss_head_multiplier: float = 1.0) -> torch.optim.SGD:
    """Return SGD with a group for each combination of backbone, head or loss head, with weight decay or without.

    Each group has ``multiplier``: its learning rate over the backbone's.
    """
    multipliers = {id(parameter): recipe.head_lr_multiplier for parameter in model.head.parameters()}
    if model.loss_head is not None:
        multipliers |= {id(parameter): loss_head_multiplier for parameter in model.loss_head.parameters()}
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for parameter in model.parameters():
        multiplier = multipliers.get(id(parameter), 1.0)
        decays = recipe.decay_vectors or parameter.ndim > 1
        groups.setdefault((multiplier, recipe.weight_decay if decays else 0.0), []).append(parameter)
    return torch.optim.SGD(
        [{"params": group, "multiplier": key[0], "weight_decay": key[1]} for key, group in groups.items()],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group from the backbone's."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiplier"]


def state(model: Backbone, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the momentum of every parameter under ``momentum.`` and its name, on the CPU, for safetensors."""
    found = ((name, optimizer.state[parameter].get("momentum_buffer")) for name, parameter in _named(model))
    return {PREFIX + name: buffer.detach().cpu().clone() for name, buffer in found if buffer is not None}


def load(model: Backbone, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Continue from the state of the loop before; raises TrainingError naming the first tensor that does not fit.

    A state without any tensor of the loss head leaves that head's as it is: it starts afresh.
    """
    fresh = not any(name.startswith(PREFIX + LOSS_HEAD) for name in saved)
    for name, parameter in _named(model):
        buffer = saved.get(PREFIX + name)
        if buffer is None and (optimizer.defaults["momentum"] == 0 or (fresh and name.startswith(LOSS_HEAD))):
            continue
        if buffer is None or buffer.shape != parameter.shape:
            got = "missing" if buffer is None else f"of shape {tuple(buffer.shape)}"
            raise TrainingError(
                f"optimiser state: {PREFIX + name} is {got}, the model needs {tuple(parameter.shape)}; delete it "
                "and run the loop before again, or set training.optimizer_state to reset"
            )
        optimizer.state[parameter]["momentum_buffer"] = buffer.to(parameter.device, parameter.dtype).clone()


def _named(model: Backbone):
    return ((name.removeprefix("model."), parameter) for name, parameter in model.named_parameters())
