"""What `--profile slurm` asks a cluster for: rules that exist, one job a cell, and the flags that sbatch gets."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from test_estimate import STEPS

from vecaf import estimate

STUBS = Path(__file__).parent / "stubs"
CHAIN = {"finetune", "stylize", "finetune_last", "score", "score_predicting", "augment", "select", "evaluate"}
CELL = "results/demo/cells/digits/vit_digits/vecaf/5pct/3loops/seed0"


# The demo through the profile, with less waiting.
QUICK = (
    "--slurm-status-command squeue --slurm-init-seconds-before-status-checks 1 --latency-wait 5"
    " --configfile config/digits.yaml demo/study.yaml"
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def profile(fresh):
    return yaml.safe_load((fresh.folder / "slurm/config.v9+.yaml").read_text())


def run(project, *arguments, **environment):
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=project.folder, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def submissions(fresh):
    """Every job of `all_tables` as the list of its steps."""
    done = run(
        fresh, str(Path(__file__).parent / "submissions.py"), *shlex.split("--profile slurm -n all_tables --quiet all")
    )
    jobs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["')]
    assert jobs, done.stdout + done.stderr
    return jobs


def test_every_rule_of_the_profile_exists(fresh, profile):
    known = set(run(fresh, "-m", "snakemake", "--list-rules").stdout.split())
    named = {*profile["set-resources"], *profile["groups"]}
    assert "finetune" in known
    assert named <= known, named - known


def test_steps_that_use_a_gpu_ask_for_one_and_no_other_does(fresh, profile):
    text = "\n".join(path.read_text() for path in sorted((fresh.folder / "rules").glob("*.smk")))
    bodies = re.findall(r"^(?:use )?rule (\w+)(?: as (\w+) with)?:\n(.*?)(?=^\S)", text + "\n#", re.M | re.S)
    of_their_own = {name for name, derived, body in bodies if not derived and "device=device" in body}
    using = of_their_own | {derived for name, derived, _ in bodies if derived and name in of_their_own}
    asking = {name for name, asked in profile["set-resources"].items() if "gpu" in asked}
    assert asking == using
    for name in asking:
        assert profile["set-resources"][name]["gpu_model"] == "a100"
        assert profile["set-resources"][name]["slurm_partition"] == "gpu"


def test_the_estimate_counts_gpu_hours_of_the_steps_that_ask_for_one(profile):
    asking = {name for name, asked in profile["set-resources"].items() if "gpu" in asked}
    assert {STEPS.get(name, name) for name in asking} == estimate.ON_GPU


def test_no_gpu_among_the_defaults(profile):
    assert not {"gpu", "gpu_model", "gres"} & set(profile["default-resources"])


def test_every_value_of_the_profile_has_a_reason(fresh):
    """At the end of its line, or in comments above the mapping that it belongs to."""
    lines = (fresh.folder / "slurm/config.v9+.yaml").read_text().splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r"[a-z]", line) and "#" not in line and not line.endswith(":") and not before.startswith("#")
    ]
    assert not bare


def test_a_cell_is_one_job_and_shared_steps_are_none_of_it(submissions, paper):
    groups = [job for job in submissions if len(job) > 1]
    cells = len(paper.cells(*(f"table{number}" for number in range(1, 8))))
    assert len(groups) == cells
    assert {step for job in groups for step in job} == CHAIN
    assert all(Counter(job)["finetune_last"] == Counter(job)["evaluate"] == 1 for job in groups)
    alone = Counter(job[0] for job in submissions if len(job) == 1)
    assert not alone.keys() & CHAIN
    assert alone["pool"] == 3
    assert alone["select_first"] > 100
    # Some hundreds of jobs for some thousands of steps.
    assert cells < len(submissions) < 1000 < 2500 < sum(map(len, submissions))


def flags(words):
    """Return the flags of a command of sbatch with their values."""
    return {
        word.partition("=")[0]: word.partition("=")[2] or after
        for word, after in zip(words, [*words[1:], ""], strict=True)
        if word.startswith("-")
    }


@pytest.fixture(scope="module")
def submitted(_finished, tmp_path_factory):
    """What sbatch is asked for when a finished demo has lost one cell and its loops' selections."""
    folder = tmp_path_factory.mktemp("submitted")
    shutil.copytree(_finished[0].folder, folder / "project", symlinks=True)
    shutil.rmtree(folder / "project" / CELL)
    fakes = next(folder.parent.glob("fakes*"))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", f"{CELL}/metrics.json", "--profile", "slurm", *shlex.split(QUICK)],
        cwd=folder / "project",
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PATH": f"{STUBS}:{os.environ['PATH']}",
            "STUB_SLURM": str(folder),
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": str(fakes),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "project" / CELL / "metrics.json").exists()
    return [json.loads(line) for line in (folder / "submitted").read_text().splitlines()]


def test_sbatch_is_asked_once_for_a_cell_with_two_gpus_and_the_sum_of_its_times(submitted, profile):
    assert len(submitted) == 1
    asked, steps = flags(submitted[0]), profile["set-resources"]
    assert asked["--gpus"] == "a100:2"
    assert asked["-p"] == "gpu"
    assert asked["-A"] == "default"
    assert "--requeue" in asked
    assert asked["--cpus-per-task"] == "1"  # the demo's threads
    assert int(asked["--mem"]) == max(steps[step]["mem_mb"] for step in CHAIN)
    loops = 3 * steps["finetune"]["runtime"] + 2 * sum(
        steps[step]["runtime"] for step in ("score", "augment", "select")
    )
    assert int(asked["-t"]) == loops + steps["evaluate"]["runtime"] < 24 * 60
