"""Pretrained language models as text encoders: CLIP, BERT, T5, GPT-2 and whatever else transformers' Auto classes load.

They are frozen. Captions are padded on the right in every family and each caption is pooled over its own tokens, so
that what it is batched with does not matter.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from vecaf import artifacts
from vecaf.errors import ConfigError, DataError, first_line
from vecaf.models import hub
from vecaf.models.text_encoders import base, pooling
from vecaf.models.text_encoders.loading import Loaded, load

if TYPE_CHECKING:
    import torch

WINDOW = 32  # batches whose captions are tokenised and sorted by length together


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
    def loaded(self) -> Loaded:
        """Tokenizer and model, on the CPU until captions are encoded elsewhere."""
        params = self.params
        folder = hub.locate(params.model, params.revision, role="text encoder", weights=hub.SAFETENSORS_OR_PICKLES)
        return load(
            folder, params.model, pooling=params.pooling, precision=params.precision, max_length=params.max_length
        )

    @cached_property
    def width(self) -> int:
        device = next(self.loaded.model.parameters()).device
        try:
            return self._embed(self._tokenize(["a"]), device).shape[1]
        except (TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            kind = self.loaded.model.config.model_type
            raise ConfigError(
                f"text encoder {self.params.model}: a model of type {kind} does not embed text alone "
                f"({first_line(error)}); name a language model"
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
        files = hub.weight_files(folder, hub.SAFETENSORS_OR_PICKLES)
        return {
            "commit": folder.name if folder.parent.name == "snapshots" else None,
            "weights": {path.name: artifacts.file_hash(path) for path in files},
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
        padded = torch.full((len(tokens), int(lengths.max())), self.loaded.padding)
        for row, ids in enumerate(tokens):
            padded[row, : len(ids)] = torch.tensor(ids)
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        padded, mask = padded.to(device), mask.to(device)
        kind, half = torch.device(device).type, self._half(device)
        with torch.inference_mode(), torch.autocast(kind, dtype=torch.float16 if half else None, enabled=half):
            output = self.loaded.model(input_ids=padded, attention_mask=mask)
        return pooling.pool(output, mask, self.loaded.pooling).cpu().numpy()

    def _half(self, device: torch.device | str) -> bool:
        """Whether a device computes in float16."""
        import torch

        asked = self.params.precision != "float32" and self.loaded.model.config.model_type not in pooling.T5
        return asked and torch.device(device).type == "cuda"
