"""The loss-prediction head: what it reads from a backbone, its size, and the pair losses by hand."""

import pytest
import torch

from vecaf.errors import ConfigError, TrainingError
from vecaf.models import backbone, loss_prediction
from vecaf.models.loss_prediction import pair_loss

VIT = {
    "timm": "vit_tiny_patch16_224",
    "width": 24,
    "args": {"patch_size": 4, "embed_dim": 24, "depth": 8, "num_heads": 2},
}
SWIN = {
    "timm": "swin_tiny_patch4_window7_224",
    "width": 128,
    "args": {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8), "window_size": 2},
}
XCIT = {"timm": "xcit_nano_12_p16_224", "width": 16, "args": {"embed_dim": 16, "depth": 12, "num_heads": 2}}


@pytest.mark.parametrize(
    ("spec", "size", "levels", "widths"),
    [
        (VIT, 16, [1, 3, 5, 7], [24, 24, 24, 24]),
        (SWIN, 64, [0, 1, 2, 3], [16, 32, 64, 128]),
        (XCIT, 32, [2, 5, 8, 11], [16, 16, 16, 16]),
    ],
)
def test_four_depths_of_every_family_and_the_same_embedding(spec, size, levels, widths):
    model = backbone.build(spec, 5, input_size=size, seed=3, loss_head=6)
    assert (model._levels, [branch.in_features for branch in model.loss_head.branches]) == (levels, widths)
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embeddings, predicted = model.embed_and_predict(images)
        assert torch.equal(embeddings, model.embed(images))
    assert predicted.shape == (3,)


def test_features_are_means_over_patch_tokens_of_the_residual_stream():
    model = backbone.build(VIT, 5, input_size=16, loss_head=6)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    seen = {}
    for number in (1, 3, 5, 7):
        model.model.blocks[number].register_forward_hook(
            lambda module, arguments, output, number=number: seen.update({number: output[:, 1:].mean(dim=1)})
        )
    with torch.no_grad():
        predicted = model.embed_and_predict(images)[1]
        torch.testing.assert_close(model.loss_head([seen[number] for number in (1, 3, 5, 7)]), predicted)


def test_size_of_the_head_on_a_vit_b():
    head = loss_prediction.build([768] * 4, 128, seed=0)
    assert sum(parameter.numel() for parameter in head.parameters()) == 394_241


def test_the_head_is_its_seed_alone_and_travels_with_the_weights():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = backbone.build(VIT, 5, input_size=16, seed=3, loss_head=6)
    assert torch.equal(state, torch.get_rng_state())
    names = [name for name in first.state_dict() if name.startswith(backbone.LOSS_HEAD)]
    assert len(names) == 10
    other = backbone.build(VIT, 5, input_size=16, seed=4, loss_head=6)
    assert not torch.equal(first.state_dict()[names[0]], other.state_dict()[names[0]])
    loaded = backbone.build(VIT, 5, input_size=16, seed=4, loss_head=6, state=first.state_dict())
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in first.state_dict().items())
    without = backbone.build(VIT, 5, input_size=16, state=first.state_dict())
    assert set(without.state_dict()) == set(first.state_dict()) - set(names)
    pretrained = {name: tensor for name, tensor in first.state_dict().items() if name not in names}
    drawn = backbone.build(VIT, 5, input_size=16, seed=4, loss_head=6, state=pretrained)
    assert torch.equal(drawn.state_dict()[names[0]], other.state_dict()[names[0]])


def test_a_head_of_another_width_is_refused():
    state = backbone.build(VIT, 5, input_size=16, loss_head=6).state_dict()
    with pytest.raises(TrainingError, match=r"loss_head\.branches\.0\.weight is 6×24, the model needs 7×24"):
        backbone.build(VIT, 5, input_size=16, loss_head=7, state=state)


def test_a_backbone_without_four_depths_is_refused():
    with pytest.raises(ConfigError, match=r"has 2 depths to read features from.*reads 4"):
        backbone.build(VIT | {"args": VIT["args"] | {"depth": 2}}, 5, input_size=16, loss_head=6)


def test_spared_backbones_get_no_gradient_and_the_head_does():
    model = backbone.build(VIT, 5, input_size=16, loss_head=6)
    images = torch.randn(4, 3, 16, 16)
    for spare in (False, True):
        model.zero_grad()
        predicted = model.embed_and_predict(images, spare=spare)[1]
        pair_loss(predicted, torch.arange(4.0), "ranking").backward()
        reached = [parameter.grad for parameter in model.model.parameters() if parameter.grad is not None]
        assert any(gradient.abs().sum() > 0 for gradient in reached) == (not spare)
        assert model.loss_head.joined.weight.grad.abs().sum() > 0


def test_margin_loss_by_hand():
    losses = torch.tensor([3.0, 1.0, 2.0, 0.0])
    assert pair_loss(2 * losses, losses, "margin").item() == 0.0  # in order, gaps of at least ξ
    assert pair_loss(torch.zeros(4), losses, "margin").item() == 1.0
    assert pair_loss(-losses, losses, "margin").item() == 3.0
    assert pair_loss(torch.zeros(4), losses, "margin", margin=0.5).item() == 0.5
    # equal losses have the sign −1: max(0, 1 + (2 − 0)) and max(0, 1 + (0 − 0))
    assert pair_loss(torch.tensor([2.0, 0.0, 0.0, 0.0]), torch.ones(4), "margin").item() == 2.0


def test_ranking_loss_by_hand():
    losses = torch.tensor([3.0, 1.0, 2.0, 0.0])
    assert pair_loss(torch.zeros(4), losses, "ranking").item() == pytest.approx(0.693147, abs=1e-6)
    predicted = torch.tensor([1.0, 0.5, 0.0, 0.0])
    # pairs (1, 4): σ(1), larger; (2, 3): σ(0.5), smaller
    wanted = (-torch.sigmoid(torch.tensor(1.0)).log() - (1 - torch.sigmoid(torch.tensor(0.5))).log()) / 2
    assert pair_loss(predicted, losses, "ranking").item() == pytest.approx(wanted.item(), abs=1e-6)


@pytest.mark.parametrize("criterion", ["margin", "ranking"])
def test_only_differences_count_and_targets_are_fixed(criterion):
    generator = torch.Generator().manual_seed(0)
    predicted, losses = torch.randn(8, generator=generator), torch.rand(8, generator=generator).requires_grad_()
    shifted = pair_loss(predicted + 5, losses, criterion)
    torch.testing.assert_close(shifted, pair_loss(predicted, losses, criterion))
    moved = predicted.clone().requires_grad_()
    pair_loss(moved, losses, criterion).backward()
    assert losses.grad is None
    assert moved.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [1, 7])
def test_odd_batches_have_no_pairs(size):
    with pytest.raises(TrainingError, match=f"batches of {size}: choose an even batch_size"):
        pair_loss(torch.zeros(size), torch.zeros(size), "margin")
