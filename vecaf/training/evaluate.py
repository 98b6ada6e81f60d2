"""Evaluation of a model on a labelled set: accuracies and what it says about every image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from vecaf.models.backbone import Backbone
from vecaf.models.head import MULTICLASS, Objective, one_vs_all_logits
from vecaf.training.score import check_labels, embed_batches


class Evaluation(NamedTuple):
    """metrics: plain JSON; predictions: (N,) int16 classes; confidence: (N,) float32 probability of the predicted
    class; target: (N,) float32 probability of the target class, None unless the objective is one-vs-all."""

    metrics: dict[str, Any]
    predictions: np.ndarray
    confidence: np.ndarray
    target: np.ndarray | None


@torch.inference_mode()
def evaluate(
    model: Backbone,
    images: Any,
    transform: Any,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
    objective: Objective = MULTICLASS,
    precision: str = "auto",
    workers: int = 0,
) -> Evaluation:
    """Return accuracies of the C-way classifier and its per-image predictions, in the order of ids.

    images: with ``labels`` and ``batches``; transform: the deterministic evaluation transform. metrics: top1 (share of
    correct images), mean_per_class (mean over the classes that occur), per_class (C shares, None for a class without
    images), n. Shares are in [0, 1]. Raises TrainingError when labels and head disagree.
    """
    check_labels(model, images.labels)
    model.eval()
    predictions = np.empty(len(images), dtype=np.int16)
    confidence = np.empty(len(images), dtype=np.float32)
    target = None if objective == MULTICLASS else np.empty(len(images), dtype=np.float32)
    for rows, embedded, _ in embed_batches(
        model, images, transform, device=device, batch_size=batch_size, precision=precision, workers=workers
    ):
        logits = model.classify(embedded)
        best = logits.softmax(dim=1).max(dim=1)
        predictions[rows], confidence[rows] = best.indices.cpu().numpy(), best.values.cpu().numpy()
        if target is not None:
            target[rows] = one_vs_all_logits(logits, objective).softmax(dim=1)[:, 1].cpu().numpy()
    return Evaluation(accuracies(predictions, images.labels, model.head.out_features), predictions, confidence, target)


def accuracies(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> dict[str, Any]:
    """Return top1, mean_per_class, per_class and n of predictions (N,) against labels (N,)."""
    correct = predictions == labels
    images = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[correct], minlength=num_classes)
    per_class = [int(hit) / int(count) if count else None for hit, count in zip(hits, images, strict=True)]
    seen = [share for share in per_class if share is not None]
    return {
        "top1": float(correct.mean()) if len(labels) else None,
        "mean_per_class": sum(seen) / len(seen) if seen else None,
        "per_class": per_class,
        "n": len(labels),
    }
