"""A tiny study for real: images to table, what it leaves behind, stale cells, and a killed run."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_styler
from planning import copy_project, rules, tiny

from vecaf import artifacts
from vecaf.reporting.metrics import check_metrics

TINY = {
    "shows": ["table1"],
    **tiny(batches=6, points=3),
    "stylers": {"snow": {"clip": "tiny/clip", "vgg": "tiny/vgg.safetensors", **tiny_styler.QUICK}},
    "exhibits": {
        "table1": {
            "blocks": [
                {"methods": ["vecaf"], "schedules": ["2loops"], "datasets": {"digits": ["5pct"]}},
                {"methods": ["clipstyler_snow"], "schedules": ["2loops"], "datasets": {"digits": ["5pct"]}},
            ],
        }
    },
}
CELL = "results/demo/cells/digits/vit_digits/vecaf/5pct/2loops/seed0"
STYLED = CELL.replace("vecaf", "clipstyler_snow")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("study"))
    tiny_styler.clip(project.folder / "tiny/clip")
    tiny_styler.vgg_file(project.folder / "tiny/vgg.safetensors")
    project.snakemake(overlay=TINY)
    return project


def test_the_table_holds_both_cells(study):
    text = (study.folder / "results/demo/tables/table1.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| VeCAF"))
    assert "± n/a" in row
    assert "± n/a" in next(line for line in text.splitlines() if line.startswith("| CLIPstyler"))
    assert "These are not the paper's numbers" in text


def test_provenance_is_complete(study):
    file = study.folder / CELL / "metrics.json"
    metrics = artifacts.read_json(file)
    check_metrics(metrics, file)
    provenance = metrics["provenance"]
    assert set(provenance["stages"]) == {
        "pretrained",
        "caption",
        "embed_text",
        "loop1/score",
        "loop1/select",
        "loop1/finetune",
        "loop2/score",
        "loop2/augment",
        "loop2/select",
        "loop2/finetune",
        "evaluate",
    }
    assert all(stage["seconds"] >= 0 and stage["peak_memory_mb"] > 0 for stage in provenance["stages"].values())
    assert provenance["stages"]["loop1/finetune"]["macs"] > 0
    assert provenance["stages"]["loop1/score"]["macs"] == provenance["stages"]["loop2/score"]["macs"] > 0
    assert provenance["ids"]["loop2"] == artifacts.read_json(study.folder / CELL / "loop2/selection.json")["ids_hash"]
    assert provenance["weights"]["final"] == artifacts.file_hash(study.folder / CELL / "weights.safetensors")
    assert provenance["versions"]["torch"]
    assert provenance["pretrained"]["knn"] >= 0
    assert metrics["cost"]["batches"] == 6
    predictions = artifacts.read_table(study.folder / CELL / "predictions.parquet")
    assert (predictions["label"] == predictions["prediction"]).mean() == pytest.approx(metrics["metrics"]["top1"])


def test_a_styler_is_trained_once_and_every_loop_finetunes_on_what_it_made_of_the_selection(study):
    styler = artifacts.read_json(study.folder / "results/demo/stylers/digits/snow/styler.json")
    provenance = artifacts.read_json(study.folder / STYLED / "metrics.json")["provenance"]
    assert {"train_styler", "loop1/stylize", "loop2/stylize"} <= set(provenance["stages"])
    assert provenance["readings"]["stylize.text"] == styler["options"]["text"] == "snowy day"
    index = artifacts.read_table(study.folder / "results/demo/pool/digits/index.parquet").query("split == 'pool'")
    sets = []
    for loop in (1, 2):
        images = artifacts.read_table(study.folder / STYLED / f"loop{loop}/stylized.parquet")
        assert images.attrs["styler_hash"] == styler["weights_hash"]
        assert images.attrs["ids_hash"] == provenance["ids"][f"loop{loop}"]
        labels = index.set_index("id")["label"][images["id"]]
        assert images["label"].tolist() == labels.tolist()
        sets.append(set(images["id"]))
    assert len(sets[0]) == len(sets[1]) == 71
    assert sets[0] != sets[1]  # a fresh random set in each loop


def test_logs_hold_all_loops_and_weights_between_loops_are_gone(study):
    batches = artifacts.read_table(study.folder / CELL / "batches.parquet")
    assert batches["batch"].tolist() == list(range(6))
    assert batches["loop"].tolist() == [1, 1, 1, 2, 2, 2]
    assert np.all(np.diff(batches["learning_rate"]) < 0)  # one cosine over both loops
    curve = artifacts.read_table(study.folder / CELL / "curve.parquet")
    assert curve["batch"].tolist() == [0, 2, 4, 6]
    assert not (study.folder / CELL / "loop1").exists()
    kept = sorted(path.name for path in (study.folder / CELL / "loop2").iterdir())
    assert kept == ["augment.json", "score.json", "selection.json", "selection.parquet"]


def test_a_second_run_has_nothing_to_do(study):
    assert study.plan(overlay=TINY) == []


def test_a_stale_cell_is_told_and_not_shown(study):
    """The metrics of a cell that another configuration made do not stand in this one's table."""
    file = study.folder / CELL / "metrics.json"
    current = file.read_text()
    metrics = json.loads(current)
    metrics["provenance"]["digest"] = "0" * 16
    file.write_text(json.dumps(metrics))
    try:
        study.snakemake("results/demo/tables/table1.md", "-f", "-R", "metrics", overlay=TINY)
        text = (study.folder / "results/demo/tables/table1.md").read_text()
        assert "stale" in next(line for line in text.splitlines() if line.startswith("| VeCAF"))
    finally:
        file.write_text(current)


