"""fvcore's counts against closed forms and against torch's own counter, and what it must not leave out."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vecaf.errors import CountError
from vecaf.flops import TRAINING_STEP, backbones
from vecaf.flops.closed_form import vit_macs
from vecaf.flops.counting import count
from vecaf.models import backbone

ARGS = {"patch_size": 4, "embed_dim": 24, "depth": 4, "num_heads": 2}
VIT = {"timm": "vit_tiny_patch16_224", "args": ARGS, "width": 24}


def by_torch(run):
    """Return the MACs of what is run, by torch's counter, which counts both operations of each."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


def test_a_small_vit_is_counted_to_the_last_product():
    found = backbones.forward(backbone.build(VIT, 5, input_size=16), 16)
    assert found.macs == sum(found.operators.values()) == vit_macs(24, 4, 4, 16)
    assert set(found.left_out) == {"aten::add", "aten::gelu", "aten::mul", "aten::softmax"}


@pytest.mark.parametrize(
    ("spec", "published", "closed"),
    [
        ({"timm": "vit_base_patch16_224.dino", "width": 768}, 17.6e9, vit_macs(768, 12, 16, 224)),
        ({"timm": "vit_small_patch16_224.dino", "width": 384}, 4.6e9, vit_macs(384, 12, 16, 224)),
    ],
)
def test_backbones_of_the_paper_have_the_published_counts(spec, published, closed):
    found = backbones.profile(spec, [224])["sizes"]["224"]
    assert found["macs"] == closed == pytest.approx(published, rel=0.005)
    assert found["training_step"] == 3 * closed


def test_a_training_step_is_three_forward_passes_but_for_the_gradient_of_the_images():
    model = backbone.build(VIT, 5, input_size=16)
    for block in model.model.blocks:
        block.attn.fused_attn = False
    step = by_torch(lambda: model(torch.zeros(1, 3, 16, 16)).sum().backward())
    forward = backbones.forward(model, 16).macs + 5 * model.width
    patches = 16 * 3 * 4**2 * 24  # nobody needs the gradient by the pixels
    assert step == TRAINING_STEP * forward - patches


def test_attention_is_on_the_bill_and_fused_again_afterwards():
    model = backbone.build(VIT, 5, input_size=16).train()
    fused = [block.attn.fused_attn for block in model.model.blocks]
    assert "matmul" in backbones.forward(model, 16).operators
    assert [block.attn.fused_attn for block in model.model.blocks] == fused == [True] * 4
    assert model.training


class Fused(nn.Module):
    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize(
    ("module", "shape", "name"),
    [
        (Fused(), (1, 2, 3, 4), "scaled_dot_product_attention"),
        (nn.LSTM(4, 4), (3, 1, 4), "lstm"),
        (nn.Conv2d(3, 3, 3, padding="same"), (1, 3, 8, 8), "_convolution_mode"),
        (nn.Bilinear(4, 4, 2), (1, 4), "bilinear"),
    ],
)
def test_a_product_that_fvcore_passes_over_is_an_error(module, shape, name):
    inputs = [torch.zeros(shape)] * (2 if isinstance(module, nn.Bilinear) else 1)
    with pytest.raises(CountError, match=f"of {type(module).__name__} are unknown: fvcore does not count aten::{name}"):
        count(module, *inputs)


def test_norms_and_activations_are_no_products():
    module = nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.GELU(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    assert count(module, torch.zeros(3, 8)).operators == {"linear": 3 * (8 * 4 + 4 * 2)}


def test_loss_heads_are_counted_where_the_backbone_has_the_depths():
    found = backbones.profile(VIT, [16, 32], [8, 128])
    assert found["loss_heads"] == {str(hidden): 4 * 24 * hidden + 4 * hidden for hidden in (8, 128)}
    assert found["sizes"]["32"]["macs"] == vit_macs(24, 4, 4, 32)
    shallow = VIT | {"args": ARGS | {"depth": 2}}
    assert backbones.profile(shallow, [16], [8])["loss_heads"] == {}


def test_sizes_without_a_count_are_those_of_the_counted_model():
    counted, sizes = backbones.profile(VIT, [16, 32], [8]), backbones.uncounted(VIT, [16, 32], [8])
    assert {side: found["parameters"] for side, found in sizes["sizes"].items()} == {
        side: found["parameters"] for side, found in counted["sizes"].items()
    }
    assert sizes["sizes"]["16"]["parameters"] < sizes["sizes"]["32"]["parameters"]  # positions
    assert sizes["width"] == counted["width"]
    assert sizes["loss_heads"].keys() == counted["loss_heads"].keys()
    assert sizes["sizes"]["16"].keys() == counted["sizes"]["16"].keys()
