"""What goes wrong around a study: nothing finished is lost, nothing half-done is believed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from planning import FAKE, Project, rules

CELLS = "results/demo/cells/digits/vit_digits"
CELL = f"{CELLS}/random/5pct/single/seed0"
OTHER = f"{CELLS}/activeft/5pct/single/seed0"
WAITING = """
import time
from pathlib import Path

while not Path("go").exists():
    time.sleep(0.05)
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def fakes(tmp_path):
    """Scripts that only create their outputs; finetuning waits for a file `go` in the project first."""
    folder = tmp_path / "fakes"
    (folder / "scripts").mkdir(parents=True)
    for script in (Path(__file__).parents[2] / "scripts").glob("*.py"):
        text = "" if script.stem == "__init__" else WAITING + FAKE if script.stem == "finetune" else FAKE
        (folder / "scripts" / script.name).write_text(text)
    return folder


def start(project, fakes, *targets, **options):
    (project.folder / "overlay.yaml").write_text(yaml.safe_dump({"shows": ["table1"]}))
    files = ["config/digits.yaml", "demo/study.yaml", "overlay.yaml"]
    command = [sys.executable, "-m", "snakemake", *targets, "--profile", "demo", "--configfile", *files]
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(fakes)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=project.folder, env=environment, start_new_session=True, **pipes, **options)


def until(fulfilled, seconds=60):
    end = time.monotonic() + seconds
    while not fulfilled():
        assert time.monotonic() < end
        time.sleep(0.05)


def lose(project, *cells):
    for cell in cells:
        shutil.rmtree(project.folder / cell)


def log(project, cell):
    return project.folder / cell.replace("/cells/", "/logs/cells/") / "finetune.log"


def test_snakemake_killed_and_started_again_makes_what_is_missing(finished, fakes):
    lose(finished, CELL, OTHER)
    log(finished, CELL).unlink()
    running = start(finished, fakes, f"{CELL}/metrics.json", f"{OTHER}/metrics.json")
    until(log(finished, CELL).exists)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (finished.folder / CELL / "metrics.json").exists()
    locked = start(finished, fakes, f"{CELL}/metrics.json")
    assert "cannot be locked" in locked.communicate()[0]
    finished.snakemake("--unlock", fakes=fakes)
    (finished.folder / "go").touch()
    again = start(finished, fakes, f"{CELL}/metrics.json", f"{OTHER}/metrics.json")
    text = again.communicate()[0]
    assert again.returncode == 0, text
    assert not finished.plan(f"{CELL}/metrics.json", f"{OTHER}/metrics.json", overlay={"shows": ["table1"]})


def test_half_written_files_of_a_killed_run_are_made_again(finished, fakes):
    """A file without a finished job behind it is not believed, even if its name is right."""
    lose(finished, CELL)
    log(finished, CELL).unlink()
    running = start(finished, fakes, f"{CELL}/metrics.json")
    until(log(finished, CELL).exists)
    (finished.folder / CELL).mkdir(exist_ok=True)
    for name in ("weights.safetensors", "batches.parquet", "curve.parquet", "finetune.json", "optimizer.safetensors"):
        (finished.folder / CELL / name).write_text("half")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    finished.snakemake("--unlock", fakes=fakes)
    planned = rules(finished.plan(f"{CELL}/metrics.json", overlay={"shows": ["table1"]}))
    assert planned["finetune_last"] == planned["evaluate"] == 1


def test_two_runs_on_the_same_cell_tell_of_the_lock_and_on_others_both_finish(finished, fakes):
    lose(finished, CELL, OTHER)
    log(finished, CELL).unlink()
    log(finished, OTHER).unlink()
    first = start(finished, fakes, f"{CELL}/metrics.json")
    until(log(finished, CELL).exists)
    same, other = start(finished, fakes, f"{CELL}/metrics.json"), start(finished, fakes, f"{OTHER}/metrics.json")
    told = same.communicate()[0]
    assert same.returncode == 1
    assert "cannot be locked" in told
    until(log(finished, OTHER).exists)
    (finished.folder / "go").touch()
    assert other.wait() == first.wait() == 0
    assert (finished.folder / CELL / "metrics.json").exists()
    assert (finished.folder / OTHER / "metrics.json").exists()


@pytest.fixture
def clone(finished, tmp_path):
    """Results in a fresh checkout: no records of snakemake's, and all code is newer than what it made."""
    without = shutil.ignore_patterns(".snakemake")
    shutil.copytree(finished.folder, tmp_path / "clone", ignore=without)
    for file in (tmp_path / "clone").rglob("*"):
        if file.is_file() and "results" not in file.parts:
            file.touch()
    return Project(tmp_path / "clone")


EXPENSIVE = {"finetune", "finetune_last", "score", "embed_pool", "pretrained", "caption", "pool", "select_first"}


def test_a_clone_with_results_trains_nothing(clone):
    assert not rules(clone.plan("table1", overlay={"shows": ["table1"]})).keys() & EXPENSIVE


def test_results_whose_times_were_lost_train_nothing_once_they_are_touched(clone):
    """As copied without times: in any order, which make would take for changes."""
    now = time.time()
    for number, file in enumerate(sorted((clone.folder / "results").rglob("*"), reverse=True)):
        os.utime(file, (now - number, now - number))
    clone.snakemake("--touch", "table1", overlay={"shows": ["table1"]})
    assert not rules(clone.plan("table1", overlay={"shows": ["table1"]})).keys() & EXPENSIVE


def _run(project, name, *arguments):
    command = [sys.executable, "-m", f"scripts.{name}", *map(str, arguments)]
    return subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_results_disk_is_one_sentence_and_leaves_nothing_half_written(fresh, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        params = (
            '{"dataset":"d","source":"digits","split_rule":null,"pool_size":1437,"judged_on":"test",'
            '"seeds":{"split":1,"tuning":2}}'
        )
        files = [word for name in ("index", "images", "meta") for word in (f"--{name}", disk / name)]
        done = _run(fresh, "pool", "--root", "none", "--params", params, *files)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"error: cannot write {disk}/images: ")
        assert done.stderr.endswith("Nothing was left behind.\n")
        assert not (disk / "images").exists()
        assert not list(disk.glob(".*"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_dataset_folder_is_never_written_to(fresh, tmp_path):
    """Every file and folder of it is read-only, and is the same afterwards; root could write, so times are compared."""
    from PIL import Image

    root = tmp_path / "images"
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                image = Image.new("RGB", (16, 16), (90 * label, 40 * number, 7))
                image.save(root / split / name / f"{number}.png")
    paths = [root, *root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in paths}
    params = (
        '{"dataset":"d","source":"image_folder","split_rule":null,"pool_size":6,"judged_on":"test",'
        '"seeds":{"split":1,"tuning":2}}'
    )
    files = [word for name in ("index", "images", "meta") for word in (f"--{name}", tmp_path / "out" / name)]
    done = _run(fresh, "pool", "--root", root, "--params", params, *files)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before
