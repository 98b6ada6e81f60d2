"""Pretrained language models as text encoders: CLIP, BERT, T5, GPT-2 and whatever else transformers' Auto classes load.

They are frozen. Captions are padded on the right in every family and each caption is pooled over its own tokens, so
that what it is batched with does not matter.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from vecaf import artifacts
from vecaf.errors import ArtifactError, ConfigError, DataError
from vecaf.models.text_encoders import base

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
DEFAULT_LENGTH = 512  # of models without a limit of their own: what T5 and mT5 were trained on
NO_LIMIT = 10**6  # tokenizers write a larger number, 10³⁰, for “unknown”
WINDOW = 32  # batches whose captions are tokenised and sorted by length together
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # in this order: only one kind is loaded
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
HUB_TIMEOUT = 10  # seconds until a hub that does not answer counts as out of reach


class Params(base.Params):
    model: str = Field(min_length=1, description="name on the Hugging Face hub, or a folder that save_pretrained wrote")
    pooling: Literal["auto", "projected_eos", "cls", "mean", "last"] = Field(
        "auto", description="auto: CLIP projected_eos, BERT's family cls, causal models last, T5 and all others mean"
    )
    max_length: int | None = Field(None, ge=3, description="longest caption in tokens; null: the model's own limit")
    batch_size: int = Field(256, ge=1, description="captions of one forward pass")
    revision: str | None = Field(None, description="branch, tag or commit on the hub; null: main")
    precision: Literal["auto", "float32", "float16"] = Field(
        "auto", description="auto: float16 on a GPU (T5's family, which overflows there: float32), float32 on a CPU"
    )


@dataclass(frozen=True)
class _Loaded:
    tokenizer: Any
    model: Any
    pooling: str
    max_length: int
    folder: Path


@base.register("transformers")
class Pretrained(base.TextEncoder):
    """The pooled output of a frozen language model of transformers.

    Pooling: ``projected_eos`` is CLIP's ``text_embeds``; ``cls`` the last hidden state of the first token, without
    BERT's pooler, which pretraining fits to another task; ``mean`` the mean over the caption's tokens, special ones
    included; ``last`` the state of its last token. Weights stay float32, a GPU may compute in float16. The encoder is
    loaded when it is first used and the width is that of a probe. Raises ArtifactError for weights that cannot be had
    and ConfigError for a model that cannot be used as asked.
    """

    Params = Params
    uses_gpu = True

    def __init__(self, params: Params, seed: int = 0):
        super().__init__(params, seed)
        self.truncated = 0  # captions that the last call cut

    @cached_property
    def loaded(self) -> _Loaded:
        """Tokenizer and model, on the CPU until captions are encoded elsewhere."""
        folder = locate(self.params.model, self.params.revision)
        return _load(folder, self.params)

    @cached_property
    def width(self) -> int:
        device = next(self.loaded.model.parameters()).device
        try:
            return self._embed(self._tokenize(["a"]), device).shape[1]
        except (TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            kind = self.loaded.model.config.model_type
            raise ConfigError(
                f"text encoder {self.params.model}: a model of type {kind} does not embed text alone "
                f"({_first_line(error)}); name a language model"
            ) from error

    def batches(self, captions: Sequence[str], device="cpu"):
        """Yield (rows, embeddings), shortest captions first within each window; see the base class.

        Only a window of captions is tokenised at a time. Logs one warning when captions were cut at ``max_length``.
        """
        import torch
        from tqdm import tqdm

        if self.params.precision == "float16" and torch.device(device).type == "cpu":
            raise ConfigError(
                f"text encoder {self.params.model}: precision float16 needs a GPU; use `auto`, which is float32 here"
            )
        self.loaded.model.to(device)
        self.truncated = 0
        size = self.params.batch_size
        with tqdm(total=len(captions), unit="caption", disable=None, leave=False) as bar:
            for start in range(0, len(captions), WINDOW * size):
                texts = captions[start : start + WINDOW * size]
                tokens = self._tokenize(texts, start)
                # Captions of like length share a batch: padding is work for nothing.
                order = np.argsort([len(ids) for ids in tokens], kind="stable")
                for first in range(0, len(order), size):
                    rows = order[first : first + size]
                    yield start + rows, self._embed([tokens[row] for row in rows], device)
                    bar.update(len(rows))
        if self.truncated:
            logging.getLogger(__name__).warning(
                f"{self.truncated} of {len(captions)} captions are longer than the {self.loaded.max_length} tokens of "
                f"{self.params.model} and were cut there"
            )

    def facts(self) -> dict[str, Any]:
        """Return what the embeddings were made with: hashes of the weights, commit, pooling, limit, captions cut."""
        folder = self.loaded.folder
        return {
            "commit": folder.name if folder.parent.name == "snapshots" else None,
            "weights": {path.name: artifacts.file_hash(path) for path in _weights(folder)},
            "pooling": self.loaded.pooling,
            "max_length": self.loaded.max_length,
            "truncated": self.truncated,
        }

    def _tokenize(self, texts: Sequence[str], start: int = 0) -> list[list[int]]:
        """Return the token ids of each caption, special tokens included, cut at the limit and not padded."""
        tokenizer, limit = self.loaded.tokenizer, self.loaded.max_length
        asked = {"return_attention_mask": False, "padding": False}
        tokens = tokenizer(list(texts), truncation=True, max_length=limit, **asked)["input_ids"]
        if (empty := next((row for row, ids in enumerate(tokens) if not ids), None)) is not None:
            raise DataError(
                f"the caption of id {start + empty} has no words for {self.params.model}: {texts[empty]!r}; "
                "write the captions of this pool again"
            )
        full = [text for text, ids in zip(texts, tokens, strict=True) if len(ids) >= limit]
        if full:
            whole = tokenizer(full, truncation=False, verbose=False, **asked)["input_ids"]
            self.truncated += sum(len(ids) > limit for ids in whole)
        return tokens

    def _embed(self, tokens: Sequence[Sequence[int]], device: torch.device | str) -> np.ndarray:
        """Return the embeddings (B, width) float32 of captions as token ids."""
        import torch

        lengths = torch.tensor([len(ids) for ids in tokens])
        padded = torch.full((len(tokens), int(lengths.max())), _padding(self.loaded.tokenizer))
        for row, ids in enumerate(tokens):
            padded[row, : len(ids)] = torch.tensor(ids)
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        padded, mask = padded.to(device), mask.to(device)
        kind, half = torch.device(device).type, self._half(device)
        with torch.inference_mode(), torch.autocast(kind, dtype=torch.float16 if half else None, enabled=half):
            output = self.loaded.model(input_ids=padded, attention_mask=mask)
        return pool(output, mask, self.loaded.pooling).cpu().numpy()

    def _half(self, device: torch.device | str) -> bool:
        """Whether a device computes in float16."""
        import torch

        asked = self.params.precision != "float32" and self.loaded.model.config.model_type not in T5
        return asked and torch.device(device).type == "cuda"


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


def locate(model: str, revision: str | None = None) -> Path:
    """Return the folder of a model: the given one, else that of the hub's cache, filled from the hub where it must be.

    The cache is looked at first and an unreachable hub is given up at once, since compute nodes have no network.
    Raises ArtifactError that says how to fetch what is missing.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError

    folder = Path(model).expanduser()
    if folder.is_dir():
        if lacks := _lacking(folder):
            raise ArtifactError(
                f"text encoder {model}: the folder has no {' and no '.join(lacks)}; write model and tokenizer there "
                "with save_pretrained, or name a model of the Hugging Face hub"
            )
        return folder
    cached = None
    try:
        cached = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise ArtifactError(
            f"text encoder {model}: there is no such folder, and it is no name on the Hugging Face hub"
        ) from error
    except OSError:  # LocalEntryNotFoundError: nothing of this model or revision is cached
        pass
    if cached is not None and not _lacking(cached):
        return cached
    try:
        files = [file.rfilename for file in HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT).siblings]
        fetched = Path(snapshot_download(model, revision=revision, allow_patterns=_needed(files)))
    except Exception as error:  # hub, network and cache errors have no common type
        raise ArtifactError(_how_to_fetch(model, revision, _first_line(error))) from error
    if lacks := _lacking(fetched):
        raise ArtifactError(f"text encoder {model}: its repository on the hub has no {' and no '.join(lacks)}")
    return fetched


