"""Looking at a model while it is finetuned: loss on a fixed probe set, accuracy on a fixed part of the test set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from vecaf.models.backbone import Backbone
from vecaf.models.head import MULTICLASS, Objective, objective_loss
from vecaf.seeds import keyed_uniform
from vecaf.training.precision import autocast


def fixed_subset(seed: int, ids: np.ndarray, count: int) -> np.ndarray:
    """Return the positions, ascending int64, of ``count`` ids (all if there are fewer), the same for every method."""
    return np.sort(np.argsort(keyed_uniform(seed, ids), kind="stable")[:count])


class Monitor:
    """Evaluate at fixed batches of a budget; calling it changes neither the weights nor any random state.

    probe, test: small image sets with ``labels`` and ``read(positions)``, in memory; transform: the evaluation
    transform; total: the cell's budget of batches; points: the model is evaluated every ⌊total / points⌋ batches (at
    least 1) and after the last. Inputs are transformed once and kept on the device where they take at most
    ``cache_bytes``.
    """

    def __init__(
        self,
        probe: Any,
        test: Any,
        transform: Any,
        *,
        total: int,
        points: int = 100,
        objective: Objective = MULTICLASS,
        device: torch.device | str = "cpu",
        batch_size: int = 256,
        precision: str = "auto",
        cache_bytes: int = 1 << 30,
    ):
        self._sets = {"probe": probe, "test": test}
        self._transform, self._objective = transform, objective
        self._device, self._batch_size, self._precision = torch.device(device), batch_size, precision
        self._cache: dict[tuple[str, int], torch.Tensor] = {}
        self._room = cache_bytes
        self.interval, self._total = max(1, math.floor(total / points)), total

    def due(self, done: int) -> bool:
        """Return whether the model is to be looked at after ``done`` batches of the whole budget."""
        return done % self.interval == 0 or done == self._total

    @torch.inference_mode()
    def __call__(self, model: Backbone) -> dict[str, float]:
        """Return probe_loss (mean, without label smoothing) and top1 (share in [0, 1]) of a model."""
        training = model.training
        model.eval()
        loss, hits = 0.0, 0
        for logits, labels in self._logits(model, "probe"):
            loss += float(objective_loss(logits, labels, self._objective, reduction="sum"))
        for logits, labels in self._logits(model, "test"):
            hits += int((logits.argmax(dim=1) == labels).sum())
        model.train(training)
        return {"probe_loss": loss / len(self._sets["probe"]), "top1": hits / len(self._sets["test"])}

    def _logits(self, model: Backbone, name: str):
        images = self._sets[name]
        for start in range(0, len(images), self._batch_size):
            rows = np.arange(start, min(start + self._batch_size, len(images)))
            inputs = self._inputs(name, rows)
            with autocast(self._device, self._precision):
                embedded = model.embed(inputs)
            labels = torch.from_numpy(np.asarray(images.labels[rows], dtype=np.int64)).to(self._device)
            yield model.classify(embedded.float()), labels

    def _inputs(self, name: str, rows: np.ndarray) -> torch.Tensor:
        key = (name, int(rows[0]))
        if key not in self._cache:
            inputs = self._transform(self._sets[name].read(rows), self._device)
            size = inputs.numel() * inputs.element_size()
            if size > self._room:
                return inputs
            self._room -= size
            self._cache[key] = inputs
        return self._cache[key]
