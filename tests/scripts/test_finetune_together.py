"""One finetuning task of two processes: each file is written once, and a stopped one goes on to the same weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts import pool
from vecaf import artifacts
from vecaf.grid import Cell

ROOT = Path(__file__).resolve().parent.parent.parent
BATCHES = 130
OUTPUTS = {
    "out": "weights.safetensors",
    "optimizer-out": "optimizer.safetensors",
    "batches-out": "batches.parquet",
    "curve-out": "curve.parquet",
    "record": "finetune.json",
}


@pytest.fixture(scope="module")
def task(demo, tmp_path_factory):
    """Return a function that starts the task in a folder; its inputs are those of the demo's first loop."""
    folder = tmp_path_factory.mktemp("inputs")
    files = [folder / name for name in ("index.parquet", "images.npy", "pool.json")]
    told = [
        word for name, file in zip(("--index", "--images", "--meta"), files, strict=True) for word in (name, str(file))
    ]
    pool.main(["--root", "none", "--params", json.dumps(demo.pool_params("digits")), *told])
    import torch

    from vecaf.models import backbone

    params = demo.finetune_params(Cell("digits", "vit_digits", "random", "5pct", "single", 0), 1)
    params |= {"stop": BATCHES, "total": BATCHES}
    model = backbone.build(params["backbone"], 0, input_size=params["input_size"])
    artifacts.write_weights(folder / "weights.safetensors", model.state_dict())
    head = {"weight": torch.zeros(10, model.width), "bias": torch.zeros(10)}
    artifacts.write_weights(folder / "head.safetensors", head)
    artifacts.write_table(folder / "selection.parquet", pd.DataFrame({"id": np.arange(0, 700, 10)}))

    def start(out, *more):
        words = ["--pool", *files, "--root", "none", "--params", json.dumps(params), "--device", "cpu"]
        words += ["--selection", folder / "selection.parquet"]
        words += ["--weights", folder / "weights.safetensors", folder / "head.safetensors"]
        words += [word for name, file in OUTPUTS.items() for word in (f"--{name}", out / file)]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WRITTEN": str(out / "written")}
        log = (out / "log").open("a")
        return subprocess.Popen(
            [*launcher, *map(str, words), *map(str, more)], env=environment, cwd=ROOT, stdout=log, stderr=log
        )

    return start


def folder_of(tmp_path, name):
    (tmp_path / name).mkdir()
    return tmp_path / name


def test_each_file_is_written_once_and_a_stopped_task_goes_on(task, tmp_path):
    whole, stopped = folder_of(tmp_path, "whole"), folder_of(tmp_path, "stopped")
    assert task(whole).wait(timeout=120) == 0, (whole / "log").read_text()
    assert sorted((whole / "written").read_text().split()) == sorted(OUTPUTS.values())
    record = artifacts.read_json(whole / "finetune.json")["loops"][0]
    assert record["stage"]["processes"] == 2

    state = stopped / "state"
    running = task(stopped, "--resume", state, "--checkpoint-seconds", "0")
    until = time.monotonic() + 90
    while not state.exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) != 0
    log = (stopped / "log").read_text()
    assert state.exists(), log
    assert not (stopped / "weights.safetensors").exists()
    assert "asked to end (SIGTERM); what was done is in" in log
    assert task(stopped, "--resume", state).wait(timeout=120) == 0, (stopped / "log").read_text()
    assert "going on after" in (stopped / "log").read_text()
    assert not state.exists()
    for name in ("weights.safetensors", "optimizer.safetensors"):
        assert artifacts.file_hash(stopped / name) == artifacts.file_hash(whole / name), name
    losses = [artifacts.read_table(folder / "batches.parquet")["loss"].tolist() for folder in (whole, stopped)]
    assert losses[0] == losses[1]


def main():
    """Run as each of the two processes: the script, with a note of every file that it writes as an output."""
    from scripts import finetune
    from vecaf import command

    atomic = artifacts.atomic

    def noted(path):
        if Path(path).name in OUTPUTS.values():
            with Path(os.environ["WRITTEN"]).open("a") as file:
                file.write(f"{Path(path).name}\n")
        return atomic(path)

    artifacts.atomic = noted
    command.run(finetune.main)


if __name__ == "__main__":
    main()