def _how_to_fetch(model: str, revision: str | None, reason: str) -> str:
    chosen = f", revision='{revision}'" if revision else ""
    patterns = ", ".join(repr(pattern) for pattern in ("*.json", "*.txt", "*.model", *WEIGHTS))
    return (
        f"the weights of the text encoder {model} are not in the Hugging Face cache and cannot be downloaded here "
        f'({reason}). Fetch them once where there is a network: python -c "from huggingface_hub import '
        f"snapshot_download; snapshot_download('{model}'{chosen}, allow_patterns=[{patterns}])\" (cached under "
        "HF_HOME), or name a local folder as the encoder's `model`."
    )


def _needed(files: Sequence[str]) -> list[str]:
    """Return those files of a repository that are loaded; others repeat the weights for other libraries."""
    top = [Path(file) for file in files if "/" not in file]
    weights = next((found for pattern in WEIGHTS if (found := [file for file in top if file.match(pattern)])), [])
    return [file.name for file in top if file in weights or file.suffix in (".json", ".txt", ".model")]


def _weights(folder: Path) -> list[Path]:
    return next((found for pattern in WEIGHTS if (found := sorted(folder.glob(pattern)))), [])


def _lacking(folder: Path) -> list[str]:
    """Name the parts of a saved model that a folder lacks; without a vocabulary transformers would invent one."""
    vocabularies = [path for pattern in VOCABULARIES for path in folder.glob(pattern)]
    parts = {
        "configuration (config.json)": (folder / "config.json").is_file(),
        "weights (model.safetensors)": bool(_weights(folder)),
        "tokenizer (tokenizer.json or a vocabulary)": bool(vocabularies),
    }
    return [name for name, there in parts.items() if not there]


