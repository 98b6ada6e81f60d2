"""The corrupt step: the same images however it is sharded, from the dataset's own images or from a released set."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scripts import corrupt
from vecaf import artifacts
from vecaf.data import corruptions, decoding, image_sets, pool, sources
from vecaf.errors import ArtifactError, ConfigError, DataError

FOG = {"corruption": "fog", "severity": 3, "seed": 5, "quality": 85}


@pytest.fixture(params=["packed", "files"])
def folder(tmp_path, request):
    """An indexed image folder: two classes, 3 + 7 images, of one size or of several."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 7)):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(count):
                size = (16, 16) if request.param == "packed" else (20 + 5 * number, 18)
                coarse = Image.fromarray(generator.integers(0, 255, (4, 4, 3), dtype=np.uint8))
                file = f"{split}/{name}/{number}.jpg"
                coarse.resize(size, Image.Resampling.BICUBIC).save(tmp_path / "images" / file)
    parts = pool.build_pool(sources.load("image_folder", str(tmp_path / "images")), dataset="mine", tuning_seed=0)
    artifacts.write_table(tmp_path / "index.parquet", parts[0])
    artifacts.write_array(tmp_path / "images.npy", parts[1])
    artifacts.write_json(tmp_path / "pool.json", parts[2])
    assert parts[2]["packed"] == (request.param == "packed")
    return tmp_path


def run(folder, name="set", params=FOG, *more):
    """Run the step and return the path of its set."""
    told = ["--pool", *(str(folder / file) for file in ("index.parquet", "images.npy", "pool.json"))]
    told += ["--params", json.dumps(params), *map(str, more)]
    corrupt.main([*told, "--out", str(folder / f"{name}.parquet"), "--record", str(folder / f"{name}.json")])
    return folder / f"{name}.parquet"


def test_a_set_holds_every_test_image_and_says_how_it_was_made(folder):
    path = run(folder)
    images, facts = image_sets.read([path], ["cat", "dog"])
    packed = artifacts.read_json(folder / "pool.json")["packed"]
    assert images.ids.tolist() == list(range(14))
    assert images.labels.tolist() == [0] * 7 + [1] * 7
    assert {tuple(image.shape) for image in images.read(np.arange(14))} == {(3, 16, 16) if packed else (3, 224, 224)}
    record = artifacts.read_json(folder / "set.json")
    assert record["facts"] == facts
    assert facts == FOG | {
        "crop": None if packed else 224,
        "source": "generated",
        "split": "test",
        "count": 14,
        "ids_hash": artifacts.ids_hash(np.arange(14)),
        "index_hash": artifacts.read_json(folder / "pool.json")["index_hash"],
    }
    assert record["set_hash"] == artifacts.file_hash(path)
    assert record["stage"]["stage"] == "corrupt"


@pytest.mark.parametrize("shards", [3, 20])
def test_any_number_of_shards_is_the_same_set(folder, shards):
    whole = artifacts.read_table(run(folder))
    paths = [run(folder, f"part{n}", FOG, "--shard", f"{n}/{shards}") for n in range(1, shards + 1)]
    parts = pd.concat(map(artifacts.read_table, paths))
    for column in ("id", "label", "file", "image"):
        assert parts[column].tolist() == whole[column].tolist()
    images, _ = image_sets.read(paths, ["cat", "dog"])
    assert len(images) == 14
    with pytest.raises(ArtifactError, match="not those of the whole set"):
        image_sets.read(paths[1:], ["cat", "dog"])


def test_chosen_images_of_the_pool_are_those_of_the_whole_pool(folder):
    artifacts.write_table(folder / "ids.parquet", pd.DataFrame({"id": [1, 4]}))
    chosen = artifacts.read_table(run(folder, "a", FOG, "--split", "pool", "--selection", folder / "ids.parquet"))
    whole = artifacts.read_table(run(folder, "b", FOG, "--split", "pool"))
    assert chosen["id"].tolist() == [1, 4]
    assert chosen["image"].tolist() == whole["image"][[1, 4]].tolist()
    assert len(whole) == 6


