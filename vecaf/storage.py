"""How much disk a study takes at most: what stays, and what the cells that run at one time hold besides."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

FLOAT = 4  # bytes


def peak_bytes(
    cells: Sequence[Mapping[str, Any]], pools: Mapping[str, int], jobs: int, keep: Mapping[str, bool]
) -> int:
    """Return the most bytes below the study's root.

    cells: backbone (timm, args, width), dataset, number of loops, bytes of an embedding's number. pools: dataset →
    images. jobs: cells that run at one time. keep: ``final_weights``, ``intermediates``. Counts weights, embeddings
    and momentum, which are nearly all of it; tables, records, captions and logs come to some megabytes a cell.
    """
    stays, runs, shared = 0.0, [], {}
    for cell in cells:
        weights = FLOAT * parameters(cell["backbone"]["timm"], _frozen(cell["backbone"].get("args", {})))
        embeddings = pools.get(cell["dataset"], 0) * cell["backbone"]["width"] * cell["number_bytes"]
        # Of the pretrained backbone: its weights, the pool's embeddings, and those with captions.
        shared[(cell["dataset"], cell["backbone"]["timm"])] = weights + 2 * embeddings
        between = 2 * weights + 2 * embeddings  # weights and momentum of a loop; plain and augmented embeddings
        stays += keep["final_weights"] * weights
        stays += keep["intermediates"] * between * (cell["loops"] - 1)
        # While a loop is trained: what it reads, what it has checkpointed, and what it writes.
        runs.append(between + 2 * weights + 2 * weights)
    return int(stays + sum(sorted(runs, reverse=True)[:jobs]) + sum(shared.values()))


def held_bytes(root: str | Path) -> int:
    """Return the bytes of all files below a folder; one that is deleted meanwhile counts nothing."""
    total = 0
    for folder, _, files in os.walk(root):
        for file in files:
            with contextlib.suppress(OSError):
                total += (Path(folder) / file).lstat().st_size
    return total


def _frozen(arguments: Mapping[str, Any]) -> tuple:
    return tuple(sorted(arguments.items()))


@cache
def parameters(timm_name: str, arguments: tuple = ()) -> int:
    """Return the number of a timm model's parameters, counted from shapes alone."""
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model(timm_name, pretrained=False, num_classes=0, **dict(arguments))
    return sum(parameter.numel() for parameter in model.parameters())