def test_a_killed_run_goes_on_where_it_was(study):
    """Kill snakemake and its job in the middle of finetuning: nothing half-written stands, and the rest is finished."""
    cell = CELL.replace("seed0", "seed5")
    long = {**TINY, "datasets": {"digits": {**TINY["datasets"]["digits"], "batches": 4000}}}
    (study.folder / "overlay.yaml").write_text(json.dumps(long))
    command = [sys.executable, "-m", "snakemake", f"{cell}/metrics.json", "--profile", "demo", "--configfile"]
    running = subprocess.Popen(
        [*command, "config/digits.yaml", "demo/study.yaml", "overlay.yaml"],
        cwd=study.folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = study.folder / cell.replace("demo/cells", "demo/logs/cells") / "loop1/finetune.log"
    try:
        deadline = time.time() + 120
        while not log.exists() and time.time() < deadline and running.poll() is None:
            time.sleep(0.2)
        time.sleep(4)  # importing torch, then some of 2,000 batches
        assert running.poll() is None
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert log.exists()
    assert not (study.folder / cell / "loop1/weights.safetensors").exists()

    study.snakemake("--unlock", overlay=TINY)
    planned = rules(study.plan(f"{cell}/metrics.json", overlay=TINY))
    assert planned["finetune"] == planned["finetune_last"] == planned["evaluate"] == 1
    assert "select_first" not in planned  # what was finished before the kill stands
    study.snakemake(f"{cell}/metrics.json", overlay=TINY)
    check_metrics(artifacts.read_json(study.folder / cell / "metrics.json"), cell)


def test_one_cell_is_the_same_to_the_last_bit_when_it_is_run_again(study):
    weights = study.folder / CELL / "weights.safetensors"
    ids = artifacts.read_json(study.folder / CELL / "loop2/selection.json")["ids_hash"]
    before = artifacts.file_hash(weights)
    study.snakemake(f"{CELL}/metrics.json", "-R", "finetune", overlay=TINY)
    assert artifacts.file_hash(weights) == before
    assert artifacts.read_json(study.folder / CELL / "loop2/selection.json")["ids_hash"] == ids
