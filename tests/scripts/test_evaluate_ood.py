"""Evaluation on corrupted test sets: the numbers of a loop written out, and what must not be mixed."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from scripts import corrupt, evaluate_ood
from vecaf import artifacts
from vecaf.data import image_sets
from vecaf.data.transforms import EvalTransform
from vecaf.errors import ArtifactError
from vecaf.models import backbone

CLASSES = ["ant", "bee", "cow"]
SIZE, COUNT = 16, 23
SPEC = {
    "timm": "vit_tiny_patch16_224",
    "width": 24,
    "args": {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2},
}
PARAMS = {
    "backbone": SPEC,
    "input_size": SIZE,
    "eval_transform": "resize256_crop224",
    "precision": "auto",
    "cell": {
        "dataset": "small",
        "backbone": "vit",
        "method": "vecaf",
        "ratio": "5pct",
        "schedule": "3loops",
        "seed": 0,
    },
    "resolved": {"a": 1},
    "readings": {"eta": 0.1},
}


@pytest.fixture
def folder(tmp_path):
    """A packed dataset with corrupted test sets, and the weights of a random model that has seen ids 0 and 3."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, (COUNT + 5, 4, 4, 3), dtype=np.uint8)
    artifacts.write_array(tmp_path / "images.npy", coarse.repeat(4, axis=1).repeat(4, axis=2))
    index = pd.DataFrame({"id": [*range(5), *range(COUNT)], "file": [f"scan/{n:03d}" for n in range(COUNT + 5)]})
    index = index.assign(label=np.arange(COUNT + 5) % 3, split=["pool"] * 5 + ["test"] * COUNT, tuning=False)
    artifacts.write_table(tmp_path / "index.parquet", index)
    meta = {"pool_size": 5, "test_size": COUNT, "packed": True, "root": None, "dataset": "small", "index_hash": "ab"}
    artifacts.write_json(tmp_path / "pool.json", meta | {"classes": CLASSES})
    model = backbone.build(SPEC, len(CLASSES), input_size=SIZE, seed=4)
    model.set_head(torch.randn(3, 24, generator=torch.Generator().manual_seed(0)), torch.zeros(3))
    artifacts.write_weights(
        tmp_path / "weights.safetensors", model.state_dict(), {"ids_hash": artifacts.ids_hash([0, 3])}
    )
    return tmp_path


def make(folder, corruption, severity, *more):
    name = f"{corruption}{severity}" + "".join(more).replace("/", "of")
    settings = {"corruption": corruption, "severity": severity, "seed": 1, "quality": 85}
    told = ["--pool", *(str(folder / file) for file in ("index.parquet", "images.npy", "pool.json")), *more]
    told += ["--params", json.dumps(settings), "--record", str(folder / f"{name}.json")]
    corrupt.main([*told, "--out", str(folder / f"{name}.parquet")])
    return folder / f"{name}.parquet"


def run(folder, sets, **changed):
    told = ["--meta", str(folder / "pool.json"), "--weights", str(folder / "weights.safetensors"), "--device", "cpu"]
    told += ["--sets", *map(str, sets), "--params", json.dumps(PARAMS | changed), "--batch-size", "7"]
    said = evaluate_ood.main(
        [*told, "--metrics", str(folder / "ood.json"), "--predictions", str(folder / "ood.parquet")]
    )
    return said, artifacts.read_json(folder / "ood.json"), artifacts.read_table(folder / "ood.parquet")


def by_hand(folder, path, mode="resize256_crop224"):
    """Return the predictions for a set, image by image."""
    images, _ = image_sets.read([path], CLASSES)
    state = artifacts.read_weights(folder / "weights.safetensors")
    model = backbone.build(SPEC, len(CLASSES), input_size=SIZE, state=state)
    transform = EvalTransform(SIZE, mode, **backbone.data_config(SPEC))
    with torch.inference_mode():
        return np.array([int(model(transform(images.read([row]))).argmax()) for row in range(len(images))])


