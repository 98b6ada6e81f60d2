"""How the numbers of the paper's table 4 come about, as far as they can be reconstructed.

The paper names no formula. These values reproduce what it prints within 0.5 %, its selection within 4 %, where they may
be a coincidence.
"""

from __future__ import annotations

from vecaf.flops.closed_form import transformer_macs, vit_macs

BATCH = 256
STEP = 4  # forward passes in a training step
ODS_STEPS, ODS_ROWS = 100, 1000  # of one member
# “About 11 × the FLOPs of the DeiT model”: the image tower of CLIP ViT-L/14 at 336 px, not a text encoder.
IMAGE_TOWER = vit_macs(1024, 24, 14, 336, projection=768)
# What encodes captions: the text tower of CLIP ViT-L/14, over all its 77 positions.
TEXT_TOWER = transformer_macs(768, 12, 77) + 768 * 768


def full_finetuning(batches: float, image: int) -> dict[str, float]:
    """Return part → G of the paper's row of full finetuning; image: MACs of the backbone's forward pass."""
    return {"finetune": STEP * image * batches / 1e9}


def active_finetuning(batches: float, image: int, width: int, pool: int, chosen: int) -> dict[str, float]:
    """Return part → G of the paper's row of VeCAF: one loop, one member, K captions, no pass over the pool.

    batches: as printed. image: MACs of the backbone's forward pass. pool: N. chosen: K. width: d.
    """
    descent = ODS_STEPS * (2 * chosen**2 * width + 2 * ODS_ROWS * chosen * width)
    return {
        "cea": IMAGE_TOWER * chosen / BATCH / 1e9,
        "selection": (descent + chosen * pool * width) / BATCH / 1e9,
        **full_finetuning(batches, image),
    }
