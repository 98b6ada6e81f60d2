import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from vecaf.errors import ConfigError
from vecaf.models import captioners
from vecaf.models.captioners import attributes
from vecaf.models.captioners.class_names import with_article


def captions(images, classes=("cat",), labels=None, **params):
    labels = np.zeros(len(images), dtype=np.int64) if labels is None else labels
    captioner = captioners.build({"kind": "attributes", **params})
    return captioner.finish(captioner.caption(images, labels, list(classes), np.arange(len(images))))


def canvas(colour, side=20):
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].repeat(1, side, side)


def said(image):
    return captions([image])[0]


# --- what is said is true ---------------------------------------------------------------------------------------------


def test_a_bar_is_described_by_what_it_is():
    image = canvas((0, 0, 0))
    image[0, 3:17, 8:12] = 255  # a red bar, 14 high and 4 wide, in the middle
    assert said(image) == (
        "A picture of a cat: standing out strongly from a mostly even black background, lighter than it, mostly red, "
        "covering about 15 percent of the frame, much taller than wide, upright, evenly weighted, central."
    )


@pytest.mark.parametrize(("direction", "word"), [(1, "leaning to the left"), (-1, "leaning to the right")])
def test_lean(direction, word):
    image = canvas((255, 255, 255))
    for row in range(2, 18):
        column = 10 + direction * (row - 10) // 2
        image[:, row, column - 1 : column + 2] = 0
    assert word in said(image)
    assert "darker than it" in said(image)
    assert "mostly even white background" in said(image)


@pytest.mark.parametrize(
    ("rows", "columns", "place"),
    [
        (slice(1, 6), slice(8, 12), "towards the upper side"),
        (slice(13, 19), slice(13, 19), "towards the lower right side"),
        (slice(7, 13), slice(2, 6), "towards the left side"),
    ],
)
def test_place(rows, columns, place):
    image = canvas((30, 30, 200))
    image[:, rows, columns] = torch.tensor([250, 250, 0], dtype=torch.uint8)[:, None, None]
    assert place in said(image)
    assert "blue background" in said(image)
    assert "mostly yellow" in said(image)


def test_shape_and_balance():
    image = canvas((0, 0, 0))
    image[:, 5:8, 2:18] = 200
    image[:, 8:12, 9:11] = 200
    assert ", much wider than tall, heavier at the top" in said(image)


def checks(low, high, side=20):
    return torch.where((torch.arange(side)[:, None] + torch.arange(side)) % 2 == 0, low, high).to(torch.uint8)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (canvas((10, 10, 10)), ["very dark", "hardly any contrast", "few details", "mostly black"]),
        (canvas((240, 240, 240)), ["very bright", "mostly white"]),
        (canvas((20, 140, 30)), ["mostly green"]),
        (canvas((120, 80, 40)), ["mostly brown"]),
        (checks(0, 255).expand(3, 20, 20), ["high contrast", "many fine details"]),
    ],
)
def test_scenes(image, words):
    text = said(image)
    assert all(word in text for word in words), text


def test_a_scene_that_is_brighter_at_one_end():
    ramp = torch.linspace(200, 20, 20).to(torch.uint8)[None, :, None].expand(3, 20, 20)
    assert "brighter at the top" in said(ramp)
    assert "brighter at the bottom" in said(ramp.flip(1))


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((255, 0, 0), "red"),
        ((255, 0, 20), "red"),
        ((255, 128, 0), "orange"),
        ((120, 60, 0), "brown"),
        ((255, 235, 0), "yellow"),
        ((0, 160, 0), "green"),
        ((0, 200, 200), "turquoise"),
        ((0, 60, 220), "blue"),
        ((150, 0, 200), "purple"),
        ((255, 80, 180), "pink"),
        ((255, 180, 180), "pink"),
        ((128, 128, 130), "grey"),
        ((20, 10, 30), "black"),
        ((250, 250, 250), "white"),
    ],
)
def test_colours(rgb, name):
    assert attributes.COLOURS[attributes.colours(np.array([rgb]) / 255)[0]] == name


def test_digits_all_stand_out():
    scans = load_digits()
    images = torch.from_numpy(np.rint(scans.images * 255 / 16).astype(np.uint8))[:, None].expand(-1, 3, 8, 8)
    names = [str(number) for number in range(10)]
    found = captions(images, names, scans.target)
    assert all("lighter than it" in text and "even black background" in text for text in found)
    assert all(f"picture of a {label}:" in text for text, label in zip(found, scans.target, strict=True))
    assert len(set(found)) > 300
    top_heavy = np.array(["heavier at the top" in text for text in found])
    assert top_heavy[scans.target == 9].mean() > 0.5 > top_heavy[scans.target == 6].mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (300, 2), (500, 375)])
def test_any_size_has_a_caption(size):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, *size), dtype=np.uint8))
    assert said(image).endswith(".")


