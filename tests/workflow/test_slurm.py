"""`--profile slurm` on a real SLURM: one node with two GPUs that are none, and what goes wrong on clusters.

One run submits three cells: a whole one; one whose training diverges; one that is held up until it is over its time
limit. A second run, with the mistake mended, may submit only what is missing, and loses its node meanwhile.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import one_node
import pytest
import yaml
from planning import copy_project

from vecaf import artifacts

pytestmark = pytest.mark.skipif(one_node.missing() is not None, reason=str(one_node.missing()))

CELLS = "results/demo/cells/digits/vit_digits"
WHOLE = f"{CELLS}/vecaf/5pct/2loops/seed0"
FAILING = f"{CELLS}/random_diverging/5pct/single/seed0"
SLOW = f"{CELLS}/random/5pct/single/seed0"
TARGETS = [f"{WHOLE}/metrics.json", f"{FAILING}/metrics.json", f"{SLOW}/weights.safetensors"]
# Laid over the shipped profile: no accounting, less waiting, and a training that may last a minute.
TEST = {
    **{"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 2, "latency-wait": 5, "retries": 1},
    "max-jobs-per-timespan": "100/1s",
}
# What the cells share, made without the cluster; the rest is a level of jobs after the other.
SHARED = [
    "results/demo/text/digits/attributes/tfidf/none.npy",
    "results/demo/pretrained/digits/vit_digits/embeddings.npy",
]
# Both GPUs of a task start a process each, which find no CUDA and train on the CPU together.
OVERLAY = {"gpus": 2, "device": "auto", "checkpoint_seconds": 0, "datasets": {"digits": {"batches": 120}}}
FILES = "--configfile config/digits.yaml demo/study.yaml overlay.yaml"
MENDED = {
    "extends": "random",
    "title": "Random, diverging",
    "budget": 5,
    "training": {"overrides": {"learning_rate": 0.001}},
}
DIVERGING = MENDED | {"training": {"overrides": {"learning_rate": 1e12}}}


class Run:
    """Snakemake in a copy of the project, with jobs for the cluster."""

    def __init__(self, folder, cluster, method):
        (folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY | {"methods": {"random_diverging": method}}))
        words = [sys.executable, "-m", "snakemake", *TARGETS, *shlex.split(f"--profile slurm --profile test {FILES}")]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(words, cwd=folder, env=cluster.environment, stdout=self.log, stderr=self.log)

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def until(self, fulfilled, seconds=300):
        end = time.monotonic() + seconds
        while not (found := fulfilled()):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < end, self.text()
            time.sleep(0.1)
        return found

    def end(self, seconds=400):
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.text()) from None
        return code


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory() as folder:  # short: the path of a socket has at most 107 characters
        cluster = one_node.OneNode(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def training(cell):
    """Return the processes that finetune a cell now, those of both ranks and who started them."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "scripts.finetune" in words and f"{cell}/weights.safetensors" in words:
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def first(cluster, tmp_path_factory):
    """The project, the end of the first run and its text."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    profile = yaml.safe_load((project.folder / "slurm/config.v9+.yaml").read_text())
    profile["set-resources"]["finetune_last"]["runtime"] = 1
    (project.folder / "test").mkdir()
    resources = {"set-resources": profile["set-resources"]}
    (project.folder / "test/config.v9+.yaml").write_text(yaml.safe_dump(TEST | resources))
    project.snakemake(*SHARED, overlay=OVERLAY)
    run = Run(project.folder, cluster, DIVERGING)
    state = project.folder / SLOW.replace("/cells/", "/resume/cells/") / "finetune"
    run.until(state.exists)
    for process in training(SLOW):
        os.kill(process, signal.SIGSTOP)  # the time limit's SIGCONT and SIGTERM end that
    return project, run.end(), run.text(), cluster.jobs()


def log(project, cell):
    return (project.folder / cell.replace("/cells/", "/logs/cells/") / "finetune.log").read_text()


def of_step(jobs, *words):
    return [job for job in jobs.values() if all(word in str(job) for word in words)]


def test_a_cell_runs_from_pool_to_metrics(first):
    project, _, text, _ = first
    assert (project.folder / WHOLE / "metrics.json").exists(), text
    assert (project.folder / WHOLE / "metrics.json").stat().st_size > 1000


def test_one_task_sees_both_gpus_and_starts_a_process_for_each(first):
    project, _, _, jobs = first
    loops = artifacts.read_json(project.folder / WHOLE / "finetune.json")["loops"]
    assert [loop["stage"]["processes"] for loop in loops] == [2, 2]
    assert any(job.get("TresPerJob") == "gres:gpu:a100:2" and job["NumTasks"] == "1" for job in jobs.values())
    assert all("TresPerJob" not in job for job in jobs.values() if job["Partition"] == "cpu")
    assert not list((project.folder / WHOLE).glob(".*.partial"))


def test_a_failing_job_shows_its_log_and_the_rest_goes_on(first):
    project, code, text, _ = first
    assert code == 1
    assert "the loss of batch" in text
    assert not (project.folder / FAILING / "weights.safetensors").exists()
    assert (project.folder / WHOLE / "metrics.json").exists()


def test_a_job_over_its_time_limit_is_submitted_again_and_goes_on(first):
    project, _, text, jobs = first
    assert "TIMEOUT" in {job["JobState"] for job in jobs.values()}
    assert (project.folder / SLOW / "weights.safetensors").exists(), text
    assert "going on after" in log(project, SLOW)
    assert not (project.folder / SLOW.replace("/cells/", "/resume/cells/") / "finetune").exists()


def test_a_rerun_submits_what_is_missing_and_outlives_the_loss_of_its_node(first, cluster):
    project, _, _, before = first
    run = Run(project.folder, cluster, MENDED)
    state = project.folder / FAILING.replace("/cells/", "/resume/cells/") / "finetune"
    run.until(state.exists)
    cluster.down()
    run.until(lambda: not training(FAILING))
    cluster.back()
    assert run.end(300) == 0, run.text()
    assert (project.folder / FAILING / "metrics.json").exists()
    assert "going on after" in log(project, FAILING)
    new = {number: job for number, job in cluster.jobs().items() if number not in before}
    assert len(new) == 1  # one cell, under the number that it had before its node went down
    assert new.popitem()[1]["Restarts"] == "1"
