"""Self-supervised pretraining: it learns without labels, is its seed alone, and its k-NN measure is right."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from vecaf.errors import ConfigError, TrainingError
from vecaf.models import backbone, pretraining

SPEC = {
    "timm": "vit_tiny_patch16_224",
    "width": 96,
    "args": {"patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 3},
    "weights": "self_supervised",
}
SMALL = SPEC | {"width": 24, "args": {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}}
QUICK = {"epochs": 2, "batch_size": 16}


class Images:
    def __init__(self, pixels, labels):
        self.pixels, self.labels = pixels, labels

    def __len__(self):
        return len(self.labels)

    def read(self, positions):
        return self.pixels[torch.from_numpy(positions)]


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(values / 16 * 255).round().to(torch.uint8).view(-1, 1, 8, 8).expand(-1, 3, 8, 8)
    test = np.arange(len(labels)) % 5 == 0
    return Images(pixels[~test], labels[~test]), Images(pixels[test], labels[test])


@pytest.fixture
def few(digits):
    return tuple(Images(part.pixels[:64], part.labels[:64]) for part in digits)


@pytest.mark.slow
def test_pretraining_on_digits_beats_the_untrained_net_clearly(digits):
    state, info = pretraining.pretrain(SPEC, 16, *digits, seed=1, epochs=4)  # the default of ten reaches .97
    assert info["knn"] > info["knn_untrained"] + 0.3
    assert info["knn"] > 0.75
    assert info["loss_last"] < 0.6 * info["loss_first"]
    backbone.build(SPEC, 10, input_size=16, state=state)
    assert not any(name.startswith("head.") for name in state)


def test_labels_are_not_used_and_the_seed_is_everything(few):
    pool, test = few
    torch.manual_seed(1)
    first, info = pretraining.pretrain(SMALL, 16, pool, test, seed=3, **QUICK)
    torch.manual_seed(2)
    shuffled = Images(pool.pixels, pool.labels[::-1].copy())
    second, _ = pretraining.pretrain(SMALL, 16, shuffled, test, seed=3, **QUICK)
    third, _ = pretraining.pretrain(SMALL, 16, pool, test, seed=4, **QUICK)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], third["blocks.0.attn.qkv.weight"])
    assert {"knn_untrained", "knn", "knn_pixels", "seconds", "epochs", "images", "parameters"} <= set(info)


def test_global_random_state_is_untouched(few):
    before = torch.get_rng_state()
    pretraining.pretrain(SMALL, 16, *few, seed=3, **QUICK)
    assert torch.equal(before, torch.get_rng_state())


def test_images_of_several_sizes_can_be_pretrained_on(few):
    class Mixed(Images):
        def read(self, positions):
            return [image[:, : 6 + number % 2] for number, image in enumerate(super().read(positions))]

    mixed = [Mixed(part.pixels, part.labels) for part in few]
    pretraining.pretrain(SMALL, 16, *mixed, seed=3, epochs=1, batch_size=16)


def test_wrong_options_are_listed_together(few):
    with pytest.raises(ConfigError, match=r"epochs: 0 .*; epoch: 3 .*known here: epochs, batch_size"):
        pretraining.pretrain(SMALL, 16, *few, seed=3, epochs=0, epoch=3)


def test_a_diverging_run_is_told(few):
    with pytest.raises(TrainingError, match="lower `learning_rate`"):
        pretraining.pretrain(SMALL, 16, *few, seed=3, learning_rate=1e30, **QUICK)


def test_distortions_stay_images_and_without_any_are_none():
    images = torch.rand(50, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    none = dict.fromkeys(("rotation", "scale", "shear", "shift", "contrast", "erase"), 0.0)
    same = pretraining._distort(images, pretraining.options(none), torch.Generator().manual_seed(1))
    assert torch.allclose(same, images.clamp_min(1e-3), atol=1e-5)
    moved = pretraining._distort(images, pretraining.Options(), torch.Generator().manual_seed(1))
    assert 0 <= moved.min() <= moved.max() <= 1
    assert (moved - images).abs().mean() > 0.05
    flipped = pretraining._distort(images, pretraining.options(none | {"flip": True}), torch.Generator().manual_seed(1))
    mirrored = (flipped - images.flip(-1)).abs().amax(dim=(1, 2, 3)) < 0.01
    assert 10 < mirrored.sum() < 40


def test_knn_by_hand():
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    test = torch.tensor([[2.0, 0.1], [0.1, 3.0], [1.0, 0.9]])
    labels = np.array([0, 0, 1])
    assert pretraining.knn_accuracy(train, test, labels, np.array([0, 1, 0]), 1) == 1
    assert pretraining.knn_accuracy(train, test, labels, np.array([1, 1, 1]), 1) == pytest.approx(1 / 3)
    assert pretraining.knn_accuracy(train, test, labels, np.array([0, 1, 0]), 50) == 1


def test_importing_the_options_costs_no_torch():
    code = "import sys; from vecaf.models import pretraining; pretraining.Options(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