# --- class names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("airplane", "an airplane"),
        ("one", "a one"),
        ("eight", "an eight"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("hourglass", "an hourglass"),
        ("Faces_easy", "a Faces easy"),
        ("scissors", "scissors"),
        ("octopus", "an octopus"),
        ("bass", "a bass"),
        ("n02119789", "a kit fox"),
        ("n99999999", "a n99999999"),
    ],
)
def test_articles(name, text):
    assert with_article(name) == text


def test_the_class_name_can_be_left_out():
    image = canvas((20, 140, 30))
    named, unnamed = said(image), captions([image], name_class=False)[0]
    assert named.startswith("A picture of a cat: ")
    assert unnamed == named.replace(" of a cat", "", 1)


def test_without_class_names_labels_change_nothing():
    images = [canvas((20, 140, 30)), canvas((200, 10, 10))]
    labels = np.array([0, 1])
    first = captions(images, ("cat", "dog"), labels, name_class=False)
    assert first == captions(images, ("cat", "dog"), labels[::-1], name_class=False)


# --- the class name alone ---------------------------------------------------------------------------------------------


def names_of(labels, classes, **params):
    captioner = captioners.build({"kind": "class_name", **params})
    return captioner.finish(captioner.caption(None, np.array(labels), classes, np.arange(len(labels))))


def test_the_label_in_words_and_nothing_of_the_image():
    classes = ["Faces_easy", "sea_horse", "ant"]
    assert names_of([1, 0, 2, 1], classes) == ["sea horse", "Faces easy", "ant", "sea horse"]
    assert captioners.get("class_name").needs_images is False


def test_other_images_labels_are_as_many_of_each():
    labels = [0, 0, 1, 2, 2, 2, 1, 0, 2]
    kept, moved = names_of(labels, ["a", "b", "c"]), names_of(labels, ["a", "b", "c"], shuffled=True, seed=3)
    assert sorted(moved) == sorted(kept)
    assert moved != kept


# --- the interface ----------------------------------------------------------------------------------------------------


def test_shuffled_captions_all_move_and_none_is_lost():
    images = [canvas((20, 140, 30), side) for side in range(3, 20)]
    classes = [f"thing{number}" for number in range(len(images))]
    labels = np.arange(len(images))
    kept = captions(images, classes, labels)
    moved = captions(images, classes, labels, shuffled=True, seed=4)
    assert sorted(moved) == sorted(kept)
    assert all(mine != theirs for mine, theirs in zip(kept, moved, strict=True))
    assert moved == captions(images, classes, labels, shuffled=True, seed=4)
    assert moved != captions(images, classes, labels, shuffled=True, seed=5)


@pytest.mark.parametrize("kind", ["attributes", "class_name"])
def test_every_image_has_one_caption_however_the_pool_is_batched(kind):
    """Of the captioners that need neither a model nor a file."""
    stack = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (7, 3, 12, 12), dtype=np.uint8))
    labels, classes, ids = np.array([0, 1, 1, 0, 2, 2, 1]), ["cat", "dog", "sea_horse"], np.arange(7)

    def written(*sizes):
        captioner = captioners.build({"kind": kind, "seed": 5})
        assert captioner.prepare([f"{n}.png" for n in ids], [], torch.device("cpu")) == {}
        captions = []
        for rows in np.split(ids, np.cumsum(sizes)):
            images = stack[rows] if captioner.needs_images else None
            captions += captioner.caption(images, labels[rows], classes, rows)
        return captioner.finish(captions)

    whole = written()
    assert whole == written(3, 2) == written(1, 1, 4)
    assert len(whole) == 7
    assert [next(name for name in ("cat", "dog", "sea horse") if name in text) for text in whole] == [
        classes[label].replace("_", " ") for label in labels
    ]


def test_lists_and_tensors_are_the_same():
    stack = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (4, 3, 16, 16), dtype=np.uint8))
    assert captions(stack) == captions(list(stack))


def test_unknown_kinds_and_parameters_are_named():
    with pytest.raises(ConfigError, match="captioner kind 'poet' is not one of attributes, blip2, class_name, dataset"):
        captioners.build({"kind": "poet"})
    with pytest.raises(ConfigError, match="name_clas: Extra inputs"):
        captioners.build({"kind": "attributes", "name_clas": True})
    with pytest.raises(ConfigError, match=r"shuffled: .*boolean"):
        captioners.build({"kind": "attributes", "shuffled": "yes"})
    assert captioners.implemented("attributes")
    assert not captioners.implemented("poet")
    assert "attributes" in captioners.names()


@pytest.mark.parametrize("module", ["captioners", "text_encoders"])
def test_importing_is_cheap(module):
    code = f"import sys, vecaf.models.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "torchvision", "timm", "transformers", "pandas", "sklearn", "scipy"} & set(loaded) == set()
