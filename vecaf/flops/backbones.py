"""MACs of backbones: an image's forward pass, a training step, and heads that predict losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vecaf.errors import ConfigError
from vecaf.flops import TRAINING_STEP
from vecaf.flops.counting import Count, count, described
from vecaf.models import backbone


def forward(model: backbone.Backbone, input_size: int) -> Count:
    """Return the count of one image's embedding, without the head; raises CountError (see ``counting.count``)."""
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, input_size, input_size, device=device)
    return count(model, image, call=lambda model, image: model.embed(image))


def profile(spec: Mapping[str, Any], input_sizes: Sequence[int], loss_heads: Sequence[int] = ()) -> dict[str, Any]:
    """Return what one image costs a backbone, as plain JSON.

    spec: as of ``backbone.build``; its weights are random, since shapes alone count. input_sizes: sides of the images,
    px. loss_heads: hidden widths of heads that predict losses. sizes: side → macs of the embedding and of one image in
    training (training_step); width: d, to which a linear head adds d·C; loss_heads: hidden width → MACs, where the
    backbone has the depths for it.
    """
    sizes = {}
    for side in input_sizes:
        model = backbone.build(spec, 0, input_size=side)
        found = forward(model, side)
        sizes[str(side)] = described(found, model) | {"training_step": TRAINING_STEP * found.macs}
    heads = {str(hidden): macs for hidden in loss_heads if (macs := _loss_head(model, hidden)) is not None}
    source = f"timm's {spec['timm']}, random weights"
    return {"sizes": sizes, "width": model.width, "loss_heads": heads, "source": source}


def uncounted(spec: Mapping[str, Any], input_sizes: Sequence[int], loss_heads: Sequence[int] = ()) -> dict[str, Any]:
    """Return what ``profile`` does with all MACs 0, for those who ask for sizes alone: nothing is drawn or computed."""
    sizes = {}
    for side in input_sizes:
        with torch.device("meta"):
            model = backbone.build(spec, 0, input_size=side)
        sizes[str(side)] = described(Count(0, {}, {}), model) | {"training_step": 0}
    heads = {str(hidden): 0 for hidden in loss_heads}
    return {"sizes": sizes, "width": model.width, "loss_heads": heads, "source": f"timm's {spec['timm']}, not counted"}


def _loss_head(model: backbone.Backbone, hidden: int) -> int | None:
    """Return the MACs of a loss-prediction head on one image, None for a backbone without four depths."""
    try:
        model.add_loss_head(hidden, seed=0)
    except ConfigError:
        return None
    features = [torch.zeros(1, branch.in_features) for branch in model.loss_head.branches]
    return count(model.loss_head, *features, call=lambda head, *parts: head(parts)).macs
