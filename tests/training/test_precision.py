"""bfloat16 by float32 instructions, on any processor."""

import pytest
import timm
import torch
import torch.nn.functional as F

from vecaf.training import precision
from vecaf.training.precision import RoundedProducts, autocast


@pytest.fixture(params=[False, True], ids=["by float32", "by its own instructions"])
def processor(request, monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: request.param)
    return request.param


def step(inputs, format_):
    """Return logits, their type, and all gradients of a small ViT whose weights do not depend on the format."""
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=48, depth=3, num_heads=3, num_classes=5
    ).train()
    with autocast("cpu", format_):
        logits = model(inputs)
    F.cross_entropy(logits.float(), torch.arange(len(inputs)) % 5).backward()
    return logits.detach().float(), logits.dtype, torch.cat([weight.grad.flatten() for weight in model.parameters()])


def off(one, other):
    return float((one - other).norm() / one.norm())


def test_products_are_those_of_rounded_numbers_rounded_once():
    x, w, b = torch.randn(64, 40), torch.randn(30, 40), torch.randn(30)
    with torch.autocast("cpu", dtype=torch.bfloat16), RoundedProducts():
        y = F.linear(x, w, bias=b)
    exact = F.linear(*(value.bfloat16().double() for value in (x, w, b)))
    assert y.dtype == torch.bfloat16
    # Half a unit in the last of eight places, and what float32 sums are off.
    assert ((y.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-5).all()
    assert ((y != exact.bfloat16()).float().mean()) < 0.01


def test_gradients_are_rounded_where_the_numbers_were():
    x, w = torch.randn(8, 40, requires_grad=True), torch.randn(30, 40, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16), RoundedProducts():
        F.linear(x, w).float().pow(2).sum().backward()
    for gradient in (x.grad, w.grad):
        assert gradient.dtype == torch.float32
        assert torch.equal(gradient, gradient.bfloat16().float())


def test_a_step_is_as_close_to_float32_as_in_bfloat16_itself(monkeypatch):
    inputs = torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = {"float32": step(inputs, "float32")}
    for own in (False, True):
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda own=own: own)
        found[own] = step(inputs, "bfloat16")
    assert found[False][1] == found[True][1] == torch.bfloat16
    for part in (0, 2):
        native = off(found["float32"][part], found[True][part])
        assert 0 < off(found["float32"][part], found[False][part]) < 1.5 * native
        assert 0 < off(found[True][part], found[False][part]) < 2 * native


def test_nothing_else_changes(processor):
    x, w = torch.randn(4, 6), torch.randn(5, 6)
    for format_ in ("float32", "auto"):
        with autocast("cpu", format_):
            assert torch.equal(F.linear(x, w), x @ w.T)
    with autocast("cpu", "bfloat16"):
        assert F.softmax(x, dim=1).dtype == torch.float32
        assert F.linear(x, w).dtype == torch.bfloat16
    assert F.linear(x, w).dtype == torch.float32
