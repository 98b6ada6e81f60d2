"""Backbones: embedding and head are timm's own, weights fit or are refused by tensor, MACs are all counted."""

import pytest
import torch
from safetensors.torch import save_file

from vecaf.errors import ArtifactError, ConfigError, TrainingError
from vecaf.models import backbone

VIT = {
    "timm": "vit_tiny_patch16_224",
    "width": 24,
    "args": {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2},
}
SWIN = {
    "timm": "swin_tiny_patch4_window7_224",
    "width": 32,
    "args": {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 2},
}
XCIT = {"timm": "xcit_nano_12_p16_224", "width": 16, "args": {"embed_dim": 16, "depth": 1, "num_heads": 2}}
CONVOLUTION = {"timm": "resnet10t", "width": 512}


@pytest.mark.parametrize(("spec", "size"), [(VIT, 16), (SWIN, 32), (XCIT, 32), (CONVOLUTION, 32)])
def test_classify_of_embed_is_timms_forward(spec, size):
    model = backbone.build(spec, 5, input_size=size, seed=3)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embeddings = model.embed(images)
        assert embeddings.shape == (2, spec["width"]) == (2, model.width)
        assert torch.equal(model.classify(embeddings), model.model(images))
        assert torch.equal(model(images), model.model(images))
    assert set(model.state_dict()) == set(model.model.state_dict())
    assert model.state_dict()[f"{model.classifier}.weight"].shape == (5, spec["width"])


def test_drawn_weights_are_their_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = backbone.build(VIT, 5, input_size=16, seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = backbone.build(VIT, 5, input_size=16, seed=3).state_dict()
    third = backbone.build(VIT, 5, input_size=16, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], third["head.weight"])


@pytest.mark.parametrize("spec", [VIT, SWIN, XCIT])
def test_stochastic_depth_is_what_is_asked_for_and_no_default_of_timm(spec):
    def rates(args=(), **asked):
        changed = spec | {"args": spec["args"] | {"depth": 2} if "depth" in spec["args"] else spec["args"]}
        changed["args"] = changed["args"] | dict(args)
        model = backbone.build(changed, 5, input_size=32, **asked)
        return max((getattr(module, "drop_prob", 0.0) for module in model.modules()), default=0.0)

    assert rates() == 0
    assert rates(drop_path=0.3) == pytest.approx(0.3)
    assert rates({"drop_path_rate": 0.2}) == pytest.approx(0.2)  # a backbone of one's own that has it


def test_weights_with_a_head_without_one_and_into_a_model_without_one():
    full = backbone.build(VIT, 5, input_size=16, seed=3).state_dict()
    bare = {name: tensor for name, tensor in full.items() if not name.startswith("head.")}
    assert torch.equal(
        backbone.build(VIT, 5, input_size=16, state=full).state_dict()["head.weight"], full["head.weight"]
    )
    other = backbone.build(VIT, 7, input_size=16, state=bare).state_dict()
    assert torch.equal(other["cls_token"], full["cls_token"])
    assert other["head.weight"].shape == (7, 24)
    assert set(backbone.build(VIT, 0, input_size=16, state=full).state_dict()) == set(bare)


def test_set_head_fits_or_is_refused():
    model = backbone.build(VIT, 5, input_size=16)
    model.set_head(torch.ones(5, 24), torch.arange(5.0))
    assert torch.equal(model.head.bias, torch.arange(5.0))
    with pytest.raises(TrainingError, match=r"head of shape \(5, 20\).*\(5, 24\)"):
        model.set_head(torch.ones(5, 20), torch.zeros(5))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (VIT | {"width": 192}, "width is 192, but the model's is 24"),
        ({"timm": "vit_tinny_patch16_224", "width": 192}, "near it: vit_tiny_patch16_224"),
        ({"timm": "vit_tiny_patch16_224.no_such_tag", "width": 192}, "no_such_tag"),
        (VIT | {"args": {"depht": 2}}, "depht"),
        ({"timm": "deit_tiny_distilled_patch16_224", "width": 192}, "not one linear layer"),
    ],
)
def test_wrong_specs_are_refused(spec, said):
    with pytest.raises(ConfigError, match=said):
        backbone.build(spec, 5, input_size=224)


# --- pretrained weights from a file ----------------------------------------------------------------------------------


@pytest.fixture
def weights_file(tmp_path):
    """fp16 weights of a ViT trained at 32 px for 9 classes."""
    state = backbone.build(VIT, 9, input_size=32, seed=8).state_dict()
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.half() for name, tensor in state.items()}, path)
    return path, state


