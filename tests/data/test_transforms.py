import io
import time

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from vecaf.data import transforms
from vecaf.data.resampling import crop_resize
from vecaf.data.transforms import EvalTransform, TrainTransform
from vecaf.errors import ConfigError

HALF = (0.5, 0.5, 0.5)


def photograph(seed, width, height):
    """Return an image with structure at all scales, as JPEG gives it."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(random.integers(0, 255, (n, n, 3), dtype=np.uint8)).resize((width, height)), dtype=float
        )
        for n in (2, 5, 13, 34)
    ]
    file = io.BytesIO()
    pixels = np.average(layers, axis=0, weights=[4, 3, 2, 1]) * 1.6 - 70
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return Image.open(file).convert("RGB")


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- evaluation ------------------------------------------------------------------------------------------------------

SIDES = [(320, 240), (240, 320), (500, 375), (100, 130), (64, 64), (333, 251), (224, 224), (90, 400)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [224, 96])
def test_features_agree_with_timm_s_own_transform(interpolation, size):
    """The promise that lets any timm weights be used: cosine of features at least .999, here of a random ViT."""
    images = [photograph(number, *side) for number, side in enumerate(SIDES)]
    theirs = timm.data.create_transform(
        size, is_training=False, interpolation=interpolation, mean=HALF, std=HALF, crop_pct=0.875
    )
    expected = torch.stack([theirs(image) for image in images])
    ours = EvalTransform(size, "resize256_crop224", interpolation, HALF, HALF)([tensor(image) for image in images])
    assert ours.shape == expected.shape
    assert ours.dtype == torch.float32
    assert (ours - expected).abs().max() < 5 * 2 / 255
    assert (ours - expected).abs().mean() < 0.3 * 2 / 255

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(
            "vit_tiny_patch16_224", img_size=size, embed_dim=48, depth=2, num_heads=3, num_classes=0
        ).eval()
    with torch.inference_mode():
        cosine = torch.cosine_similarity(model(ours), model(expected))
    assert cosine.min() > 0.999


def test_squash_is_pillow_s_resize_whatever_the_aspect():
    image = photograph(1, 200, 90)
    expected = torch.from_numpy(np.array(image.resize((64, 64), Image.Resampling.BICUBIC))).permute(2, 0, 1)
    ours = EvalTransform(64, "squash224", "bicubic", (0, 0, 0), (1, 1, 1))([tensor(image)])[0] * 255
    assert (ours - expected).abs().max() <= 1.01


@pytest.mark.parametrize("mode", transforms.MODES)
def test_stacked_and_listed_images_give_the_same(mode):
    stack = torch.stack([tensor(photograph(number, 40, 30)) for number in range(5)])
    transform = EvalTransform(32, mode)
    mixed = [tensor(photograph(9, 31, 50)), *stack]
    assert torch.equal(transform(stack), transform(list(stack)))
    assert torch.equal(transform(mixed)[1:], transform(stack))


def test_normalisation():
    grey = torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)
    out = EvalTransform(8, mean=(0.1, 0.2, 0.3), std=(0.1, 0.2, 0.4))(grey)
    assert torch.allclose(out[0, :, 0, 0], torch.tensor([1.0, 0.0, -0.25]), atol=1e-6)
    assert grey.eq(51).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: EvalTransform(8, "crop"), "eval_transform 'crop' is not one of"),
        (lambda: EvalTransform(8, interpolation="lanczos"), "interpolation 'lanczos' is not one of"),
        (lambda: TrainTransform(8, scale=(0.5, 1.2)), "crop scale"),
        (lambda: TrainTransform(8, ratio=(2, 1)), "crop ratio"),
    ],
)
def test_impossible_values_are_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("source", [8, 32, 150])
def test_matrix_products_are_torchvision_s_crop_and_resize(source, interpolation):
    """Crops larger and smaller than the output, at the edges and of one pixel."""
    images = torch.stack([tensor(photograph(number, source, source)) for number in range(6)])
    half = source // 2
    boxes = torch.tensor(
        [
            [0, 0, source, source],
            [1, 2, source - 3, source - 2],
            [source - half, 0, half, half],
            [0, source - 3, 5, 3],
            [2, 2, 1, 1],
            [0, 0, source, 3],
        ]
    )
    flip = torch.tensor([False, True, False, True, False, False])
    ours = crop_resize(images, boxes, flip, 24, interpolation)
    mode = InterpolationMode(interpolation)
    for image, box, flipped, found in zip(images, boxes.tolist(), flip, ours, strict=True):
        expected = tv.resized_crop(image, *box, [24, 24], mode, antialias=True).float()
        assert ((expected.flip(2) if flipped else expected) - found).abs().max() <= 1.01


@pytest.mark.parametrize("size", [8, 32, 200])
def test_both_ways_of_cropping_agree(size, monkeypatch):
    stack = torch.stack([tensor(photograph(number, size, size)) for number in range(8)])
    transform = TrainTransform(48, (0, 0, 0), (1, 1, 1))
    monkeypatch.setattr(transforms, "_MATRIX_PIXELS", 10**9)
    first, second, third = generator(), generator(), generator(1)
    matrices, one_by_one = transform(stack, generator=first), transform(list(stack), generator=second)
    difference = (matrices - one_by_one).abs() * 255
    assert difference.max() <= 3.01  # torch's uint8 kernel rounds between its two passes
    assert difference.mean() < 0.5
    assert torch.equal(first.get_state(), second.get_state())
    assert not torch.equal(transform(stack, generator=third), matrices)


def test_boxes_have_the_distribution_of_torchvision():
    from torchvision.transforms import RandomResizedCrop

    size, number = (50, 80), 6000
    drawn, flips = TrainTransform(8).draw(torch.tensor([size]).expand(number, 2), generator(3))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        image = torch.empty(3, *size)
        theirs = torch.tensor([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(number)])
    for column in range(4):
        ours, expected = drawn[:, column].sort().values.double(), theirs[:, column].sort().values.double()
        assert (ours - expected).abs().mean() < 0.6  # Wasserstein distance in pixels
    assert abs(flips.double().mean() - 0.5) < 0.03
    assert (drawn[:, 0] + drawn[:, 2] <= 50).all()
    assert (drawn[:, 1] + drawn[:, 3] <= 80).all()


@pytest.mark.parametrize(("size", "box"), [((10, 90), [0, 38, 10, 13]), ((90, 10), [38, 0, 13, 10])])
def test_images_that_no_draw_fits_are_cropped_in_the_middle(size, box):
    drawn, _ = TrainTransform(8, scale=(0.9, 1.0)).draw(torch.tensor([size] * 4), generator())
    assert drawn.tolist() == [box] * 4


def test_draws_do_not_depend_on_image_sizes():
    first, second = generator(5), generator(5)
    transform = TrainTransform(8)
    transform([tensor(photograph(0, 90, 10))] * 3, generator=first)
    transform([tensor(photograph(0, 20, 20))] * 3, generator=second)
    assert torch.equal(first.get_state(), second.get_state())


def test_nothing_is_drawn_without_crop_and_flip():
    stack = torch.stack([tensor(photograph(number, 20, 20)) for number in range(4)])
    out = TrainTransform(16, crop=False, flip=False)(stack, generator=generator())
    assert torch.equal(out, EvalTransform(16)(stack))


def test_flips_are_left_to_right():
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    image[..., 0] = 255
    out = TrainTransform(8, (0, 0, 0), (1, 1, 1), crop=False)(image.expand(64, 3, 8, 8), generator=generator())
    left, right = out[..., 0].mean(dim=(1, 2)), out[..., 7].mean(dim=(1, 2))
    assert ((left == 1) ^ (right == 1)).all()
    assert 10 < (right == 1).sum() < 54


def test_global_random_state_is_neither_used_nor_needed():
    stack = torch.stack([tensor(photograph(0, 20, 20))] * 4)
    before = torch.get_rng_state()
    TrainTransform(16)(stack, generator=generator())
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="explicit generator"):
        TrainTransform(16)(stack)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_the_same_crops():
    stack = torch.stack([tensor(photograph(number, 60, 60)) for number in range(4)])
    for images in (stack, list(stack)):
        for transform in (TrainTransform(32), EvalTransform(32)):
            there, here = (transform(images, device, generator()) for device in ("cuda", "cpu"))
            assert (there.cpu() - here).abs().max() < 2.1 / 255 / 0.22


def test_training_crops_are_cheap():
    """Generous: 64 images of CIFAR's size to 96 pixels take about 6 ms on one core."""
    stack = torch.stack([tensor(photograph(number, 32, 32)) for number in range(64)])
    transform, draws = TrainTransform(96), generator()
    transform(stack, generator=draws)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        transform(stack, generator=draws)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.15
