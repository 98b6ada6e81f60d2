"""Text encoders: captions to embeddings, frozen. Torch-free; an encoder loads what it needs when it encodes."""

from __future__ import annotations

from collections.abc import Sequence

from vecaf.models.registry import Registry
from vecaf.models.text_encoders.tfidf import TfidfEncoder

_ENCODERS = Registry("text encoder", {"tfidf": TfidfEncoder})

names, implemented, get, build = _ENCODERS.names, _ENCODERS.implemented, _ENCODERS.get, _ENCODERS.build


def suffix(captions: Sequence[str], prompt: str | None) -> list[str]:
    """Return the captions with a prompt appended to each, as section 3.3 of the paper names the target domain."""
    return [f"{caption} {prompt}" for caption in captions] if prompt else list(captions)
