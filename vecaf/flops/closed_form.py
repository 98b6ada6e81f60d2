"""MACs of transformers in closed form: to check counts against, and for a model that the paper counted by mistake."""

from __future__ import annotations


def vit_macs(width: int, depth: int, patch: int, image: int, *, projection: int = 0) -> int:
    """Return the MACs of a plain ViT in closed form: patches, and 12 n d² + 2 n² d for n tokens in each block.

    image, patch: sides in pixels. projection: width that the class token is projected to at the end, 0 for none.
    Source: Dosovitskiy et al., ICLR 2021 (MLPs four times as wide as d, one class token).
    """
    patches = (image // patch) ** 2
    return patches * 3 * patch**2 * width + transformer_macs(width, depth, patches + 1) + width * projection


def transformer_macs(width: int, depth: int, tokens: int) -> int:
    """Return the MACs of a transformer's blocks: 12 n d² + 2 n² d each."""
    return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)
