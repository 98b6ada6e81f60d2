"""The two steps of CLIPstyler: a decoder for a text, and the training images that it makes of a selection."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_styler
import torch

from scripts import stylize, train_styler
from vecaf import artifacts
from vecaf.data import image_sets
from vecaf.errors import ArtifactError, ConfigError
from vecaf.models.clipstyler import networks, training

COUNT = 9
LOOK = {"share": 1.0, "seed": 2, "quality": None}


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A packed pool of nine images beside a test set of two, tiny models, and a decoder that was trained on them."""
    folder = tmp_path_factory.mktemp("styler")
    coarse = np.random.default_rng(0).integers(0, 255, (COUNT + 2, 4, 4, 3), dtype=np.uint8)
    artifacts.write_array(folder / "images.npy", coarse.repeat(10, axis=1).repeat(8, axis=2))
    index = pd.DataFrame({"id": [*range(COUNT), 0, 1], "file": [f"scan/{n:03d}" for n in range(COUNT + 2)]})
    index = index.assign(label=np.arange(COUNT + 2) % 2, split=["pool"] * COUNT + ["test"] * 2, tuning=False)
    artifacts.write_table(folder / "index.parquet", index)
    meta = {"pool_size": COUNT, "test_size": 2, "packed": True, "root": None, "dataset": "small", "index_hash": "ab"}
    artifacts.write_json(folder / "pool.json", meta | {"classes": ["cat", "dog"]})
    artifacts.write_table(folder / "ids.parquet", pd.DataFrame({"id": [7, 1, 4]}))
    artifacts.write_table(folder / "more.parquet", pd.DataFrame({"id": [4, 8]}))
    tiny_styler.clip(folder / "clip")
    tiny_styler.vgg_file(folder / "vgg.safetensors")
    train(folder)
    return folder


def pool_of(folder):
    return ["--pool", *(str(folder / file) for file in ("index.parquet", "images.npy", "pool.json")), "--device", "cpu"]


def train(folder, name="styler", **changed):
    settings = {"text": "snowy day", "clip": str(folder / "clip"), "vgg": str(folder / "vgg.safetensors"), "seed": 1}
    settings |= {**tiny_styler.QUICK, "reconstruction": 4, "steps": 3, **changed}
    told = [*pool_of(folder), "--params", json.dumps(settings), "--record", str(folder / f"{name}.json")]
    return train_styler.main([*told, "--out", str(folder / f"{name}.safetensors")])


def look(folder, *more, selection=("ids",), name="set", **changed):
    """Run the step and return its table."""
    told = [*pool_of(folder), "--params", json.dumps(LOOK | changed), "--styler", str(folder / "styler.safetensors")]
    told += ["--selection", *(str(folder / f"{ids}.parquet") for ids in selection), *more]
    said = stylize.main([*told, "--out", str(folder / f"{name}.parquet"), "--record", str(folder / f"{name}.json")])
    return said, artifacts.read_table(folder / f"{name}.parquet")


def test_a_decoder_is_written_with_what_it_was_trained_on(ready):
    record = artifacts.read_json(ready / "styler.json")
    assert record["weights_hash"] == artifacts.file_hash(ready / "styler.safetensors")
    assert record["options"]["text"] == "snowy day"
    assert list(record["clip"]["weights"]) == ["model.safetensors"]
    assert len(record["losses"]["style/patch"]) == 3
    assert record["stage"]["stage"] == "train_styler"
    names = artifacts.read_weights(ready / "styler.safetensors").keys()
    assert {name.partition(".")[0] for name in names} == {"decoder", "scale"}
    before = artifacts.file_hash(ready / "styler.safetensors")
    assert train(ready, "again").startswith("“snowy day”: in 3 steps the loss went from ")
    assert artifacts.file_hash(ready / "again.safetensors") == before
    train(ready, "other", seed=2)
    assert artifacts.file_hash(ready / "other.safetensors") != before


