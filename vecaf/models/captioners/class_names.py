"""Class names as a sentence says them."""

from __future__ import annotations

import re
from functools import cache

_WNID = re.compile(r"n\d{8}$")
_A = re.compile(r"(one|once|uni|use|usu|eu|ukulele)", re.IGNORECASE)  # vowels that sound like consonants
_AN = re.compile(r"([aeio]|u|hour|honest|heir)", re.IGNORECASE)
_SINGULAR_ENDINGS = ("ss", "us", "is", "os", "as")


@cache
def noun(class_name: str) -> str:
    """Return a class name in words: underscores become spaces, an ImageNet synset id its first English name."""
    if _WNID.match(class_name):
        class_name = _synsets().get(class_name, class_name).partition(",")[0]
    return re.sub(r"[_\s]+", " ", class_name).strip()


@cache
def _synsets() -> dict[str, str]:
    """Return the English names of ImageNet-1K's classes by synset id, comma-separated, as timm carries them."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return {wnid: info.label_name_to_description(wnid) for wnid in info.label_names()}


@cache
def with_article(class_name: str) -> str:
    """Return ``a cat``, ``an airplane``, or ``scissors``: names that end in a plural s get no article."""
    name = noun(class_name)
    if name.endswith("s") and not name.endswith(_SINGULAR_ENDINGS):
        return name
    return f"{'an' if _AN.match(name) and not _A.match(name) else 'a'} {name}"
