"""Fetching weights into the caches that jobs read: timm's, torchvision's VGG-19, the hub's of language models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vecaf.errors import ArtifactError, first_line
from vecaf.models import hub


def model(spec: Mapping[str, Any]) -> None:
    """Fetch one model; raises ArtifactError where it cannot be had.

    spec: {timm} of a backbone, {vgg} of a styler, or {model, revision, role, kind} of the hub.
    """
    if "vgg" in spec:
        from vecaf.models.clipstyler import networks

        networks.vgg_state(spec["vgg"])
        return
    if "timm" in spec:
        import timm

        try:
            timm.create_model(spec["timm"], pretrained=True)
        except Exception as error:  # hub, network, cache and tag errors have no common type
            raise ArtifactError(f"timm cannot provide it ({first_line(error)})") from error
        return
    kind = spec["kind"]
    hub.locate(
        spec["model"], spec["revision"], role=spec["role"], weights=hub.WEIGHTS[kind], processor=kind == "captioner"
    )
