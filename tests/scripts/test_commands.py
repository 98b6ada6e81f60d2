"""The scripts as commands: help for each, and one clear sentence for bad input with nothing written."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts import augment, embed_text, metrics, pool, prompt_similarity, select
from vecaf import artifacts
from vecaf.errors import ArtifactError, DataError, SelectionError

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if path.stem != "__init__")


def run(name, *arguments):
    command = [sys.executable, "-m", f"scripts.{name}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_help_and_a_rule(name):
    done = run(name, "--help")
    assert done.returncode == 0
    assert "usage" in done.stdout
    assert len(done.stdout) > 300
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert f"scripts.{name}" in rules


def test_bad_json_and_bad_files_are_one_sentence(tmp_path):
    done = run("head", "--pool", "a", "b", "c", "--embeddings", "e", "--params", "{", "--head", "h", "--losses", "l")
    assert done.returncode == 2
    assert "not valid JSON" in done.stderr
    params = json.dumps({"kind": "tfidf", "prompt": None, "seed": 0})
    done = run("embed_text", "--captions", tmp_path / "none.parquet", "--params", params, "--out", tmp_path / "t.npy",
               "--record", tmp_path / "t.json")  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot read ")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def pool_of_digits(folder, judged_on, pool_size=1437):
    """Run the pool step on the embedded digits; return what it says and its files, read."""
    seeds = {"split": 1, "tuning": 2}
    params = {"dataset": "d", "source": "digits", "split_rule": None, "pool_size": pool_size, "judged_on": judged_on}
    files = [folder / name for name in ("index.parquet", "images.npy", "pool.json")]
    told = [word for name, file in zip(("index", "images", "meta"), files, strict=True) for word in (f"--{name}", file)]
    said = pool.main(["--root", "none", "--params", json.dumps(params | {"seeds": seeds}), *map(str, told)])
    return said, artifacts.read_table(files[0]), artifacts.read_array(files[1]), artifacts.read_json(files[2])


def test_a_pool_is_judged_on_its_test_set_or_on_its_tuning_split(tmp_path):
    said, whole, images, meta = pool_of_digits(tmp_path / "test", "test")
    assert said == "d: 1437 pool and 360 test images, 10 classes"
    judged_said, index, judged, facts = pool_of_digits(tmp_path / "tuning", "tuning")
    assert judged_said == "d: 1294 pool and 143 test images, 10 classes"
    tuning = whole.index[whole["tuning"]]
    rest = whole.index[~whole["tuning"] & (whole["split"] == "pool")]
    assert index["file"].tolist() == whole["file"][[*rest, *tuning]].tolist()
    np.testing.assert_array_equal(judged, images[[*rest, *tuning]])
    assert (facts["pool_size"], facts["test_size"], facts["packed"]) == (1294, 143, True)
    assert meta["tuning_size"] == 143


def test_the_size_of_a_pool_is_that_before_its_tuning_split_leaves(tmp_path):
    with pytest.raises(DataError, match="the pool has 1437 images, but pool_size is 1294"):
        pool_of_digits(tmp_path, "tuning", pool_size=1294)
    assert not list(tmp_path.iterdir())


def captions(path, rows):
    artifacts.write_table(path, pd.DataFrame(rows, columns=["id", "caption"]))
    return [
        *("--captions", str(path), "--params", json.dumps({"kind": "tfidf", "prompt": None, "seed": 0})),
        *("--out", str(path.parent / "text.npy"), "--record", str(path.parent / "text.json")),
    ]


def test_a_missing_caption_is_named(tmp_path):
    for rows, sentence in (
        ([(0, "a cat"), (1, " "), (2, None)], r"2 images have no caption \(ids 1, 2\)"),
        ([(0, "a cat"), (2, "a dog")], "ids must count 0"),
    ):
        with pytest.raises(DataError, match=sentence):
            embed_text.main(captions(tmp_path / "captions.parquet", rows))
        assert not (tmp_path / "text.npy").exists()


def test_text_carries_the_hash_of_its_captions(tmp_path):
    embed_text.main(captions(tmp_path / "captions.parquet", [(0, "a red cat"), (1, "a blue dog"), (2, "a red dog")]))
    record = artifacts.read_json(tmp_path / "text.json")
    assert record["captions_hash"] == artifacts.file_hash(tmp_path / "captions.parquet")
    assert record["rows"] == 3


def test_text_of_another_run_is_refused_by_what_reads_it(tmp_path):
    from scripts import finetune

    embed_text.main(captions(tmp_path / "captions.parquet", [(0, "a red cat"), (1, "a blue dog"), (2, "a red dog")]))
    artifacts.write_array(tmp_path / "e.npy", np.eye(3, 4, dtype="float32"))
    text = ["--text", str(tmp_path / "text.npy")]
    files = ["--embeddings", str(tmp_path / "e.npy"), *text, "--out", str(tmp_path / "a.npy")]
    augmenting = [*files, "--record", str(tmp_path / "a.json"), "--params", json.dumps({"cea": {}, "seed": 0})]
    similar = ["--captions", str(tmp_path / "captions.parquet"), *text, "--out", str(tmp_path / "s.npy")]
    similar += ["--params", json.dumps({"kind": "tfidf", "prompt": "snow", "seed": 0})]
    augment.main(augmenting)
    prompt_similarity.main(similar)
    captions(tmp_path / "captions.parquet", [(0, "a cat"), (1, "a dog"), (2, "a dog")])
    with pytest.raises(ArtifactError, match=r"text\.npy embeds other captions than .*captions\.parquet; delete it"):
        prompt_similarity.main(similar)
    record = artifacts.read_json(tmp_path / "text.json")
    artifacts.write_json(tmp_path / "text.json", record | {"text_hash": "0" * 64})
    chosen = argparse.Namespace(embeddings=tmp_path / "e.npy", text=tmp_path / "text.npy")
    for reading in (
        lambda: augment.main(augmenting),
        lambda: prompt_similarity.main(similar),
        lambda: finetune.captions_of(np.arange(2), {"cea": {"cea": {}, "seed": 0}}, chosen),
    ):
        with pytest.raises(ArtifactError, match=r"text\.npy is not the array that .*text\.json tells of; delete both"):
            reading()


@pytest.fixture
def selection_files(tmp_path):
    rng = np.random.default_rng(0)
    count = 60
    index = pd.DataFrame({"id": np.arange(count), "label": rng.integers(0, 3, count), "split": "pool"})
    artifacts.write_table(tmp_path / "index.parquet", index)
    artifacts.write_array(tmp_path / "embeddings.npy", rng.normal(size=(count, 8)).astype("float32"))
    artifacts.write_array(tmp_path / "losses.npy", rng.random(count).astype("float32"))

    def arguments(ratio="10pct", **params):
        settings = {"selector": "ods", "params": params, "ratio": ratio, "loop": 1}
        settings["seeds"] = {"random_set": 1, "centroids": 2}
        return [
            *("--index", str(tmp_path / "index.parquet"), "--embeddings", str(tmp_path / "embeddings.npy")),
            *("--losses", str(tmp_path / "losses.npy"), "--params", json.dumps(settings), "--device", "cpu"),
            *("--out", str(tmp_path / "ids.parquet"), "--record", str(tmp_path / "ids.json")),
        ]

    return tmp_path, arguments


def test_selecting_writes_ids_and_a_record(selection_files):
    folder, arguments = selection_files
    assert select.main(arguments()) == "ods chose 6 of 60 ids in loop 1"
    ids = artifacts.read_table(folder / "ids.parquet")["id"].to_numpy()
    record = artifacts.read_json(folder / "ids.json")
    assert record["ids_hash"] == artifacts.ids_hash(ids)
    assert record["k"] == len(set(ids)) == 6
    assert {"loss_ratio", "overlap_initial", "class_histogram", "objective_of_selected"} <= set(record["diagnostics"])


def test_an_impossible_selection_leaves_nothing(selection_files):
    folder, arguments = selection_files
    with pytest.raises(SelectionError, match=r"K = 0 is outside 1\.\.60"):
        select.main(arguments(ratio="1pct"))
    assert not (folder / "ids.parquet").exists()


def test_a_selection_gets_what_its_selector_declares(selection_files):
    """Logits of the embeddings under the head, predicted losses, small images, and what each loop before chose."""
    import torch

    folder, arguments = selection_files
    rng = np.random.default_rng(1)
    weight = torch.from_numpy(rng.normal(size=(3, 8)).astype("float32"))
    artifacts.write_weights(folder / "head.safetensors", {"weight": weight, "bias": torch.zeros(3)})
    artifacts.write_array(folder / "predicted.npy", np.arange(60, dtype="float32"))
    artifacts.write_array(folder / "images.npy", rng.integers(0, 255, (60, 32, 32, 3), dtype="uint8"))
    for loop, ids in enumerate(([0, 58], [59, 7]), start=1):
        artifacts.write_table(folder / f"loop{loop}.parquet", pd.DataFrame({"id": ids}))
    given = [
        *("--head", str(folder / "head.safetensors"), "--predicted-losses", str(folder / "predicted.npy")),
        *("--images", str(folder / "images.npy")),
        *("--earlier", str(folder / "loop1.parquet"), str(folder / "loop2.parquet")),
    ]

    def chosen(selector, **params):
        settings = json.loads(arguments()[arguments().index("--params") + 1])
        settings |= {"selector": selector, "params": params, "loop": 3}
        told = arguments()
        told[told.index("--params") + 1] = json.dumps(settings)
        select.main([*told, *given])
        return artifacts.read_table(folder / "ids.parquet")["id"].tolist()

    assert chosen("learning_loss") == [52, 53, 54, 55, 56, 57]
    logits = np.load(folder / "embeddings.npy") @ weight.numpy().T
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    doubt = 1 - (odds / odds.sum(axis=1, keepdims=True)).max(axis=1)
    doubt[[0, 7, 58, 59]] = -1
    assert chosen("least_confidence") == sorted(np.argsort(-doubt)[:6].tolist())
    for selector in ("alfa_mix", "ta_vaal"):
        params = {"max_iterations": 2, "width": 4} if selector == "ta_vaal" else {}
        assert not {0, 7, 58, 59} & set(chosen(selector, **params))
    record = artifacts.read_json(folder / "ids.json")
    assert record["diagnostics"]["overlap_previous"] == 0


def test_a_fresh_loss_head_does_not_carry_its_tensors(tmp_path):
    import torch

    from scripts import finetune

    names = ("head.weight", "loss_head.joined.bias", "momentum.loss_head.joined.bias")
    artifacts.write_weights(tmp_path / "w.safetensors", {name: torch.zeros(1) for name in names})
    assert set(finetune.carried(tmp_path / "w.safetensors", {"loss_head": {"carry": True}})) == set(names)
    assert set(finetune.carried(tmp_path / "w.safetensors", {"loss_head": {"carry": False}})) == {"head.weight"}
    assert set(finetune.carried(tmp_path / "w.safetensors", {})) == set(names)


CELL = "digits/vit/vecaf/5pct/3loops/seed0"


def collected(tmp_path, digest, status=None, reason=None, domains=()):
    expected = json.dumps([[CELL, digest, status, reason, dict(domains)]])
    metrics.main(["--cells", str(tmp_path), "--params", expected, "--out", str(tmp_path / "rows.parquet")])
    return artifacts.read_table(tmp_path / "rows.parquet").iloc[0]


def test_cells_without_numbers_say_why(tmp_path):
    assert collected(tmp_path, "abc")["status"] == "not run"
    row = collected(tmp_path, None, "not reported", "the paper prints “-”")
    assert (row["status"], row["reason"]) == ("not reported", "the paper prints “-”")


def test_an_accuracy_under_a_corruption_counts_if_it_is_of_the_sets_that_are_meant(tmp_path):
    accuracy = {"mean": {"top1": 0.3}, "severities": {"1": {"top1": 0.4}, "5": {"top1": 0.2}}}
    record = {"accuracy": {"snow": accuracy}, "provenance": {"digest": "all five"}}
    artifacts.write_json(tmp_path / CELL / "ood/snow.json", record)
    row = collected(tmp_path, None, domains={"snow": "all five", "fog": "all five"})
    assert (row["snow"], row["snow_1"], row["snow_5"], row["fog"]) == (0.3, 0.4, 0.2, None)
    other = collected(tmp_path, None, domains={"snow": "three of them"})
    assert other["snow"] is None
    assert "snow_1" not in other


def test_a_broken_metrics_file_is_named(tmp_path):
    artifacts.write_json(tmp_path / CELL / "metrics.json", {"schema_version": 1})
    with pytest.raises(ArtifactError, match=r"metrics\.json is no complete metrics file: .*provenance"):
        collected(tmp_path, "abc")


def test_weights_and_selections_that_do_not_belong_together_are_refused(tmp_path):
    import argparse

    import torch

    from scripts import evaluate

    def records(trained, selected, weights):
        artifacts.write_weights(tmp_path / "weights.safetensors", {"w": torch.zeros(1)}, {"ids_hash": weights})
        artifacts.write_json(tmp_path / "finetune.json", {"loops": [{"ids_hash": trained}]})
        artifacts.write_json(tmp_path / "first" / "selection.json", {"ids_hash": selected})
        artifacts.write_json(tmp_path / "weights.json", {})
        args = argparse.Namespace(
            weights=tmp_path / "weights.safetensors",
            history=tmp_path / "finetune.json",
            selections=[tmp_path / "first" / "selection.json"],
            scorings=[],
            augmentations=[],
            texts=[],
            stylings=[],
            stylers=[],
            pretrained=tmp_path / "weights.json",
            metrics=tmp_path / "metrics.json",
        )
        return evaluate.read_records(args, {"resolved": {"finetune": [{"accumulate": False}]}})

    assert records("a", "a", "a")["finetune"] == [{"ids_hash": "a"}]
    with pytest.raises(ArtifactError, match="loop 1 was trained on other ids than"):
        records("a", "b", "a")
    with pytest.raises(ArtifactError, match=r"was not trained on the ids that finetune\.json records"):
        records("a", "a", "b")
