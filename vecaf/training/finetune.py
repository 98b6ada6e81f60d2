"""Finetuning on a selected set: some batches of a budget that all loops of a cell share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from tqdm import tqdm

from vecaf import checkpoint as checkpoints
from vecaf.errors import TrainingError
from vecaf.models.backbone import Backbone
from vecaf.models.head import MULTICLASS, Objective, objective_loss
from vecaf.models.loss_prediction import check_pairs, pair_loss
from vecaf.seeds import derive
from vecaf.training import optimizer as optimizers
from vecaf.training.monitor import Monitor
from vecaf.training.parallel import processes
from vecaf.training.precision import autocast
from vecaf.training.recipes import Recipe, learning_rate
from vecaf.training.sampler import Sampler
from vecaf.training.score import check_labels

# Losses stay on the device and are fetched in blocks: asking for each would wait for the GPU after every batch.
FETCH = 50


@dataclass(frozen=True)
class FinetuneResult:
    """What a loop leaves behind, beside the weights in the model itself.

    optimizer_state: flat tensors by name. log: columns batch (index in the whole budget), learning_rate (of the
    backbone), loss (training loss of the batch, with label smoothing, over all processes) and, with a loss head,
    pair_loss. curve: rows of batch (batches done), probe_loss, top1, training_seconds (of this loop). seconds: of
    training; monitor_seconds: spent looking. main: whether this process is the one that writes.
    """

    optimizer_state: dict[str, Tensor]
    log: dict[str, list]
    curve: list[dict[str, float]]
    seconds: float
    monitor_seconds: float
    processes: int
    main: bool


class _Training(nn.Module):
    """The forward pass of a training batch; one module, so that several processes can wrap it."""

    def __init__(self, model: Backbone, step: float):
        super().__init__()
        self.model, self.step = model, step

    def forward(
        self, images: Tensor, text: Tensor | None = None, attention: Tensor | None = None, *, spare: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        embeddings, predicted = self.model.embed_and_predict(images, spare=spare)
        if text is not None:
            # Equation 9 with the image's cached attention α: e ← e − ηα(e − t). Gradients flow through e alone.
            embeddings = embeddings - self.step * attention[:, None] * (embeddings - text)
        return self.model.classify(embeddings), predicted


def finetune(
    model: Backbone,
    images: Any,
    labels: np.ndarray,
    *,
    train_transform: Any,
    recipe: Recipe,
    start: int,
    stop: int,
    total: int,
    seeds: Mapping[str, int],
    objective: Objective = MULTICLASS,
    cea: tuple[np.ndarray, np.ndarray, float] | None = None,
    loss_head: Mapping[str, Any] | None = None,
    optimizer_state: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    monitor: Monitor | None = None,
    origin: int | None = None,
    workers: int = 0,
    checkpoint: checkpoints.Checkpoint = checkpoints.NOTHING,
) -> FinetuneResult:
    """Train a model, in place, on batches ``start`` … ``stop`` − 1 of a budget of ``total``.

    images: the selected set with ``ids`` and ``batches(list of position arrays)``; labels: (K,) int64. train_transform:
    (images, device, generator) → normalised (B, 3, S, S). seeds: ``batches`` and ``augmentation``. objective: as
    ``resolve_objective`` returns it. cea: projected text embeddings t (K, d), attention α (K,), step η; logits are then
    those of e − ηα(e − t) with t and α fixed (equation 9), in training only. loss_head: for a model with such a head,
    how it is trained along: criterion, margin, weight, lr_multiplier, and detach_after, the share of the loop's batches
    after which it sends no gradient into the backbone. optimizer_state: of the loop before; None starts afresh. origin:
    the batch at which this loop and its passes over the set began, ``start`` by default; an earlier one goes on inside
    a loop, whose last batch is ``stop`` − 1. The learning rate follows one cosine over ``total``. Everything random
    comes from the seeds and the batch's number: at one thread count on a CPU the weights are equal bit for bit, whether
    or not a monitor looks on, and whether or not it was stopped and went on from its checkpoint. Under a launcher of
    several processes the batch is split among them, and augmentations depend on their number. Raises TrainingError for
    a loss that is not finite, and for inputs that do not fit.
    """
    origin = start if origin is None else origin
    if not 0 <= origin <= start < stop <= total:
        raise TrainingError(f"batches {start} … {stop} (passes from {origin}) are not part of a budget of {total}")
    group = processes(device)
    if bool(loss_head) != (model.loss_head is not None):
        raise TrainingError("loss_head options and a model with a loss head belong together; one of them is missing")
    model.to(group.device).train()
    check_labels(model, labels)
    sampler = Sampler(seeds["batches"], len(labels), recipe.batch_size, recipe.repeated_augmentation)
    plan = [group.share(sampler[batch - origin]) for batch in range(start, stop)]
    if loss_head:
        check_pairs(len(plan[0]))
    text, attention = _captions(cea, len(labels), model.width)
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(group.device)
    optimizer = optimizers.build(model, recipe, loss_head["lr_multiplier"] if loss_head else 1.0)
    if optimizer_state is not None:
        optimizers.load(model, optimizer, optimizer_state)
    # The recipe's clipping is that of the classifier's gradient; the loss head must not shorten it.
    own = {id(parameter) for parameter in model.loss_head.parameters()} if model.loss_head is not None else set()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in own]
    rates = [learning_rate(recipe, batch, total) for batch in range(start, stop)]
    losses = torch.zeros(stop - start, device=group.device)
    pair_losses = torch.zeros_like(losses) if loss_head else None
    spared_from = origin + round(loss_head["detach_after"] * (stop - origin)) if loss_head else stop
    draws = torch.Generator()
    curve: list[dict[str, float]] = []
    random_layers = _has_random_layers(model, recipe)
    done, fetched, looking, training_before = 0, 0, 0.0, 0.0
    if (kept := checkpoint.load()) is not None:
        done, looking, training_before = _go_on(kept, model, optimizer, losses, pair_losses, curve)
        fetched = done if group.world > 1 else done - done % FETCH
    training = group.wrap(_Training(model, cea[2] if cea else 0.0))
    began = time.perf_counter() - training_before - looking

    def look(done: int) -> float:
        """Add a row to the curve and return the seconds it took."""
        _settle(group.device)
        before = time.perf_counter()
        if group.main:
            row = monitor(model)
            curve.append({"batch": done, **row, "training_seconds": round(before - began - looking, 4)})
        group.wait()
        return time.perf_counter() - before

    def keep(upto: int) -> None:
        """Write all that the batches to come depend on."""
        _settle(group.device)
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= optimizers.state(model, optimizer) | {"losses": losses[:upto]}
        if pair_losses is not None:
            tensors["pair_losses"] = pair_losses[:upto]
        spent = time.perf_counter() - began - looking
        checkpoint.save(tensors, {"done": upto, "curve": curve, "looking": looking, "training": spent})

    def fetch(upto: int) -> int:
        """Average losses over processes in place and stop at the first that is not finite; returns ``upto``."""
        losses[fetched:upto] = group.mean(losses[fetched:upto])
        if pair_losses is not None:
            pair_losses[fetched:upto] = group.mean(pair_losses[fetched:upto])
        bad = (~torch.isfinite(losses[fetched:upto])).nonzero()
        if len(bad):
            local = fetched + int(bad[0])
            drawn = sampler[start + local - origin]
            raise _diverged(start + local, rates[local], float(losses[local]), images, drawn, cea is not None)
        return upto

    if monitor is not None and start == 0 and kept is None:
        looking += look(0)
    bar = tqdm(range(done, stop - start), initial=done, total=stop - start, unit="batch", disable=group.silent)
    devices = [group.device] if group.device.type == "cuda" else []
    # Stochastic depth draws from the global state: it is seeded by batch, and put back afterwards.
    with torch.random.fork_rng(devices=devices, enabled=random_layers):
        for local, pixels in zip(bar, images.batches(plan[done:], workers=workers), strict=True):
            batch = start + local
            drawn = torch.from_numpy(plan[local])
            seed = derive(seeds["augmentation"], batch - origin, group.rank)
            inputs = train_transform(pixels, group.device, draws.manual_seed(seed))
            if random_layers:
                torch.manual_seed(derive(seed, "layers"))
            optimizers.set_rate(optimizer, rates[local])
            with autocast(group.device, precision):
                captions = () if text is None else (text[drawn].to(group.device), attention[drawn].to(group.device))
                logits, predicted = training(inputs, *captions, spare=batch >= spared_from)
            logits, wanted = logits.float(), targets[drawn.to(group.device)]
            loss = objective_loss(logits, wanted, objective, label_smoothing=recipe.label_smoothing)
            total_loss = loss
            if pair_losses is not None:
                each = objective_loss(logits.detach(), wanted, objective, reduction="none")  # without label smoothing
                pair = pair_loss(predicted.float(), each, loss_head["criterion"], loss_head["margin"])
                pair_losses[local] = pair.detach()
                total_loss = loss + loss_head["weight"] * pair
            optimizer.zero_grad(set_to_none=True)
            total_loss.backward()
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
            optimizer.step()
            losses[local] = loss.detach()
            if local + 1 - fetched == FETCH or batch + 1 == stop:
                fetched = fetch(local + 1)
                bar.set_postfix_str(f"loss {float(losses[local]):.3f}", refresh=False)
            if monitor is not None and monitor.due(batch + 1):
                looking += look(batch + 1)
            # Several processes have one state, and stop together, only where their losses have just been averaged.
            if batch + 1 < stop and (group.world == 1 or fetched == local + 1):
                asked = group.any(checkpoints.stopping()) if checkpoint.kept else False
                if group.main and (asked or checkpoint.due()):
                    keep(local + 1)
                if asked:
                    group.wait()
                    checkpoint.end()
    _settle(group.device)
    model.eval()
    return FinetuneResult(
        optimizer_state=optimizers.state(model, optimizer),
        log={"batch": list(range(start, stop)), "learning_rate": rates, "loss": losses.tolist()}
        | ({"pair_loss": pair_losses.tolist()} if pair_losses is not None else {}),
        curve=curve,
        seconds=time.perf_counter() - began - looking,
        monitor_seconds=looking,
        processes=group.world,
        main=group.main,
    )


def _go_on(kept, model: Backbone, optimizer, losses: Tensor, pair_losses: Tensor | None, curve: list) -> tuple:
    """Put back what a checkpoint holds; return batches done, and the seconds spent looking and training."""
    tensors, facts = kept
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    optimizers.load(model, optimizer, tensors)
    losses[: facts["done"]] = tensors["losses"].to(losses.device)
    if pair_losses is not None:
        pair_losses[: facts["done"]] = tensors["pair_losses"].to(losses.device)
    curve += facts["curve"]
    print(f"going on after {facts['done']} batches of this loop", flush=True)
    return facts["done"], facts["looking"], facts["training"]


def _captions(cea, count: int, width: int) -> tuple[Tensor | None, Tensor | None]:
    """Return t (K, d) and α (K,) as float32 tensors without gradients; on the CPU, as the set may be large."""
    if cea is None:
        return None, None
    text, attention = (torch.from_numpy(np.array(part, dtype=np.float32)) for part in cea[:2])
    if text.shape != (count, width) or attention.shape != (count,):
        raise TrainingError(
            f"CEA: text is {tuple(text.shape)} and attention {tuple(attention.shape)}, but {count} images of width "
            f"{width} are trained on; project the text of the selected ids to the backbone's width"
        )
    return text, attention


def _has_random_layers(model: Backbone, recipe: Recipe) -> bool:
    drops = [getattr(module, "drop_prob", 0.0) or 0.0 for module in model.modules()]
    if recipe.drop_path and not any(drops):
        raise TrainingError(
            f"the recipe asks for drop_path {recipe.drop_path:g}, but {model.name} was built without it"
        )
    return any(drops) or any(isinstance(m, _DropoutNd) and m.p > 0 for m in model.modules())


def _settle(device: torch.device) -> None:
    """Let queued work on a GPU finish, so that seconds go to whom they belong."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _diverged(batch: int, rate: float, loss: float, images: Any, drawn: np.ndarray, cea: bool) -> TrainingError:
    ids = ", ".join(str(int(images.ids[position])) for position in drawn[:8]) + (" …" if len(drawn) > 8 else "")
    advice = "a lower learning_rate, clip_norm or warmup under training.overrides, precision float32"
    if cea:
        advice += ", a smaller cea.step"
    return TrainingError(
        f"the loss of batch {batch} is {loss} (learning rate {rate:.3g}, image ids {ids}). Nothing was written. "
        f"Try {advice}; if it happens in the first batches, look at these images and at the weights."
    )