def test_restyled_images_keep_their_ids_and_labels(ready):
    said, table = look(ready)
    assert said == "3 of 3 images restyled as “snowy day”"
    assert table["id"].tolist() == [1, 4, 7]
    assert table["label"].tolist() == [1, 0, 1]
    images, facts = image_sets.read([ready / "set.parquet"], ["cat", "dog"])
    assert facts == LOOK | {
        "text": "snowy day",
        "styler_hash": artifacts.file_hash(ready / "styler.safetensors"),
        "count": 3,
        "ids_hash": artifacts.ids_hash([1, 4, 7]),
        "index_hash": "ab",
    }
    record = artifacts.read_json(ready / "set.json")
    assert (record["facts"], record["restyled"]) == (facts, 3)
    assert record["set_hash"] == artifacts.file_hash(ready / "set.parquet")
    styler = networks.build(tiny_styler.vgg(), 0)
    styler.load_state_dict(artifacts.read_weights(ready / "styler.safetensors"))
    pixels = torch.from_numpy(np.load(ready / "images.npy")).permute(0, 3, 1, 2)
    for position, number in enumerate([1, 4, 7]):
        found = images.read([position])[0].permute(1, 2, 0).numpy()
        assert found.shape == (40, 32, 3)
        np.testing.assert_array_equal(found, training.stylise(styler, pixels[number], 32))


def test_neither_shards_nor_companions_change_an_image(ready):
    _, whole = look(ready, selection=("ids", "more"))
    assert whole["id"].tolist() == [1, 4, 7, 8]
    parts = [look(ready, "--shard", f"{n}/3", selection=("ids", "more"), name=f"part{n}")[1] for n in (1, 2, 3)]
    assert [image for part in parts for image in part["image"]] == whole["image"].tolist()
    assert look(ready)[1]["image"].tolist() == whole["image"].tolist()[:3]
    images, _ = image_sets.read([ready / f"part{n}.parquet" for n in (1, 2, 3)], ["cat", "dog"])
    assert images.ids.tolist() == [1, 4, 7, 8]


def test_a_share_is_drawn_by_id_and_the_rest_is_only_resized(ready):
    artifacts.write_table(ready / "all.parquet", pd.DataFrame({"id": np.arange(COUNT)}))
    _, styled = look(ready, selection=("all",))
    said, half = look(ready, selection=("all",), share=0.5)
    same = [one == other for one, other in zip(half["image"], styled["image"], strict=True)]
    assert 0 < sum(same) < COUNT
    assert said.startswith(f"{sum(same)} of {COUNT} images")
    _, some = look(ready, share=0.5)
    assert some["image"].tolist() == half["image"][[1, 4, 7]].tolist()
    pixels = torch.from_numpy(np.load(ready / "images.npy")).permute(0, 3, 1, 2)
    for number, restyled in enumerate(same):
        if not restyled:
            plain = training.resize(pixels[number], 32).permute(1, 2, 0).numpy()
            assert half["image"][number] == image_sets.encode(np.ascontiguousarray(plain), None)


def test_jpeg_of_a_quality_is_written(ready):
    assert look(ready, quality=95)[1]["image"][0].startswith(b"\xff\xd8")


def test_other_weights_of_vgg_are_refused(ready, tmp_path):
    (ready / "vgg.safetensors").rename(tmp_path / "right")
    tiny_styler.vgg_file(ready / "vgg.safetensors", seed=5)
    try:
        with pytest.raises(ArtifactError, match="decodes the features of other weights of VGG-19"):
            look(ready, name="wrong")
    finally:
        (tmp_path / "right").rename(ready / "vgg.safetensors")
    assert not (ready / "wrong.parquet").exists()


def test_wrong_options_leave_nothing(ready):
    with pytest.raises(ConfigError, match="styler: stepps: 3"):
        train(ready, "wrong", stepps=3)
    with pytest.raises(ArtifactError, match=r"cannot read .*none\.safetensors"):
        train(ready, "wrong", vgg=str(ready / "none.safetensors"))
    assert not list(ready.glob("wrong*"))
