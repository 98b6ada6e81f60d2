"""MACs of text encoders: a caption of a stated length through the text tower, built from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vecaf.flops import configurations
from vecaf.flops.counting import count, described, uncounted
from vecaf.models import text_encoders
from vecaf.models.text_encoders import loading

# Captions are counted at their longest: what BLIP-2 generates by default, and a special token at either end.
CAPTION_TOKENS = 32
# Kinds without a neural network: a lookup, and singular vectors of sparse counts.
FREE = frozenset({"one_hot", "tfidf"})


def profile(spec: Mapping[str, Any], tokens: int = CAPTION_TOKENS) -> dict[str, Any]:
    """Return what one caption of so many tokens costs a text encoder, as plain JSON; of CLIP the text tower alone.

    spec: kind and parameters. macs: None for a kind that is not known to be counted or free; width: of the embedding,
    None where it is not known without the model.
    """
    if spec["kind"] != "transformers":
        width = text_encoders.build(spec).width if spec["kind"] in FREE else None
        return uncounted(spec["kind"], FREE) | {"tokens": None, "width": width}
    params = text_encoders.build(spec).params
    config, source = configurations.find(params.model, params.revision, "text encoder")
    model = loading.skeleton(config, params.pooling)
    widths = []

    def embed(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
        embedded = model(input_ids=ids, attention_mask=mask)[0]
        widths.append(int(embedded.shape[-1]))
        return embedded

    with torch.device("meta"):
        ids = torch.ones(1, tokens, dtype=torch.long)
        found = count(model, ids, ids, call=embed)
    return {**described(found, model), "source": f"{params.model}, {source}", "tokens": tokens, "width": widths[0]}