def test_corruptions_and_severities_differ_and_a_quality_is_obeyed(folder):
    sets = [
        artifacts.read_table(run(folder, "s", FOG | changed))["image"].tolist()
        for changed in ({}, {"severity": 5}, {"corruption": "snow"}, {"seed": 6}, {"quality": None})
    ]
    assert len({tuple(images) for images in sets}) == 5
    assert decoding.decode_bytes(sets[4][0], "a").shape == decoding.decode_bytes(sets[0][0], "a").shape
    assert sets[4][0].startswith(b"\x89PNG")


def test_a_released_set_is_packed_as_it_is(folder):
    for name in ("cat", "dog"):
        (folder / "c" / "fog" / "3" / name).mkdir(parents=True)
        for number in range(7):
            pixels = np.full((24, 24, 3), 20 * number, np.uint8)
            Image.fromarray(pixels).save(folder / "c" / "fog" / "3" / name / f"{number}.jpg")
    path = run(folder, "set", {"corruption": "fog", "severity": 3}, "--released", folder / "c")
    table = artifacts.read_table(path)
    assert table["image"][9] == (folder / "c" / "fog" / "3" / "dog" / "2.jpg").read_bytes()
    assert (table.attrs["source"], table.attrs["crop"]) == ("released", 224)
    second = artifacts.read_table(run(folder, "b", FOG, "--released", folder / "c", "--shard", "2/3"))
    assert second["image"].tolist() == table["image"][5:10].tolist()
    (folder / "c" / "fog" / "3" / "dog" / "2.jpg").unlink()
    path.unlink()
    with pytest.raises(DataError, match=r"fog/3/dog: 6 images, the test set has 7; 2\.jpg is missing"):
        run(folder, "set", FOG, "--released", folder / "c")
    assert not path.exists()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [({"corruption": "rain"}, "corruption 'rain' is not one of"), ({"severity": 6}, "severity 6 of fog is not one of")],
)
def test_what_is_unknown_is_refused_before_anything_is_read(tmp_path, changed, sentence):
    with pytest.raises(ConfigError, match=sentence):
        run(tmp_path, "set", FOG | changed)
    assert not list(tmp_path.iterdir())


def test_grey_and_sixteen_bit_files_are_read_as_rgb(tmp_path):
    """Indexing lets them in, so corrupting must not stumble over them; bare arrays of that kind are refused."""
    grey = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    for split in ("train", "test"):
        (tmp_path / "images" / split / "cat").mkdir(parents=True)
        Image.fromarray(grey).save(tmp_path / "images" / split / "cat" / "deep.png")
        Image.fromarray((grey >> 8).astype(np.uint8)).save(tmp_path / "images" / split / "cat" / "grey.png")
    parts = pool.build_pool(sources.load("image_folder", str(tmp_path / "images")), dataset="grey", tuning_seed=0)
    artifacts.write_table(tmp_path / "index.parquet", parts[0])
    artifacts.write_array(tmp_path / "images.npy", parts[1])
    artifacts.write_json(tmp_path / "pool.json", parts[2])
    table = artifacts.read_table(run(tmp_path))
    assert [decoding.decode_bytes(image, "a").shape for image in table["image"]] == [(16, 16, 3)] * 2
    with pytest.raises(DataError, match="uint16"):
        corruptions.corrupt(np.repeat(grey[..., None], 3, axis=2), "fog", 1, 0)


def test_a_broken_image_stops_the_step_and_leaves_nothing(folder):
    if artifacts.read_json(folder / "pool.json")["packed"]:
        pytest.skip("packed images were decoded when they were indexed")
    file = folder / "images" / "test" / "dog" / "3.jpg"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match=r"image id 10: .*3\.jpg"):
        run(folder)
    assert not (folder / "set.parquet").exists()
    assert not (folder / "set.json").exists()
