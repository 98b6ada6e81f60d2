"""Wrong labels: how many, which, and that nothing else changes."""

import json

import numpy as np

from vecaf import artifacts
from vecaf.data import mislabelling, pool, sources

TOLD = {"share": 0.1, "seed": 5}


def built(root):
    return pool.build_pool(sources.load("image_folder", str(root)), dataset="mine", tuning_seed=3, workers=2)


def test_a_stratified_share_of_the_pool_has_another_class_and_all_else_is_as_it_was(folder):
    before, _, facts = built(folder(classes=tuple("abc"), train=40, test=4))
    index, told = mislabelling.mislabel(before, facts, TOLD)
    wrong = index["mislabelled"].to_numpy()
    assert set(index.loc[wrong, "split"]) == {"pool"}
    assert before.loc[wrong, "label"].value_counts().tolist() == [4, 4, 4]  # of each class as many
    assert (index.loc[wrong, "label"] != before.loc[wrong, "label"]).all()
    assert index.loc[~wrong, "label"].equals(before.loc[~wrong, "label"])
    assert index.drop(columns=["mislabelled", "label"]).equals(before.drop(columns="label"))
    assert index["label"].dtype == before["label"].dtype
    assert told["mislabelled_size"] == 12
    assert told["pool_counts"] == np.bincount(index.loc[index["split"] == "pool", "label"], minlength=3).tolist()
    assert told["test_counts"] == facts["test_counts"]
    assert told["index_hash"] != facts["index_hash"]
    json.dumps(told)


def test_every_other_class_is_as_likely_and_the_seed_decides(folder):
    before, _, facts = built(folder(classes=tuple("abcd"), train=120, test=1))
    index, _ = mislabelling.mislabel(before, facts, TOLD | {"share": 0.5})
    wrong = index["mislabelled"]
    further = (index.loc[wrong, "label"] - before.loc[wrong, "label"]) % 4
    assert (further.value_counts() / wrong.sum()).between(0.25, 0.42).all()
    again, _ = mislabelling.mislabel(before, facts, TOLD | {"share": 0.5})
    other, _ = mislabelling.mislabel(before, facts, TOLD | {"share": 0.5, "seed": 6})
    assert again.equals(index)
    assert not other["label"].equals(index["label"])


def test_a_selection_says_how_much_of_it_is_mislabelled(tmp_path, folder):
    from scripts import select

    index, _ = mislabelling.mislabel(*built(folder(train=20, test=2))[::2], TOLD)
    artifacts.write_table(tmp_path / "index.parquet", index)
    params = {
        "selector": "random",
        "params": {},
        "ratio": "50pct",
        "loop": 1,
        "seeds": {"random_set": 1, "centroids": 2},
    }
    files = {name: str(tmp_path / file) for name, file in (("index", "index.parquet"), ("out", "s.parquet"))}
    words = [*("--index", files["index"], "--out", files["out"], "--record", str(tmp_path / "s.json"))]
    select.main([*words, "--params", artifacts.canonical(params)])
    ids = artifacts.read_table(tmp_path / "s.parquet")["id"]
    pool_rows = index[index["split"] == "pool"]
    share = pool_rows.set_index("id").loc[ids, "mislabelled"].mean()
    assert artifacts.read_json(tmp_path / "s.json")["diagnostics"]["mislabelled_share"] == share
