"""MACs of captioners: BLIP-2's vision tower, Q-Former and language model, built from its configuration alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vecaf.errors import ConfigError
from vecaf.flops import configurations
from vecaf.flops.counting import Count, count, uncounted
from vecaf.models import captioners
from vecaf.models.captioners import blip2

# Kinds without a neural network: rules and lookups.
FREE = frozenset({"attributes", "class_name", "dataset"})


def profile(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one caption costs a captioner, as plain JSON.

    spec: kind and parameters. macs: of vision tower, Q-Former and language model together, see parts; the language
    model reads the image's tokens and the prompt and generates ``max_new_tokens``, the longest caption, one by one with
    its keys and values kept. None for a kind that is not known to be counted or free.
    """
    if spec["kind"] != "blip2":
        return uncounted(spec["kind"], FREE) | {"tokens": None}
    import transformers

    params = captioners.build(spec).params
    config, source = configurations.find(params.model, params.revision, "captioner")
    with torch.device("meta"):
        model = transformers.Blip2ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
        parts = _parts_of_blip2(model, config, _prompt_tokens(params), params.max_new_tokens)
    macs = sum(part.macs for part in parts.values())
    return {
        "macs": macs,
        "parts": {name: part.macs for name, part in parts.items()},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "source": f"{params.model}, {source}",
        "tokens": params.max_new_tokens,
    }


def _parts_of_blip2(model: nn.Module, config: Any, prompt: int, generated: int) -> dict[str, Count]:
    side, queries = config.vision_config.image_size, config.num_query_tokens
    vision = _without_convolutions(model.vision_model)
    image = torch.zeros(1, 3, side, side)
    patches = torch.zeros(1, (side // config.vision_config.patch_size) ** 2 + 1, config.vision_config.hidden_size)
    asked = torch.zeros(1, queries, config.qformer_config.hidden_size)
    given = torch.zeros(1, queries + 1 + prompt, model.language_projection.out_features)
    return {
        "vision": count(vision, image, call=lambda part, image: part(pixel_values=image)[0]),
        "q_former": count(
            model.qformer,
            asked,
            patches,
            call=lambda part, asked, seen: part(query_embeds=asked, encoder_hidden_states=seen)[0],
        ),
        "projection": count(model.language_projection, asked),
        "language": _generation(model.language_model, given, generated, config.use_decoder_only_language_model),
    }


def _generation(model: nn.Module, given: Tensor, generated: int, decoder_only: bool) -> Count:
    """Return the count of generating tokens after embeddings (1, P, width) of image and prompt.

    One pass over all positions does the products of a pass over the prompt and one more for each token: keys and values
    are kept. The last token is not read again. Attention is counted over the whole square, which is 0.4 % too much for
    OPT-2.7B.
    """
    if decoder_only:
        read = torch.zeros(1, given.shape[1] + generated - 1, given.shape[2])
        return count(
            model, read, call=lambda part, x: part(inputs_embeds=x, logits_to_keep=generated, use_cache=False).logits
        )
    written = torch.ones(1, generated, dtype=torch.long)
    return count(
        model,
        given,
        written,
        call=lambda part, x, y: part(inputs_embeds=x, decoder_input_ids=y, use_cache=False).logits,
    )


def _prompt_tokens(params: blip2.Params) -> int:
    """Return how many tokens a prompt has, with one for each word and mark, since a vocabulary may not be here."""
    text = blip2.KEYWORD_PROMPT if params.class_keyword else params.prompt or ""
    return len(re.findall(r"\w+|[^\w\s]", text.replace("{class_name}", "class")))


class _Patches(nn.Module):
    """A convolution whose patches do not overlap, as the product of the patches and its weight."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.weight, self.bias, self.side = convolution.weight, convolution.bias, convolution.kernel_size[0]

    def forward(self, images: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        rows, columns, side = int(height) // self.side, int(width) // self.side, self.side
        parts = images.reshape(int(batch), int(channels), rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
        patches = parts.reshape(int(batch), rows * columns, int(channels) * side * side)
        embedded = nn.functional.linear(patches, self.weight.flatten(1), self.bias)
        return embedded.transpose(1, 2).reshape(int(batch), self.weight.shape[0], rows, columns)


def _without_convolutions(module: nn.Module) -> nn.Module:
    """Put products in place of patch embeddings: torch cannot trace a convolution on the meta device."""
    for parent in module.modules():
        for name, part in parent.named_children():
            if isinstance(part, nn.Conv2d):
                if part.kernel_size != part.stride or part.padding != (0, 0) or part.groups != 1:
                    raise ConfigError(f"{type(module).__name__}: its convolution {name} is no patch embedding")
                setattr(parent, name, _Patches(part))
    return module
