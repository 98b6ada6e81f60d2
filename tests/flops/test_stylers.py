"""What CLIPstyler costs by formula, against the counter on its real networks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from vecaf.flops import stylers
from vecaf.flops.cell import ONCE, Profiles, work
from vecaf.flops.counting import count
from vecaf.grid import Cell
from vecaf.models.clipstyler import networks
from vecaf.models.clipstyler.options import Options
from vecaf.reporting import curves

WIDTHS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
WIDTHS |= {16: (256, 256), 19: (512, 256)}


def vgg19():
    """Return tensors of the shapes of torchvision's VGG-19, as far as the encoder reads it."""
    state = {f"features.{layer}.weight": torch.zeros(*shape, 3, 3) for layer, shape in WIDTHS.items()}
    return state | {f"features.{layer}.bias": torch.zeros(shape[0]) for layer, shape in WIDTHS.items()}


def test_restyling_an_image_costs_encoder_and_decoder():
    styler = networks.build(vgg19(), seed=0)
    counted = count(styler, torch.zeros(1, 3, 64, 64))
    assert counted.macs == stylers.image_macs(Options(text="snow", size=64, crop=32))
    weights = sum(parameter.nelement() for parameter in styler.decoder.parameters() if parameter.dim() == 4)
    assert 4 * weights == stylers.BYTES


def test_training_grows_with_its_steps_and_shows_clip_the_views():
    base = Options(text="snow")
    longer = base.model_copy(update={"steps": 2 * base.steps})
    wider = base.model_copy(update={"views": 2 * base.views})
    cost = stylers.training_macs
    step = (cost(longer) - cost(base)) / base.steps
    views = (cost(wider) - cost(base)) / (base.steps * base.batch_size * 2 * base.views)
    assert step == cost(base.model_copy(update={"reconstruction": 0})) / base.steps
    assert 4.3e9 < views < 4.5e9  # CLIP's ViT-B/32 at 224 px has 4.4 G MACs


def test_a_cell_on_restyled_images_costs_its_styler_and_each_image(paper):
    cell = Cell("imagenet", "deit_b_dino", "clipstyler_snow", "1pct", "3loops", 0)
    profiles = Profiles({"macs": 10, "width": 4, "loss_heads": {}})
    found = {}
    for method in ("clipstyler_snow", "random"):
        parameters = paper.resolved(replace(cell, method=method))
        done = work(parameters, [{"k": 100, "pool_size": 1000}] * 3, profiles)
        found[method] = {(one.loop, one.step): one.macs for one in done}
    told = Options(text="snow")
    more = {(ONCE, "train_styler"): stylers.training_macs(told)}
    more |= {(loop, "stylize"): 100 * stylers.image_macs(told) for loop in (1, 2, 3)}
    assert found["clipstyler_snow"] == found["random"] | more
    table = pd.DataFrame([(loop, step, 1.0, float(macs)) for (loop, step), macs in found["clipstyler_snow"].items()])
    table.columns = ["loop", "step", "seconds", "macs"]
    spent = curves.spent(np.array([1, 2, 3]), np.array([5, 10, 15]), table)
    assert spent["macs"][-1] == sum(macs for (loop, _), macs in found["clipstyler_snow"].items() if loop != ONCE)
    assert spent["seconds"][-1] == 9.0
    assert (spent["shared"], spent["uncounted"]) == (stylers.training_macs(told), "")
