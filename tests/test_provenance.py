import json
import os
import subprocess
import sys
import time

import pytest

from vecaf import provenance
from vecaf.artifacts import digest
from vecaf.checkpoint import Checkpoint

FIELDS = {
    *("stage", "seconds", "cpu_seconds", "startup_seconds", "peak_memory_mb", "peak_gpu_memory_mb", "device"),
    *("threads", "host", "versions", "git", "started", "finished", "slurm_job"),
}


def python(code, **changes):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | changes
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def test_record_is_complete_and_plain_json():
    with provenance.Stage("select") as stage:
        pass
    assert set(stage.record) == FIELDS
    assert json.loads(json.dumps(stage.record, allow_nan=False)) == stage.record
    assert set(stage.record["host"]) == {"cpu", "instructions", "cores", "memory_mb", "system"}
    assert stage.record["versions"]["python"].startswith("3.")


def test_a_step_that_was_killed_takes_what_all_its_attempts_took(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_resumed", None)
    first = Checkpoint(tmp_path / "parts", "key")
    time.sleep(0.3)
    first.part(0).save({}, 4)
    second = Checkpoint(tmp_path / "parts", "key")
    provenance.began_before(second)
    with provenance.Stage("score") as stage:
        assert second.part(0).load() == ({}, 4)
        second.part(4).save({}, 8)
    earlier = stage.record["earlier_seconds"]
    assert earlier == pytest.approx(0.3, abs=0.1)
    assert earlier <= stage.record["seconds"] < earlier + 0.3
    third = Checkpoint(tmp_path / "parts", "key")
    assert third.part(0).load() == ({}, 4)
    assert third.part(4).load() == ({}, 8)
    assert third.seconds_before >= earlier


def test_times_are_those_of_the_block():
    with provenance.Stage("wait") as waiting:
        time.sleep(0.2)
    with provenance.Stage("work") as working:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    assert 0.2 <= waiting.record["seconds"] < 2
    assert waiting.record["cpu_seconds"] < 0.1
    assert 0.19 <= working.record["cpu_seconds"] < 2


def test_peak_memory_in_megabytes():
    code = (
        "import json; from vecaf.provenance import Stage\n"
        "with Stage('small') as small: pass\n"
        "with Stage('large') as large: block = bytearray(200_000_000)\n"
        "print(json.dumps([small.record['peak_memory_mb'], large.record['peak_memory_mb']]))"
    )
    small, large = python(code)
    assert 200 <= large - small < 220


def test_startup_is_the_time_before_the_stage():
    code = "import time; time.sleep(0.5); from vecaf.provenance import import_seconds; print(import_seconds())"
    assert 0.5 <= python(code) < 10


def test_a_failing_block_is_recorded_and_still_fails():
    stage = provenance.Stage("score")
    with pytest.raises(RuntimeError, match="out of memory"), stage:
        raise RuntimeError("out of memory")
    assert stage.record["failed"] is True
    assert set(stage.record) >= FIELDS


def test_measuring_imports_no_torch():
    code = (
        "import json, sys; from vecaf.provenance import Stage\n"
        "with Stage('select') as stage: pass\n"
        "print(json.dumps(['torch' in sys.modules, stage.record['device'], stage.record['threads']]))"
    )
    assert python(code, OMP_NUM_THREADS="3") == [False, "cpu", 3]
    assert python(code) == [False, "cpu", None]


def test_gpu_memory_is_the_sum_over_gpus_since_the_stage_began(monkeypatch):
    class Cuda:
        peaks = [9e9, 9e9]  # noqa: RUF012

        def device_count(self):
            return len(self.peaks)

        def reset_peak_memory_stats(self, index):
            self.peaks[index] = 0.0

        def max_memory_allocated(self, index):
            return self.peaks[index]

        def get_device_name(self):
            return "H200"

    cuda = Cuda()
    monkeypatch.setattr(provenance, "_gpu", lambda: cuda)
    with provenance.Stage("finetune", device="cuda:0") as stage:
        cuda.peaks[0] += 1.5e9
        cuda.peaks[1] += 0.5e9
    assert stage.record["peak_gpu_memory_mb"] == 2000.0
    assert stage.record["device"] == "cuda:0 (H200)"


def test_no_probe_can_stop_a_stage(monkeypatch):
    def broken(*_, **__):
        raise OSError("hidden")

    for name in ("_cpu_seconds", "_peak_memory", "_gpu", "_threads", "_since_start"):
        monkeypatch.setattr(provenance, name, broken)
    with provenance.Stage("select") as stage:
        pass
    assert stage.record["peak_memory_mb"] is stage.record["cpu_seconds"] is stage.record["device"] is None
    assert stage.record["startup_seconds"] > 0  # the CPU time stands in


def test_git_is_the_projects_own_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "inner" / "vecaf" / "provenance.py"))
    inner = tmp_path / "inner"
    (inner / "vecaf").mkdir(parents=True)
    assert provenance.git.__wrapped__() is None  # no repository
    commands = [["init", "-q"], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "m"]]
    for command in commands:
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert provenance.git.__wrapped__() is None  # somebody else's repository around an installed copy
    for command in commands:
        subprocess.run(["git", "-C", str(inner), *command], check=True)
    clean = provenance.git.__wrapped__()
    assert clean["dirty"] is False
    assert len(clean["commit"]) == 40
    (inner / "vecaf" / "mine.py").write_text("")
    assert provenance.git.__wrapped__()["dirty"] is True


def test_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.git.__wrapped__() is None


def block(**changes):
    with provenance.Stage("a") as one, provenance.Stage("b") as two:
        pass
    arguments = {
        "parameters": {"select": {"k": 3}},
        "readings": {"ods.objective": "eq7"},
        "stages": {"loop1/select": one.record, "loop1/finetune": two.record | {"device": "cuda (H200)"}},
        "seeds": {"head": 1},
        "weights": {"final": "a" * 64},
        "ids": {"loop1": "b" * 64},
    }
    return provenance.cell_provenance(**arguments | changes)


def test_cell_provenance_tells_shared_facts_once():
    merged = block()
    assert merged["digest"] == digest({"select": {"k": 3}})
    assert merged["versions"] == provenance.versions()
    assert "versions" not in merged["stages"]["loop1/select"]
    assert merged["device"] is None  # the stages differ, so each keeps its own
    assert merged["stages"]["loop1/finetune"]["device"] == "cuda (H200)"
    assert merged["stages"]["loop1/select"]["device"] == "cpu"
    assert merged["stages"]["loop1/select"]["seconds"] >= 0


def test_cell_provenance_takes_only_json():
    with pytest.raises(ValueError, match="JSON"):
        block(seeds={"head": float("nan")})
    with pytest.raises(TypeError):
        block(readings={"k": object()})


def test_nothing_private_is_recorded():
    text = json.dumps(block())
    home = os.path.expanduser("~")  # noqa: PTH111
    assert home == "/" or home not in text
    assert os.uname().nodename not in text
