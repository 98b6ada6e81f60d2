"""Scoring: what a model says about every image of a pool, in the order of ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from vecaf import checkpoint as checkpoints
from vecaf.errors import TrainingError
from vecaf.models.backbone import Backbone
from vecaf.models.head import MULTICLASS, Objective, objective_loss
from vecaf.training.precision import autocast


@torch.inference_mode()
def score(
    model: Backbone,
    images: Any,
    transform: Any,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
    objective: Objective | None = MULTICLASS,
    embeddings: np.ndarray | None = None,
    logits: np.ndarray | None = None,
    predicted_losses: np.ndarray | None = None,
    precision: str = "auto",
    workers: int = 0,
    checkpoint: checkpoints.Checkpoint = checkpoints.NOTHING,
) -> np.ndarray | None:
    """Write the embeddings of all images into a given array, and return their losses.

    images: with ``labels``, ``ids`` and ``batches``; transform: a deterministic one, normalised images of a batch.
    embeddings, logits, predicted_losses: writable (N, d), (N, C) and (N,) arrays or memory maps, filled batch by batch
    in the order of ids; the last needs a model with a loss head. objective: as ``resolve_objective`` returns it; None
    for a model without a head. Returns the per-sample losses (N,) float32 without label smoothing, or None without an
    objective. The backbone may run in bfloat16, head and losses always run in float32. Raises TrainingError naming the
    first id whose embedding is not finite, and where labels and head disagree. A checkpoint keeps rows in parts, each
    written once.
    """
    if objective is not None:
        check_labels(model, images.labels)
    losses = np.empty(len(images), dtype=np.float32) if objective is not None else None
    model.eval()
    found = {"embeddings": embeddings, "losses": losses, "predicted": predicted_losses, "logits": logits}
    found = {name: values for name, values in found.items() if values is not None}
    part = checkpoint.part(kept := _go_on(checkpoint, found))
    for rows, embedded, predicted in embed_batches(
        model,
        images,
        transform,
        device=device,
        batch_size=batch_size,
        precision=precision,
        workers=workers,
        start=kept,
    ):
        finite = torch.isfinite(embedded).all(dim=1)
        if not finite.all():
            first = int(images.ids[rows][int((~finite).nonzero()[0])])
            raise TrainingError(
                f"{model.name} gives a non-finite embedding for image id {first}: its weights have diverged (finetune "
                "again with a lower learning rate) or the image's values are not finite"
            )
        if embeddings is not None:
            embeddings[rows] = embedded.cpu().numpy()
        if predicted_losses is not None:
            predicted_losses[rows] = predicted.float().cpu().numpy()
        if objective is not None:
            values = model.classify(embedded)
            labels = torch.from_numpy(np.asarray(images.labels[rows], dtype=np.int64)).to(device)
            losses[rows] = objective_loss(values, labels, objective, reduction="none").cpu().numpy()
            if logits is not None:
                logits[rows] = values.cpu().numpy()
        if part.due() and rows.stop < len(images):
            _keep(part, found, slice(kept, rows.stop))
            part.end_if_asked()
            part = checkpoint.part(kept := rows.stop)
    return losses


def _go_on(checkpoint: checkpoints.Checkpoint, found: dict[str, np.ndarray]) -> int:
    """Put back the rows that checkpoints hold; return how many they are."""
    done = 0
    while (kept := checkpoint.part(done).load()) is not None:
        tensors, stop = kept
        for name, values in found.items():
            values[done:stop] = tensors[name].numpy()
        done = stop
    if done:
        print(f"going on after {done} images", flush=True)
    return done


def _keep(part: checkpoints.Checkpoint, found: dict[str, np.ndarray], rows: slice) -> None:
    part.save({name: torch.from_numpy(np.array(values[rows])) for name, values in found.items()}, rows.stop)


def embed_batches(
    model: Backbone,
    images: Any,
    transform: Any,
    *,
    device: Any,
    batch_size: int,
    precision: str,
    workers: int = 0,
    start: int = 0,
):
    """Yield (row slice, embeddings (B, d) float32 on the device, predicted losses or None) in order, from a start."""
    starts = range(start, len(images), batch_size)
    slices = [slice(first, min(first + batch_size, len(images))) for first in starts]
    rows = [np.arange(part.start, part.stop) for part in slices]
    pixels = images.batches(rows, workers=workers)
    for part, batch in zip(tqdm(slices, unit="batch", disable=None, leave=False), pixels, strict=True):
        inputs = transform(batch, device)
        with autocast(device, precision):
            embedded, predicted = model.embed_and_predict(inputs)
        yield part, embedded.float(), predicted


def check_labels(model: Backbone, labels: np.ndarray) -> None:
    """Raise TrainingError when a label has no logit."""
    classes = getattr(model.head, "out_features", 0)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise TrainingError(
            f"labels {int(labels.min())} … {int(labels.max())} do not fit a head of {classes} classes; "
            "build the backbone with the dataset's number of classes"
        )
