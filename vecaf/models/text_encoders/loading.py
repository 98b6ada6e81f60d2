"""Tokenizer and language model from a folder, with everything refused that transformers would let pass in silence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecaf.errors import ArtifactError, ConfigError, first_line
from vecaf.models.text_encoders.pooling import CLIP, T5, default_pooling

if TYPE_CHECKING:
    import torch

DEFAULT_LENGTH = 512  # of models without a limit of their own: what T5 and mT5 were trained on
NO_LIMIT = 10**6  # tokenizers write a larger number, 10³⁰, for “unknown”


@dataclass(frozen=True)
class Loaded:
    """A frozen language model in float32 on the CPU, its tokenizer, and how both are used.

    pooling: as ``pooling.pool`` takes it. max_length: tokens of a caption that are read. folder: where they come from.
    """

    tokenizer: Any
    model: Any
    pooling: str
    max_length: int
    folder: Path

    @property
    def padding(self) -> int:
        """A token to pad with; which one does not matter, since it is masked (GPT-2 has none)."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(token for token in known if token is not None)


def load(folder: Path, name: str, *, pooling: str, precision: str, max_length: int | None) -> Loaded:
    """Return the language model that a folder holds.

    name: of the model in messages. pooling: ``auto`` for the rule of its family. precision: what will be asked of it.
    max_length: tokens, None for the model's own limit. Raises ConfigError for a model that cannot be used as asked, and
    ArtifactError for files that cannot be loaded or lack weights.
    """
    with quiet():
        config = _config(folder, name)
        pooling = default_pooling(config) if pooling == "auto" else pooling
        if precision == "float16" and config.model_type in T5:
            raise ConfigError(
                f"text encoder {name}: activations of T5's family overflow in float16 and would be clipped "
                "without a word; use precision `auto` or `float32`"
            )
        if pooling == "projected_eos" and config.model_type not in CLIP:
            raise ConfigError(
                f"text encoder {name}: pooling projected_eos needs a CLIP model, this is of type "
                f"{config.model_type}; use `auto`, cls, mean or last"
            )
        tokenizer = _tokenizer(folder, name)
        if pooling == "cls" and tokenizer.cls_token_id is None:
            raise ConfigError(f"text encoder {name}: its tokenizer has no CLS token; use pooling mean or last")
        model = _model(folder, name, config, pooling)
    model = model.float().eval().requires_grad_(False)
    return Loaded(tokenizer, model, pooling, _max_length(tokenizer, model, name, max_length), folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting every weight it leaves out (decoders, heads); what is missing is checked."""
    from transformers.utils import logging as reports

    before, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(before)
        if bars:
            reports.enable_progress_bar()


def _config(folder: Path, name: str) -> Any:
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises ValueError, KeyError and its own for what it does not know
        raise ConfigError(
            f"text encoder {name}: transformers {transformers.__version__} does not know its architecture, or it needs "
            f"code of its own, which is never run ({first_line(error)}); choose another model"
        ) from error
    return text_half(config)


def text_half(config: Any) -> Any:
    """Return the configuration of what reads text: of the whole of CLIP its text tower alone."""
    if config.model_type == "clip":  # the image tower stays on disk
        text = config.text_config
        text.projection_dim = config.projection_dim
        return text
    return config


def skeleton(config: Any, pooling: str = "auto") -> torch.nn.Module:
    """Return the encoder of a configuration without weights, on the meta device: what counting needs.

    Its attention is the one that is written out (``eager``), since fused attention cannot be counted.
    """
    import torch

    config = text_half(config)
    cls = _class(config, default_pooling(config) if pooling == "auto" else pooling)
    make = getattr(cls, "_from_config", None) or cls.from_config  # the latter of Auto classes
    with torch.device("meta"), quiet():
        return _encoder(make(config, attn_implementation="eager"), config, cls).eval()


def _tokenizer(folder: Path, name: str) -> Any:
    import transformers

    fast = any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt", "vocab.json"))
    wanted = [] if fast else [part for part in ("sentencepiece", "google.protobuf") if not _importable(part)]
    if wanted:
        raise ConfigError(
            f"text encoder {name}: its tokenizer is a SentencePiece model, which needs packages that are not "
            "installed: python -m pip install sentencepiece protobuf"
        )
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # broken JSON, unknown classes, missing packages
        raise ArtifactError(f"text encoder {name}: its tokenizer cannot be loaded ({first_line(error)})") from error


def _importable(package: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it is missing, too
        return False


def _model(folder: Path, name: str, config: Any, pooling: str) -> Any:
    """Return the model, only the text half of CLIP and the encoder of an encoder-decoder; refuses missing weights."""
    cls = _class(config, pooling)
    try:
        model, report = cls.from_pretrained(folder, config=config, output_loading_info=True, trust_remote_code=False)
    except Exception as error:  # safetensors, torch and transformers each have their own
        raise ArtifactError(
            f"text encoder {name}: its weights in {folder} cannot be loaded as {config.model_type} "
            f"({first_line(error)}); fetch or save them again"
        ) from error
    # Weights that a file lacks are drawn at random without an error. BERT's pooler may be: nothing here reads it.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise ArtifactError(
            f"text encoder {name}: its file of weights lacks {len(missing)} tensors of a {type(model).__name__} "
            f"(the first is {missing[0]}), which would be random; fetch or save the model again, or change `pooling`"
        )
    return _encoder(model, config, cls)


def _class(config: Any, pooling: str) -> Any:
    """Return the class of transformers that holds the text half of a model."""
    import transformers

    if config.model_type in CLIP:
        projected = pooling == "projected_eos"
        return transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    if type(config) in transformers.models.auto.modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING:
        return transformers.AutoModelForTextEncoding  # of T5 and mT5 the encoder alone
    return transformers.AutoModel


def _encoder(model: Any, config: Any, cls: Any) -> Any:
    import transformers

    return model.get_encoder() if config.is_encoder_decoder and cls is transformers.AutoModel else model


def _max_length(tokenizer: Any, model: Any, name: str, asked: int | None) -> int:
    """Return how many tokens of a caption are read; ConfigError where the model or its special tokens forbid it."""
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    for path, module in model.named_modules():  # RoBERTa's positions begin behind that of the padding
        if path.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions = module.num_embeddings - module.padding_idx - 1
    limits = [limit for limit in (positions, tokenizer.model_max_length) if 0 < limit < NO_LIMIT]
    length = asked or min(limits, default=DEFAULT_LENGTH)
    special = tokenizer.num_special_tokens_to_add()
    if 0 < positions < length or length <= special:
        allowed = f"between {special + 1} and {positions}" if positions > 0 else f"at least {special + 1}"
        raise ConfigError(f"text encoder {name}: max_length {length} must be {allowed} tokens")
    return length
