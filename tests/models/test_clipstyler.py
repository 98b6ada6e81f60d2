"""CLIPstyler on tiny random models: its losses by hand, its networks beside torchvision's, what training changes."""

import hashlib
import math
import shutil

import numpy as np
import pytest
import tiny_styler
import torch
import torchvision
import transformers
from torch.nn import functional as F

from vecaf.data.images import Images
from vecaf.errors import ArtifactError, ConfigError, TrainingError
from vecaf.models.clipstyler import losses, networks, training
from vecaf.models.clipstyler.guidance import TEMPLATES, Guide
from vecaf.models.clipstyler.options import Options, options


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_styler.clip(tmp_path_factory.mktemp("clip"))


def images_of(pictures):
    count = len(pictures)
    columns = (np.arange(count), np.zeros(count, int), np.zeros(count, bool), np.array(["a"] * count, object), ["a"])
    return Images(*columns, pixels=pictures)


@pytest.fixture(scope="module")
def pictures():
    """Smooth random images of different sizes."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for number in range(6):
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        pixels = F.interpolate(coarse, (40 + 3 * number, 44), mode="bicubic").clamp(0, 1)[0]
        made.append((255 * pixels).byte().permute(1, 2, 0).numpy())
    return made


def chosen(clip, **changed):
    return options({"text": "snowy day", "clip": clip, **tiny_styler.QUICK, **changed})


def trained(clip, pictures, seed=3, **changed):
    """Return a styler, its guide and the losses of its training."""
    settings = chosen(clip, **changed)
    styler = networks.build(tiny_styler.vgg(), seed)
    guide = Guide(clip, None, settings.source, settings.text)
    return styler, guide, training.train(styler, guide, images_of(pictures), settings, seed=seed)


@pytest.fixture(scope="module")
def snowy(clip, pictures):
    """The styler of the tests that leave it as it is, its guide and its losses."""
    return trained(clip, pictures)


class Still:
    """A guide that sees no difference between images and therefore asks for no change."""

    direction = torch.zeros(2)

    def embed(self, images):
        return images.mean(dim=(1, 2, 3))[:, None].expand(-1, 2) * 0


def checksum(module):
    tensors = [*module.state_dict().items()]
    return hashlib.sha256(b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in tensors)).hexdigest()


def unit(*values):
    return F.normalize(torch.tensor(values), dim=-1)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_the_text_direction_is_of_length_one_and_turns_with_the_texts():
    texts = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    forth, back = losses.text_direction(texts[0], texts[1]), losses.text_direction(texts[1], texts[0])
    assert forth.norm() == pytest.approx(1)
    assert torch.dot(forth, -back) == pytest.approx(1)
    target, source = (F.normalize(part.mean(0), dim=0) for part in texts)
    assert torch.allclose(forth, (target - source) / (target - source).norm())
    assert losses.text_direction(texts[0], texts[0]).tolist() == [0.0] * 7


def test_the_directional_loss_is_one_minus_the_cosine():
    direction = torch.tensor([1.0, 0.0])
    content = torch.zeros(4, 2)
    styled = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]])
    found = losses.directional(styled, content, direction)
    assert found.tolist() == pytest.approx([0, 1, 2, 1 - math.sqrt(0.5)])
    assert losses.directional(content, content, direction).tolist() == [1.0] * 4


def test_views_below_the_threshold_count_as_nothing():
    direction, content = torch.tensor([1.0, 0.0]), torch.zeros(4, 2)
    styled = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]], requires_grad=True)
    loss = losses.patch(styled, content, direction, 0.7)
    assert loss.item() == pytest.approx((1 + 2) / 4)
    loss.backward()
    assert (styled.grad.abs().sum(dim=1) > 0).tolist() == [False, True, False, False]
    assert losses.patch(styled, content, direction, 2.1) == 0
    assert losses.patch(styled, content, direction, 0.0) >= loss


def test_total_variation_is_four_norms_of_the_batch():
    images = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    pixels = images.numpy()
    expected = 0.0
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        squares = 0.0
        for row in range(5 - down):
            for column in range(max(0, -right), 6 - max(0, right)):
                squares += ((pixels[..., row, column] - pixels[..., row + down, column + right]) ** 2).sum()
        expected += math.sqrt(squares)
    assert float(losses.total_variation(images)) == pytest.approx(expected, rel=1e-4)
    flat = torch.full((1, 3, 4, 4), 0.3, requires_grad=True)
    smooth = losses.total_variation(flat)
    assert smooth.item() < 1e-5
    smooth.backward()
    assert torch.isfinite(flat.grad).all()


# --- networks ---------------------------------------------------------------------------------------------------------


def test_the_encoder_is_torchvisions_up_to_relu4_1():
    vgg = torchvision.models.vgg
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = vgg.make_layers(vgg.cfgs["E"])  # VGG-19 without its classifier, which takes a second to draw
    ours = networks.Encoder({f"features.{name}": tensor for name, tensor in theirs.state_dict().items()})
    image = torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        inputs = torchvision.transforms.functional.normalize(image, mean, deviation)
        torch.testing.assert_close(ours(image), theirs[:21](inputs))
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_the_decoder_mirrors_vgg():
    """The decoder of AdaIN: nine convolutions with these widths, an enlargement after the first, fifth and seventh."""
    widths = (64, 64, 128, 128, 256, 256, 256, 256, 512)
    encoder = networks.Encoder(tiny_styler.vgg(widths=widths))
    decoder = networks.Decoder(encoder)
    convolutions = [(part.in_channels, part.out_channels) for part in decoder if hasattr(part, "in_channels")]
    assert convolutions == [
        *((512, 256), (256, 256), (256, 256), (256, 256), (256, 128)),
        *((128, 128), (128, 64), (64, 64), (64, 3)),
    ]
    kinds = "".join({"Conv2d": "c", "ReLU": "r", "Upsample": "U"}[type(part).__name__] for part in decoder)
    assert kinds == "crUcrcrcrcrUcrcrUcrc"
    assert {getattr(part, "padding_mode", "reflect") for part in decoder} == {"reflect"}
    assert {getattr(part, "mode", "nearest") for part in decoder} == {"nearest"}


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (33, 47)])
def test_an_image_comes_back_in_its_own_size(size):
    styler = networks.build(tiny_styler.vgg(), 0)
    with torch.inference_mode():
        assert styler(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_features_have_mean_one_after_calibration():
    state = tiny_styler.vgg()
    state["features.19.weight"][3], state["features.19.bias"][3] = 0, 1e-6  # active, and next to nothing
    styler = networks.build(state, 0)
    batches = [torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    plain = torch.stack([styler.features(batch).mean(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    styler.calibrate(batches)
    means = torch.stack([styler.features(batch).mean(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    usual = plain > 0.1 * plain.mean()
    assert usual.sum() > 6
    assert torch.allclose(means[usual], torch.ones(int(usual.sum())), atol=1e-4)
    assert means[3] < 1e-3


def test_other_weights_are_refused():
    state = tiny_styler.vgg()
    with pytest.raises(ConfigError, match=r"features\.12 is missing"):
        networks.Encoder({name: tensor for name, tensor in state.items() if name != "features.12.bias"})
    with pytest.raises(ConfigError, match=r"features\.5 is of shape \(6, 9, 3, 3\), a 3×3 convolution of 4 channels"):
        networks.Encoder(state | {"features.5.weight": torch.zeros(6, 9, 3, 3)})


def test_vgg_that_cannot_be_had_tells_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ArtifactError, match=r"HF_HUB_OFFLINE forbids .*python -c .*get_state_dict.*vgg19-dcbb9e9d\.pth"
    ):
        networks.vgg_state("torchvision")
    with pytest.raises(ArtifactError, match=r"cannot read .*none\.safetensors"):
        networks.vgg_state(str(tmp_path / "none.safetensors"))
    cached = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    cached.parent.mkdir(parents=True)
    torch.save(tiny_styler.vgg(), cached)
    assert networks.vgg_state("torchvision").keys() == tiny_styler.vgg().keys()


# --- guidance ---------------------------------------------------------------------------------------------------------


def test_templates_are_the_79_of_clipstyler():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 79
    assert all(template.count("{}") == 1 and template.endswith(".") for template in TEMPLATES)
    assert {"a bad photo of a {}.", "art of the {}.", "the origami {}.", "a photo of one {}."} <= set(TEMPLATES)


def test_images_and_texts_are_embedded_as_transformers_does(clip):
    guide = Guide(clip, None, "a Photo", "snowy day")
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    texts = [[template.format(text) for template in TEMPLATES] for text in ("snowy day", "a Photo")]
    with torch.inference_mode():
        found = []
        for part in texts:
            rows = [model.get_text_features(**tokenizer(text, return_tensors="pt")) for text in part]
            found.append(torch.cat([getattr(row, "pooler_output", row) for row in rows]))
        assert torch.allclose(guide.direction, losses.text_direction(*found), atol=1e-5)
        image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        processor = transformers.CLIPImageProcessor(do_resize=False, do_center_crop=False, do_rescale=False)
        pixels = torch.as_tensor(np.stack(processor(list(image.permute(0, 2, 3, 1).numpy()))["pixel_values"]))
        theirs = model.get_image_features(pixel_values=pixels)
        theirs = F.normalize(getattr(theirs, "pooler_output", theirs), dim=1)
        torch.testing.assert_close(guide.embed(image), theirs, atol=1e-5, rtol=1e-4)
        assert guide.embed(torch.rand(3, 3, 40, 32)).shape == (3, 12)


def test_a_clip_without_its_image_tower_is_refused(clip, tmp_path):
    shutil.copytree(clip, tmp_path / "text")
    (tmp_path / "text" / "model.safetensors").unlink()
    model = transformers.CLIPModel.from_pretrained(clip)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("vision_model.")}
    model.save_pretrained(tmp_path / "text", state_dict=state)
    with pytest.raises(ArtifactError, match=r"lacks \d+ tensors of a CLIP image tower; the first is vision_model"):
        Guide(str(tmp_path / "text"), None, "a Photo", "snow")


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_loss_falls_and_only_the_decoder_changes(clip, pictures):
    styler = networks.build(tiny_styler.vgg(), 3)
    settings = chosen(clip, reconstruction=80, steps=60, learning_rate=3e-3, views=4)
    guide = Guide(clip, None, settings.source, settings.text)
    frozen = [checksum(part) for part in (styler.encoder, guide.vision)]
    direction = guide.direction.clone()
    fresh = checksum(styler.decoder)
    found = training.train(styler, guide, images_of(pictures), settings, seed=3)
    assert [checksum(part) for part in (styler.encoder, guide.vision)] == frozen
    assert torch.equal(guide.direction, direction)
    assert checksum(styler.decoder) != fresh
    assert not any(
        parameter.grad is not None for part in (styler.encoder, guide.vision) for parameter in part.parameters()
    )

    def ends(name):
        return np.mean(found[name][:8]), np.mean(found[name][-8:])

    assert {name: len(part) for name, part in found.items()} == {
        **dict.fromkeys(("reconstruction/pixels", "reconstruction/features"), 80),
        **dict.fromkeys(("style/content", "style/patch", "style/whole", "style/smoothness"), 60),
    }
    for name in ("reconstruction/pixels", "style/patch", "style/whole"):
        first, last = ends(name)
        assert last < 0.9 * first, (name, first, last)


def test_a_seed_is_one_styler_whatever_the_global_state(clip, pictures, snowy):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    again, other = trained(clip, pictures), trained(clip, pictures, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert snowy[2] == again[2]
    assert checksum(snowy[0]) == checksum(again[0]) != checksum(other[0])


def test_the_text_decides(clip, pictures, snowy):
    assert checksum(snowy[0]) != checksum(trained(clip, pictures, text="foggy night")[0])


def test_every_term_counts_by_its_weight(clip, pictures, snowy):
    styler, guide, _ = snowy
    content = training.crops(images_of(pictures).read([0, 1]), chosen(clip), torch.Generator().manual_seed(0))

    def terms(**changed):
        draws = torch.Generator().manual_seed(5)
        found = training.style_losses(styler, guide, content, chosen(clip, **changed), draws)
        return {name: value.item() for name, value in found.items()}

    plain = terms()
    for name in ("content", "patch", "whole", "smoothness"):
        changed = terms(**{name: 3 * getattr(chosen(clip), name)})
        assert changed == pytest.approx(plain | {name: 3 * plain[name]}, rel=1e-5)
    assert terms(threshold=2.0)["patch"] == 0
    assert terms(distortion=0.0)["patch"] != pytest.approx(plain["patch"], rel=1e-3)  # it is of views, not of images


def test_views_are_perspectives_of_the_image():
    image = torch.zeros(1, 3, 32, 32)
    image[..., 8:24, 8:24] = 1
    draws = torch.Generator().manual_seed(0)
    views = [training.perspective(image, 0.5, draws) for _ in range(20)]
    assert all(view.shape == image.shape for view in views)
    assert len({float(view.sum()) for view in views}) == 20
    assert all(0.2 * image.sum() < view.sum() < image.sum() + 1 for view in views)  # nothing is enlarged
    assert torch.allclose(training.perspective(image, 0.0, draws), image, atol=1e-4)


def test_crops_are_cut_from_images_of_any_size(pictures):
    settings = Options(text="snow", size=32, crop=24)
    draws = torch.Generator().manual_seed(0)
    found = training.crops([torch.from_numpy(pictures[5]).permute(2, 0, 1)] * 9, settings, draws)
    assert found.shape == (9, 3, 24, 24)
    assert len({float(part.sum()) for part in found}) > 5
    assert found.min() >= 0
    assert found.max() <= 1
    whole = training.resize(torch.from_numpy(pictures[5]).permute(2, 0, 1), 32)
    assert whole.shape == (3, 40, 32)
    windows = whole.unfold(1, 24, 1).unfold(2, 24, 1).float() / 255
    for part in found:
        assert (windows.permute(1, 2, 0, 3, 4) == part).all(dim=(2, 3, 4)).any()


def test_a_loss_that_is_not_finite_stops_training(clip, pictures):
    with pytest.raises(TrainingError, match="the styler's loss is not finite at step"):
        trained(clip, pictures, reconstruction_rate=1e30)


# --- restyled images --------------------------------------------------------------------------------------------------


def test_an_image_is_restyled_alone_and_in_range(pictures, snowy):
    styler, images = snowy[0], images_of(pictures)
    found = [training.stylise(styler, image, 32) for image in images.read(np.arange(6))]
    assert [made.shape for made in found] == [
        (32, 35, 3),
        (32, 32, 3),
        *((height, 32, 3) for height in (33, 35, 37, 40)),
    ]
    assert all(made.dtype == np.uint8 for made in found)
    again = [training.stylise(styler, image, 32) for image in images.read([4, 2])]
    np.testing.assert_array_equal(again[0], found[4])
    np.testing.assert_array_equal(again[1], found[2])


def test_a_decoder_that_only_reconstructs_gives_the_image_back():
    """After the first phase alone images are nearer to themselves than to others, and than from a fresh decoder."""
    generator = torch.Generator().manual_seed(2)
    smooth = F.interpolate(torch.rand(5, 3, 2, 2, generator=generator), (32, 32), mode="bilinear")
    images = images_of((255 * smooth).byte().permute(0, 2, 3, 1).numpy())
    settings = Options(text="snow", size=32, crop=32, reconstruction=150, batch_size=4, steps=1)
    styler = networks.build(tiny_styler.vgg(widths=(8, 8, 8, 8, 12, 12, 12, 12, 32)), 0)

    def away():
        made = np.stack([training.stylise(styler, image, 32) for image in images.read(np.arange(5))]) / 255
        return np.abs(made[:, None] - smooth.permute(0, 2, 3, 1).numpy()[None]).mean(axis=(2, 3, 4))

    fresh = away().diagonal().mean()
    training.train(styler, Still(), images, settings, seed=0)
    found = away()
    itself = found.diagonal().mean()
    assert itself < 0.5 * fresh
    assert itself < 0.9 * (found.sum() - found.trace()) / 20


# --- what is refused --------------------------------------------------------------------------------------------------


def test_wrong_options_are_listed_together():
    with pytest.raises(ConfigError) as error:
        options({"text": "", "crop": 100, "stepps": 3, "views": 0})
    for part in ("text: ''", "crop: 100", "stepps: 3", "views: 0", "known here: text, source"):
        assert part in str(error.value)
    with pytest.raises(ConfigError, match="crop 224 is larger than size 64"):
        options({"text": "snow", "size": 64})