def test_accuracy_is_that_of_each_set_and_its_mean_over_severities(folder):
    paths = [make(folder, corruption, severity) for corruption in ("snow", "fog") for severity in (1, 5)]
    said, metrics, predictions = run(folder, paths[::-1])
    labels = np.arange(5, COUNT + 5) % 3
    for corruption, (mild, severe) in {"snow": paths[:2], "fog": paths[2:]}.items():
        found = metrics["accuracy"][corruption]
        shares = []
        for severity, path in (("1", mild), ("5", severe)):
            wanted = by_hand(folder, path)
            rows = predictions[(predictions["corruption"] == corruption) & (predictions["severity"] == int(severity))]
            assert rows["id"].tolist() == list(range(COUNT))
            assert rows["label"].tolist() == labels.tolist()
            assert rows["prediction"].tolist() == wanted.tolist()
            shares.append((wanted == labels).mean())
            per_class = [(wanted[labels == label] == label).mean() for label in range(3)]
            assert found["severities"][severity] == pytest.approx(
                {"top1": shares[-1], "mean_per_class": np.mean(per_class), "n": COUNT}
            )
        assert found["mean"]["top1"] == pytest.approx(np.mean(shares))
    assert len({tuple(metrics["accuracy"][c]["severities"]["5"].values()) for c in ("snow", "fog")}) == 2
    assert said.startswith(f"{folder / 'ood.json'}: mean top-1 fog ")


def test_provenance_names_weights_ids_sets_and_parameters(folder):
    shards = [make(folder, "snow", 2, "--shard", f"{number}/3") for number in (1, 2, 3)]
    _, metrics, _ = run(folder, shards)
    told = metrics["provenance"]
    assert metrics["cell"] == PARAMS["cell"]
    assert told["digest"] == artifacts.digest(PARAMS["resolved"])
    assert told["readings"] == PARAMS["readings"]
    assert told["weights"] == {"final": artifacts.file_hash(folder / "weights.safetensors")}
    assert told["ids"] == {"final": artifacts.ids_hash([0, 3])}
    assert [one["hashes"] for one in told["sets"]] == [[artifacts.file_hash(path) for path in shards]]
    assert told["sets"][0]["severity"] == 2
    assert told["stages"]["evaluate_ood"]["seconds"] >= 0


def test_shards_and_batches_change_no_number(folder):
    _, whole, _ = run(folder, [make(folder, "snow", 2)])
    _, parts, _ = run(folder, [make(folder, "snow", 2, "--shard", f"{number}/3") for number in (3, 1, 2)])
    assert parts["accuracy"] == whole["accuracy"]


def test_what_was_cropped_when_it_was_corrupted_is_shown_whole(folder):
    path = make(folder, "snow", 3)
    whole = by_hand(folder, path, "squash224")
    assert (whole != by_hand(folder, path)).any()
    table = artifacts.read_table(path)
    table.attrs |= {"crop": 224}
    artifacts.write_table(path, table)
    _, _, predictions = run(folder, [path])
    assert predictions["prediction"].tolist() == whole.tolist()


def test_sets_of_other_images_are_refused_and_nothing_is_written(folder):
    path = make(folder, "snow", 3)
    shard = make(folder, "snow", 3, "--shard", "1/2")
    artifacts.write_table(folder / "ids.parquet", pd.DataFrame({"id": [0, 2]}))
    some = make(folder, "fog", 1, "--selection", str(folder / "ids.parquet"))
    pool = make(folder, "fog", 2, "--split", "pool")
    for sets, sentence in (
        ([some], "is no corrupted copy of the 23 test images of small"),
        ([pool], "is no corrupted copy of the 23 test images of small"),
        ([shard], "not those of the whole set"),
        ([path, shard], "not those of the whole set"),
        ([folder / "index.parquet"], "is no set of images"),
    ):
        with pytest.raises(ArtifactError, match=sentence):
            run(folder, sets)
    artifacts.write_json(folder / "pool.json", artifacts.read_json(folder / "pool.json") | {"index_hash": "cd"})
    with pytest.raises(ArtifactError, match="as they are indexed now"):
        run(folder, [path])
    assert not (folder / "ood.json").exists()
    assert not (folder / "ood.parquet").exists()
