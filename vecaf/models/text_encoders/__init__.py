"""Text encoders: how captions become vectors.

An encoder is one module here that registers one class under its kind. They are imported when the Snakefile is parsed
and therefore import scikit-learn, torch, transformers and the like inside their methods.
"""

from __future__ import annotations

from vecaf.models.text_encoders import one_hot as one_hot
from vecaf.models.text_encoders import pretrained as pretrained
from vecaf.models.text_encoders import tfidf as tfidf
from vecaf.models.text_encoders.base import TextEncoder, build, get, implemented, names, register, suffix

__all__ = ["TextEncoder", "build", "get", "implemented", "names", "register", "suffix"]