def _load(folder: Path, params: Params) -> _Loaded:
    with _quiet():
        config = _config(folder, params.model)
        pooling = _pooling(config) if params.pooling == "auto" else params.pooling
        if params.precision == "float16" and config.model_type in T5:
            raise ConfigError(
                f"text encoder {params.model}: activations of T5's family overflow in float16 and would be clipped "
                "without a word; use precision `auto` or `float32`"
            )
        if pooling == "projected_eos" and config.model_type not in CLIP:
            raise ConfigError(
                f"text encoder {params.model}: pooling projected_eos needs a CLIP model, this is of type "
                f"{config.model_type}; use `auto`, cls, mean or last"
            )
        tokenizer = _tokenizer(folder, params.model)
        if pooling == "cls" and tokenizer.cls_token_id is None:
            raise ConfigError(f"text encoder {params.model}: its tokenizer has no CLS token; use pooling mean or last")
        model = _model(folder, params.model, config, pooling)
    model = model.float().eval().requires_grad_(False)
    return _Loaded(tokenizer, model, pooling, _max_length(tokenizer, model, params), folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
            f"code of its own, which is never run ({_first_line(error)}); choose another model"
        ) from error
    if config.model_type == "clip":  # the image tower stays on disk
        text = config.text_config
        text.projection_dim = config.projection_dim
        return text
    return config


def _pooling(config: Any) -> str:
    """Return how a family is pooled: the token that its training lets see the whole text, else the mean."""
    from transformers.models.auto import modeling_auto as auto

    kind = config.model_type
    if kind in CLIP:
        return "projected_eos"
    if kind in BERT:
        return "cls"
    causal = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "last" if causal and not config.is_encoder_decoder else "mean"


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
        raise ArtifactError(f"text encoder {name}: its tokenizer cannot be loaded ({_first_line(error)})") from error


def _importable(package: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it is missing, too
        return False


def _model(folder: Path, name: str, config: Any, pooling: str) -> Any:
    """Return the model, only the text half of CLIP and the encoder of an encoder-decoder; refuses missing weights."""
    import transformers

    if config.model_type in CLIP:
        projected = pooling == "projected_eos"
        cls = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    elif type(config) in transformers.models.auto.modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING:
        cls = transformers.AutoModelForTextEncoding  # of T5 and mT5 the encoder alone
    else:
        cls = transformers.AutoModel
    try:
        model, report = cls.from_pretrained(folder, config=config, output_loading_info=True, trust_remote_code=False)
    except Exception as error:  # safetensors, torch and transformers each have their own
        raise ArtifactError(
            f"text encoder {name}: its weights in {folder} cannot be loaded as {config.model_type} "
            f"({_first_line(error)}); fetch or save them again"
        ) from error
    # Weights that a file lacks are drawn at random without an error. BERT's pooler may be: nothing here reads it.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise ArtifactError(
            f"text encoder {name}: its file of weights lacks {len(missing)} tensors of a {type(model).__name__} "
            f"(the first is {missing[0]}), which would be random; fetch or save the model again, or change `pooling`"
        )
    return model.get_encoder() if config.is_encoder_decoder and cls is transformers.AutoModel else model


def _max_length(tokenizer: Any, model: Any, params: Params) -> int:
    """Return how many tokens of a caption are read; ConfigError where the model or its special tokens forbid it."""
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    for name, module in model.named_modules():  # RoBERTa's positions begin behind that of the padding
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions = module.num_embeddings - module.padding_idx - 1
    limits = [limit for limit in (positions, tokenizer.model_max_length) if 0 < limit < NO_LIMIT]
    length = params.max_length or min(limits, default=DEFAULT_LENGTH)
    special = tokenizer.num_special_tokens_to_add()
    if 0 < positions < length or length <= special:
        allowed = f"between {special + 1} and {positions}" if positions > 0 else f"at least {special + 1}"
        raise ConfigError(f"text encoder {params.model}: max_length {length} must be {allowed} tokens")
    return length


def _padding(tokenizer: Any) -> int:
    """Return a token to pad with; which one does not matter, since it is masked (GPT-2 has none)."""
    known = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in known if token is not None)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
