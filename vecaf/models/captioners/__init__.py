"""Captioners: who writes one sentence per image of a pool.

A captioner is one module here that registers one class under its kind. They are imported when the Snakefile is
parsed and therefore import torch, transformers and the like inside their methods.
"""

from __future__ import annotations

from vecaf.models.captioners import attributes as attributes
from vecaf.models.captioners import blip2 as blip2
from vecaf.models.captioners import class_name as class_name
from vecaf.models.captioners import dataset_file as dataset_file
from vecaf.models.captioners.base import Captioner, build, get, implemented, names, register

__all__ = ["Captioner", "build", "get", "implemented", "names", "register"]
