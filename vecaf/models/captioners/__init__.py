"""Captioners: one sentence for every image of a pool. Torch-free; a captioner loads what it needs when it is built."""

from __future__ import annotations

from vecaf.models.captioners.attributes import AttributeCaptioner
from vecaf.models.registry import Registry

_CAPTIONERS = Registry("captioner", {"attributes": AttributeCaptioner})

names, implemented, get, build = _CAPTIONERS.names, _CAPTIONERS.implemented, _CAPTIONERS.get, _CAPTIONERS.build
