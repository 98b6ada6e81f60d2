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

    images: with ``labels``, ``batches`` and, for a one-vs-all objective, ``classes`` (names); transform: the
    deterministic evaluation transform. metrics: top1 (share of correct images), mean_per_class (mean over the classes
    that occur), per_class (C shares, None for a class without images), n, and for a one-vs-all objective one_vs_all:
    the name of the target and the shares of ``one_vs_all``. Shares are in [0, 1]. Raises TrainingError when labels and
    head disagree.
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
    metrics = accuracies(predictions, images.labels, model.head.out_features)
    if target is not None:
        positive = objective["one_vs_all"]
        shares = one_vs_all(predictions, target, images.labels, positive)
        metrics["one_vs_all"] = {"target": images.classes[positive], **shares}
    return Evaluation(metrics, predictions, confidence, target)


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


def one_vs_all(
    predictions: np.ndarray, probability: np.ndarray, labels: np.ndarray, target: int
) -> dict[str, float | None]:
    """Return how well one class is told from all others, as shares in [0, 1].

    predictions: (N,) classes of the C-way classifier; probability: (N,) of the target in the binary view; labels: (N,).
    recall_argmax: of the target's images, those predicted as it among the C classes, the measure of the released
    code's ``class_eval.py``. recall_half: those of probability above ½. binary_accuracy: images on their own side of ½.
    balanced_accuracy: mean of recall_half and the share of the other images at or below ½. A share of no images is
    None.
    """
    positive, said = labels == target, probability > 0.5
    recall, rejected = _share(said[positive]), _share(~said[~positive])
    return {
        "recall_argmax": _share(predictions[positive] == target),
        "recall_half": recall,
        "binary_accuracy": _share(said == positive),
        "balanced_accuracy": None if recall is None or rejected is None else (recall + rejected) / 2,
    }


def _share(hits: np.ndarray) -> float | None:
    return float(hits.mean()) if len(hits) else None
