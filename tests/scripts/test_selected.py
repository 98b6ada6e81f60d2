"""What is joined of first selections, and which images are kept to be shown."""

import json

import numpy as np
import pandas as pd
import pytest

from scripts import selected
from vecaf import artifacts
from vecaf.data import decoding
from vecaf.errors import ArtifactError

N = 12


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    artifacts.write_array(tmp_path / "images.npy", rng.integers(0, 255, (N + 1, 20, 16, 3), dtype=np.uint8))
    index = pd.DataFrame(
        {"id": [*range(N), 0], "file": [f"scan/{n}" for n in range(N + 1)], "label": np.arange(N + 1) % 2}
    )
    index = index.assign(split=["pool"] * N + ["test"], tuning=False, planted=[n < 3 for n in range(N + 1)])
    artifacts.write_table(tmp_path / "index.parquet", index)
    meta = {"pool_size": N, "test_size": 1, "packed": True, "root": None, "dataset": "mine", "index_hash": "ab"}
    artifacts.write_json(tmp_path / "pool.json", meta | {"classes": ["cat", "dog"]})
    artifacts.write_table(
        tmp_path / "captions.parquet", pd.DataFrame({"id": range(N), "caption": [f"image {n}" for n in range(N)]})
    )
    artifacts.write_array(tmp_path / "snow.npy", np.arange(N, dtype=np.float32) / N)
    artifacts.write_table(tmp_path / "a.parquet", pd.DataFrame({"id": [9, 1, 4, 5]}))
    artifacts.write_table(tmp_path / "b.parquet", pd.DataFrame({"id": [1, 4, 2, 11]}))
    return tmp_path


def joined(folder, selections=("a", "b"), **changed):
    same = {"backbone": "vit", "ratio": "33pct", "schedule": "single"}
    cells = [same | {"method": name, "seed": seed} for seed, name in enumerate(("a", "b"))]
    told = {"dataset": "mine", "cells": cells, "prompts": ["snow"], "first": 0, "drawn": 2, "size": 8, "seed": 1}
    told |= {"digest": "ab", "embedded": True}
    command = ["--pool", *(str(folder / name) for name in ("index.parquet", "images.npy", "pool.json"))]
    command += ["--captions", str(folder / "captions.parquet"), "--similarities", str(folder / "snow.npy")]
    command += ["--selections", *(str(folder / f"{name}.parquet") for name in selections)]
    selected.main([*command, "--params", json.dumps(told | changed), "--out", str(folder / "out.parquet")])
    return artifacts.read_table(folder / "out.parquet")


def test_every_selected_image_has_its_caption_class_and_likeness(files):
    table = joined(files)
    assert table["id"].tolist() == [1, 4, 5, 9, 1, 2, 4, 11]
    assert table["method"].tolist() == ["a"] * 4 + ["b"] * 4
    assert table["caption"][0] == "image 1"
    assert table["class"].tolist()[:3] == ["dog", "cat", "dog"]
    assert table["planted"].tolist() == [True, False, False, False, True, True, False, False]
    assert table["to_snow"].to_numpy() == pytest.approx(table["id"].to_numpy() / N)
    assert table.attrs == {
        "dataset": "mine",
        "digest": "ab",
        "embedded": True,
        "pool_size": N,
        "planted_size": 3,
        "pool_similarity": {"snow": pytest.approx(sum(range(N)) / N / N)},
    }


def test_some_images_of_the_first_seed_are_kept_small(files):
    table = joined(files)
    drawn = table[table["drawn"]]
    assert (len(drawn), set(drawn["seed"])) == (2, {0})
    assert [thumbnail is not None for thumbnail in table["thumbnail"]] == table["drawn"].tolist()
    assert decoding.decode_bytes(drawn["thumbnail"].iloc[0], "").shape == (8, 8, 3)
    small = joined(files, size=64)
    assert decoding.decode_bytes(small[small["drawn"]]["thumbnail"].iloc[0], "").shape == (16, 16, 3)


def test_draws_go_by_id_so_that_shared_images_are_shown_for_both(files):
    same = {"backbone": "vit", "ratio": "33pct", "schedule": "single", "seed": 0}
    table = joined(files, cells=[same | {"method": name} for name in ("a", "b")], drawn=3)
    shown = [set(rows[rows["drawn"]]["id"]) for _, rows in table.groupby("method")]
    order = [set(rows["id"]) for _, rows in table.groupby("method")]
    for number in order[0] & order[1]:  # 1 and 4: of four images one is not shown, by the lowest draws
        assert (number in shown[0]) or (number in shown[1])


def test_a_selection_or_a_similarity_too_few_is_refused(files):
    with pytest.raises(ArtifactError, match="1 selections for 2 cells, 1 similarities for 1 prompts; make"):
        joined(files, selections=("a",))
    with pytest.raises(ArtifactError, match="2 selections for 2 cells, 1 similarities for 2 prompts; make"):
        joined(files, prompts=["snow", "fog"])
