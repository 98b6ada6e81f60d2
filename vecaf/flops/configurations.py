"""The architectures of pretrained models without their weights: from their folder, the hub's cache, or stated here.

Counting needs shapes alone, so nothing is ever downloaded: a machine on which the models have run has their
configuration, and for the paper's own models it is written down below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vecaf.errors import ArtifactError, ConfigError, first_line
from vecaf.models import hub

# What shapes depend on, from the config.json of each repository on the Hugging Face hub.
STATED: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14": {
        "model_type": "clip_text_model",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
        "vocab_size": 49408,
        "max_position_embeddings": 77,
    },
    "google-bert/bert-large-uncased": {
        "model_type": "bert",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
    },
    "google/mt5-large": {
        "model_type": "mt5",
        "d_model": 1024,
        "d_kv": 64,
        "d_ff": 2816,
        "num_layers": 24,
        "num_decoder_layers": 24,
        "num_heads": 16,
        "feed_forward_proj": "gated-gelu",
        "vocab_size": 250112,
    },
    "openai-community/gpt2-large": {
        "model_type": "gpt2",
        "n_embd": 1280,
        "n_layer": 36,
        "n_head": 20,
        "n_positions": 1024,
        "vocab_size": 50257,
    },
    "Salesforce/blip2-opt-2.7b": {
        "model_type": "blip-2",
        "num_query_tokens": 32,
        "vision_config": {
            "hidden_size": 1408,
            "intermediate_size": 6144,
            "num_hidden_layers": 39,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
        },
        "qformer_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "encoder_hidden_size": 1408,
            "cross_attention_frequency": 2,
        },
        "text_config": {
            "model_type": "opt",
            "hidden_size": 2560,
            "ffn_dim": 10240,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "word_embed_proj_dim": 2560,
            "vocab_size": 50304,
            "max_position_embeddings": 2048,
        },
    },
}


def find(model: str, revision: str | None, role: str) -> tuple[Any, str]:
    """Return the configuration (of transformers) of a model, and where it comes from, in words.

    model: a folder or a name on the Hugging Face hub; revision: branch, tag or commit there; role: what the model is to
    the reader of a message. The folder comes first, then the hub's cache on this machine, then what this module states.
    Raises ArtifactError when none has it and ConfigError when transformers does not know the architecture.
    """
    if folder := hub.given(model):
        return _read(folder, model, role), "the model's folder"
    folder = hub.cached(model, revision, role)
    if folder and (folder / "config.json").is_file():
        return _read(folder, model, role), f"the hub's cache, commit {folder.name}"
    if model in STATED:
        return _stated(STATED[model]), "as stated in vecaf/flops/configurations.py"
    chosen = f", revision='{revision}'" if revision else ""
    raise ArtifactError(
        f"the architecture of the {role} {model} is unknown here: fetch its configuration once where there is a "
        'network, with the same HF_HOME: python -c "from huggingface_hub import hf_hub_download; hf_hub_download('
        f"'{model}', 'config.json'{chosen})\", or name a folder that holds it as the {role}'s `model`"
    )


def _read(folder: Path, model: str, role: str) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and its own
        raise ConfigError(
            f"{role} {model}: transformers {transformers.__version__} cannot tell its architecture from {folder} "
            f"({first_line(error)}); choose another model"
        ) from error


def _stated(values: dict[str, Any]) -> Any:
    import transformers

    given = dict(values)
    return transformers.AutoConfig.for_model(given.pop("model_type"), **given)
