"""BLIP-2: an image, seen by a frozen vision model, is put into words by a frozen language model (Li et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from vecaf import artifacts
from vecaf.errors import ArtifactError, DataError, first_line
from vecaf.models import hub
from vecaf.models.captioners import base
from vecaf.models.captioners.class_names import noun

# The prompt of the released code (single_turn_mmnew.py, there with LLaMA2-Accessory).
KEYWORD_PROMPT = "Please describe the image within one sentence. The description must contain the keyword {class_name}."
SECOND_TRY = 5  # tokens that are demanded when a first try came out empty


class Params(base.Params):
    model: str = Field("Salesforce/blip2-opt-2.7b", description="a BLIP-2 model of the Hugging Face hub, or its folder")
    revision: str | None = Field(
        "59a1ef6c1e5117b3f65523d1c6066825bcf315e3", description="commit, tag or branch on the hub; null: the newest"
    )
    prompt: str | None = Field(None, description="text that the caption continues; null: plain captioning")
    class_keyword: bool = Field(
        False,
        description="the released code's prompt, which demands the class name: it leaks the label into the caption",
    )
    max_new_tokens: int = Field(30, ge=1, description="longest caption, in tokens")
    batch_size: int = Field(64, ge=1, description="images per forward pass")
    precision: Literal["auto", "float32"] = Field("auto", description="auto: float16 on a GPU, float32 on a CPU")

    @model_validator(mode="after")
    def _one_prompt(self):
        if self.class_keyword and self.prompt is not None:
            raise ValueError("class_keyword is a prompt of its own; leave `prompt` out")
        return self


@base.register("blip2")
class Blip2(base.Captioner):
    """Greedy captions of a frozen BLIP-2; without a prompt nothing but the pixels can reach them."""

    Params = Params
    aside = frozenset({"batch_size"})
    memory_mb = 32000  # the weights pass through the host's memory

    def prepare(self, files, elsewhere, device):
        """Load model and processor onto the device; see the base class.

        Raises ArtifactError, with the command that fetches them, when the weights are not on this machine.
        """
        import torch
        import transformers

        name, revision = self.params.model, self.params.revision
        # The same weights as pickles stay on the hub.
        folder = hub.locate(name, revision, role="captioner", weights=hub.SAFETENSORS, processor=True)
        identity = {"weights_hash": _content(folder)} if hub.given(name) else {"commit": folder.name}
        half = device.type == "cuda" and self.params.precision == "auto"
        told = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor = transformers.Blip2Processor.from_pretrained(folder, **told)
            told |= {"dtype": torch.float16 if half else torch.float32, "use_safetensors": True}
            model, report = transformers.Blip2ForConditionalGeneration.from_pretrained(
                folder, output_loading_info=True, **told
            )
        except Exception as error:  # transformers raises whatever its parts do
            raise ArtifactError(
                f"{folder} holds no BLIP-2 model that transformers can load ({first_line(error)})"
            ) from error
        if missing := sorted(report["missing_keys"]):  # drawn at random, without an error
            raise ArtifactError(f"{folder} lacks {len(missing)} tensors of a BLIP-2 model; the first is {missing[0]}")
        self._model = model.to(device).eval().requires_grad_(False)
        self._processor.num_query_tokens = model.config.num_query_tokens
        self._processor.tokenizer.padding_side = "left"  # what is generated continues the end of each prompt
        return identity | {"transformers": transformers.__version__, "dtype": "float16" if half else "float32"}

    def caption(self, images, labels, classes, ids):
        """Return one caption per image; raises DataError naming an image for which nothing is generated."""
        sentences = []
        for start in range(0, len(ids), self.params.batch_size):
            part = slice(start, start + self.params.batch_size)
            sentences += self._batch(list(images[part]), self._prompts(labels[part], classes), ids[part])
        return sentences

    def _prompts(self, labels: np.ndarray, classes: Sequence[str]) -> list[str] | None:
        if self.params.class_keyword:
            return [KEYWORD_PROMPT.format(class_name=noun(classes[label])) for label in labels]
        return None if self.params.prompt is None else [self.params.prompt] * len(labels)

    def _batch(self, images: list, prompts: list[str] | None, ids: np.ndarray) -> list[str]:
        sentences = self._generate(images, prompts)
        empty = [row for row, sentence in enumerate(sentences) if not sentence]
        if empty:
            again = self._generate(
                [images[row] for row in empty],
                prompts and [prompts[row] for row in empty],
                min_new_tokens=min(SECOND_TRY, self.params.max_new_tokens),
            )
            for row, sentence in zip(empty, again, strict=True):
                sentences[row] = sentence
        silent = [str(number) for number, sentence in zip(ids, sentences, strict=True) if not sentence]
        if silent:
            raise DataError(
                f"{self.params.model} has no words for image id {', '.join(silent[:10])}: give the captioner another "
                "prompt or model, or look at the image"
            )
        return sentences

    def _generate(self, images: list, prompts: list[str] | None, **more: Any) -> list[str]:
        """Return what the model says of images (3, H, W) uint8, after a prompt each or without."""
        import torch

        text = {} if prompts is None else {"text": prompts, "padding": True}
        inputs = self._processor(images=images, return_tensors="pt", input_data_format="channels_first", **text)
        inputs = inputs.to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs, do_sample=False, num_beams=1, max_new_tokens=self.params.max_new_tokens, **more
            )
        # A decoder repeats what it was given (image tokens and prompt), an encoder–decoder does not.
        if self._model.config.use_decoder_only_language_model:
            given = inputs["input_ids"].shape[1] if prompts else self._model.config.num_query_tokens + 1
            tokens = tokens[:, given:]
        decoded = self._processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(sentence.split()) for sentence in decoded]


def _content(folder: Path) -> str:
    """Return a digest of the files of a model's folder."""
    hashes = [(path.name, artifacts.file_hash(path)) for path in sorted(folder.iterdir()) if path.is_file()]
    return artifacts.digest(hashes)
