"""Jobs side by side on a workstation get GPUs of their own; on a cluster nothing is claimed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vecaf import devices

ROOT = Path(__file__).resolve().parent.parent
# Claims GPUs of a workstation that has four, says which, and holds them until its input ends.
CLAIM = """
import os, sys
from pathlib import Path
from vecaf import devices

devices.WAIT = 0.05
devices.visible_gpus = lambda: 4
devices.claim(int(sys.argv[1]), Path(sys.argv[2]))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
if len(sys.argv) > 3:
    os.execv(sys.executable, [sys.executable, "-c", "import sys; sys.stdin.read()"])
sys.stdin.read()
"""


@pytest.mark.parametrize(("chosen", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,1", 2), ("GPU-3f,GPU-9a,", 2)])
def test_visible_gpus_are_those_of_the_job(monkeypatch, chosen, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert devices.visible_gpus() == count


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a process which claims GPUs; all are ended afterwards."""
    started = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "CUDA"))}

    def start(count, *more):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-c", CLAIM, str(count), str(tmp_path), *more]
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process):
    return process.stdout.readline().strip()


def test_no_gpu_has_two_jobs_and_a_free_one_is_taken_at_once(start):
    first, second = start(1), start(2)
    taken = [said(first), said(second)]
    assert sorted(gpu for text in taken for gpu in text.split(",")) == ["0", "1", "2"]
    third = start(2)
    assert "waiting for 2 of 4 GPUs" in third.stderr.readline()
    assert said(start(1)) == "3"  # one that fits goes first
    second.kill()
    assert said(third) == taken[1]


def test_a_killed_job_gives_its_gpus_back(start):
    job = start(4)
    assert said(job) == "0,1,2,3"
    job.kill()
    job.wait()
    assert said(start(4)) == "0,1,2,3"


def test_what_a_process_becomes_holds_its_gpus(start):
    launcher = start(4, "become")
    said(launcher)
    time.sleep(0.2)
    assert "waiting" in start(1).stderr.readline()


def test_jobs_of_two_gpus_do_not_wait_for_each_other_for_ever(start):
    jobs = [start(3) for _ in range(3)]
    for _ in jobs:
        while not (ready := [job for job in jobs if job.poll() is None and _has_said(job)]):
            time.sleep(0.02)
        jobs.remove(ready[0])
        ready[0].kill()


def _has_said(job):
    import select

    return bool(select.select([job.stdout], [], [], 0)[0])


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"])
def test_nothing_is_claimed_where_somebody_has_chosen(monkeypatch, tmp_path, name):
    monkeypatch.setattr(devices, "visible_gpus", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(name, "1")
    devices.claim(1, tmp_path)
    assert not list(tmp_path.iterdir())
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == ("1" if name == "CUDA_VISIBLE_DEVICES" else None)
