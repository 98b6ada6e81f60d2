"""Which state of a language model stands for a text: the rule of each family, and its arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CLIP = {"clip", "clip_text_model"}
T5 = {"t5", "mt5", "umt5"}
# Encoders whose first token was trained to stand for the whole text. They are listed because transformers does not tell
# them from other masked language models.
BERT = {
    *("albert", "bert", "big_bird", "camembert", "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra"),
    *("ernie", "ibert", "longformer", "megatron-bert", "mobilebert", "modernbert", "mpnet", "nystromformer", "rembert"),
    *("roberta", "roberta-prelayernorm", "roc_bert", "roformer", "squeezebert", "xlm-roberta", "xlm-roberta-xl"),
}


def default_pooling(config: Any) -> str:
    """Return how a family is pooled: the token that its training lets see the whole text, else the mean.

    config: a configuration of transformers. Returns projected_eos, cls, last or mean, as ``pool`` takes them.
    """
    from transformers.models.auto import modeling_auto as auto

    kind = config.model_type
    if kind in CLIP:
        return "projected_eos"
    if kind in BERT:
        return "cls"
    causal = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "last" if causal and not config.is_encoder_decoder else "mean"


def pool(output: Any, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return one vector per text, (B, width) float32.

    output: of a model of transformers, with ``last_hidden_state`` (B, T, width), for ``projected_eos`` with
    ``text_embeds`` (B, width). mask: (B, T), 1 for tokens of the text and 0 for padding, which is on the right.
    """
    if pooling == "projected_eos":
        return output.text_embeds.float()
    hidden = output.last_hidden_state.float()
    if pooling == "cls":
        return hidden[:, 0]
    lengths = mask.sum(dim=1)
    if pooling == "last":
        return hidden.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, hidden.shape[2])).squeeze(1)
    return (hidden * mask[:, :, None]).sum(dim=1) / lengths[:, None]