def test_file_is_read_as_float32_resampled_and_without_its_classifier(weights_file):
    path, original = weights_file
    state, info = backbone.load_pretrained(VIT | {"weights": str(path)}, 16)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert not any(name.startswith("head.") for name in state)
    assert original["pos_embed"].shape[1] == 65
    assert state["pos_embed"].shape[1] == 17
    assert torch.allclose(state["pos_embed"][:, 0], original["pos_embed"][:, 0], atol=1e-3)  # the class token's
    assert torch.allclose(state["blocks.1.attn.qkv.weight"], original["blocks.1.attn.qkv.weight"], atol=1e-3)
    assert info["resampled"] is True
    assert info["source"] == str(path)
    backbone.build(VIT, 5, input_size=16, state=state)


def test_file_of_the_same_size_keeps_its_numbers(weights_file):
    state, info = backbone.load_pretrained(VIT | {"weights": str(weights_file[0])}, 32)
    assert info["resampled"] is False
    assert all(torch.equal(tensor, weights_file[1][name].half().float()) for name, tensor in state.items())


def test_a_wrong_shape_names_tensor_shapes_and_file(weights_file):
    wider = VIT | {"width": 36, "args": VIT["args"] | {"embed_dim": 36}, "weights": str(weights_file[0])}
    with pytest.raises(TrainingError) as caught:
        backbone.load_pretrained(wider, 32)
    for part in ("cls_token", "1×1×24", "1×1×36", str(weights_file[0])):
        assert part in str(caught.value)


def test_missing_tensors_are_named(weights_file):
    deeper = VIT | {"args": VIT["args"] | {"depth": 3}, "weights": str(weights_file[0])}
    with pytest.raises(TrainingError, match=r"blocks\.2\.norm1\.weight is missing.*and 9 more"):
        backbone.load_pretrained(deeper, 32)


def test_weights_that_cannot_be_had(tmp_path, monkeypatch):
    with pytest.raises(ArtifactError, match=r"cannot read .*none\.safetensors"):
        backbone.load_pretrained(VIT | {"weights": str(tmp_path / "none.safetensors")}, 16)
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        backbone.load_pretrained(VIT | {"weights": str(tmp_path / "cut.safetensors")}, 16)
    with pytest.raises(ConfigError, match=r"\.safetensors"):
        backbone.load_pretrained(VIT | {"weights": str(tmp_path / "weights.pth")}, 16)
    with pytest.raises(ConfigError, match="made from a pool"):
        backbone.load_pretrained(VIT | {"weights": "self_supervised"}, 16)

    def offline(*args, pretrained=False, **kwargs):
        raise OSError("no network") if pretrained else AssertionError

    real = backbone.timm.create_model
    monkeypatch.setattr(
        backbone.timm, "create_model", lambda *a, **k: offline(*a, **k) if k.get("pretrained") else real(*a, **k)
    )
    with pytest.raises(ArtifactError, match=r"no network.*Fetch them once.*\.safetensors"):
        backbone.load_pretrained(VIT | {"weights": "timm"}, 16)


# --- what a model says about itself ----------------------------------------------------------------------------------


def test_data_config_is_timms_unless_the_spec_says_otherwise():
    half = backbone.data_config(VIT)
    assert half == {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}
    dino = backbone.data_config({"timm": "vit_small_patch16_224.dino"})
    assert dino["mean"] == (0.485, 0.456, 0.406)
    changed = backbone.data_config(VIT | {"std": [0.1, 0.2, 0.3], "interpolation": "bilinear", "mean": None})
    assert changed == {"mean": (0.5,) * 3, "std": (0.1, 0.2, 0.3), "interpolation": "bilinear"}


def test_macs_by_hand():
    """A ViT's products: patches, and per block 12 d² + 2 n d for each of its n tokens."""
    model = backbone.build(VIT, 5, input_size=16)
    d, tokens, patches = 24, 17, 16
    blocks = 2 * tokens * (12 * d * d + 2 * tokens * d)
    assert backbone.count_macs(model, 16) == pytest.approx(patches * 48 * d + blocks + 5 * d, rel=0.05)
    assert model.model.blocks[0].attn.fused_attn


def test_macs_of_vit_ti_at_224_are_the_published_ones():
    model = backbone.build({"timm": "vit_tiny_patch16_224", "width": 192}, 1000, input_size=224)
    assert backbone.count_macs(model, 224) == pytest.approx(1.26e9, rel=0.01)


def test_uncounted_attention_is_an_error(monkeypatch):
    class Blind(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    model = backbone.build(VIT, 5, input_size=16)
    monkeypatch.setattr(model.model, "forward_features", lambda x: Blind()(x).mean(dim=(1, 2))[:, :1].expand(-1, 24))
    monkeypatch.setattr(model.model, "forward_head", lambda x, pre_logits: x)
    with pytest.raises(TrainingError, match="scaled_dot_product_attention"):
        backbone.count_macs(model, 16)
