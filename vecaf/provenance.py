"""Provenance: what a stage cost, where it ran and from which parameters and weights a cell came.

``Stage`` wraps the work of a script. A fact that cannot be found out is None, never an error: a result must not be
lost because a machine hides its CPU model. No user names, host names, paths or environment are recorded.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from vecaf import telemetry
from vecaf.artifacts import digest

PACKAGES = (
    *("vecaf-benchmark", "snakemake", "numpy", "torch", "torchvision", "timm", "transformers", "accelerate"),
    *("safetensors", "scikit-learn", "scipy", "pandas", "pyarrow", "pydantic", "umap-learn", "fvcore"),
)
_VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
# Facts of a machine or an installation: equal in all stages of most cells, and then told once.
_SHARED = ("device", "threads", "host", "versions", "git", "slurm_job")


def _known(probe: Callable[[], Any]) -> Any:
    """Return what a probe finds, or None whatever goes wrong: these facts are welcome, not needed."""
    try:
        return probe()
    except Exception:
        return None


def _used_torch() -> Any | None:
    """Return torch if this process has imported it; provenance alone is no reason to wait two seconds for it."""
    return sys.modules.get("torch")


def _gpu() -> Any | None:
    torch = _used_torch()
    return torch.cuda if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized() else None


class Resumes(Protocol):
    """What knows how long earlier attempts at a step took, see ``vecaf.checkpoint``."""

    @property
    def seconds_before(self) -> float: ...


_resumed: Resumes | None = None


def began_before(step: Resumes) -> None:
    """Say what this process goes on with: the stages that it measures from here on add its seconds to their own."""
    global _resumed
    _resumed = step


class Stage:
    """Measure one stage of a cell: ``with Stage("select") as stage: …``, then ``stage.record``.

    record (plain JSON; times in seconds, memory in MB of 10⁶ bytes): stage, seconds (of a step that was killed and
    went on: with earlier_seconds, those of earlier attempts up to the state that this one went on from),
    cpu_seconds (of this process, with finished child processes), startup_seconds (from the start of the process to
    the start of the stage), peak_memory_mb (resident, of the process so far), peak_gpu_memory_mb (allocated, the
    sum over GPUs), device, threads, host, versions, git, started, finished (UTC), slurm_job and gpus (where a stage
    uses some: what each of them did, see ``vecaf.telemetry``). It is also complete when the block raises, with
    ``failed`` true.
    """

    def __init__(self, name: str, device: object | None = None):
        self.name = name
        self.device = device
        self.record: dict[str, Any] = {}

    def __enter__(self) -> Stage:
        _known(_reset_gpu_peak)
        self._startup = import_seconds()
        self._watch = _known(lambda: telemetry.watch(self.device))
        self._started = _now()
        self._cpu, self._wall = _known(_cpu_seconds), time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds, cpu = time.perf_counter() - self._wall, _known(_cpu_seconds)
        earlier = 0.0 if _resumed is None else _resumed.seconds_before
        gpus = _known(self._watch.stop) if self._watch else None
        self.record = {
            "stage": self.name,
            "seconds": round(earlier + seconds, 4),
            **({"earlier_seconds": earlier} if earlier else {}),
            "cpu_seconds": None if cpu is None or self._cpu is None else round(cpu - self._cpu, 4),
            "startup_seconds": self._startup,
            "peak_memory_mb": _known(_peak_memory),
            "peak_gpu_memory_mb": _known(_peak_gpu_memory),
            "device": _known(lambda: _device_name(self.device)),
            "threads": _known(_threads),
            "host": host(),
            "versions": versions(),
            "git": git(),
            "started": self._started,
            "finished": _now(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            **({"gpus": gpus} if gpus else {}),
            **({"failed": True} if kind is not None else {}),
        }


def cell_provenance(
    *,
    parameters: Mapping[str, Any],
    readings: Mapping[str, Any],
    stages: Mapping[str, Mapping[str, Any]],
    seeds: Mapping[str, int],
    weights: Mapping[str, str],
    ids: Mapping[str, str],
    **more: Any,
) -> dict[str, Any]:
    """Return the provenance block of a cell's metrics.json.

    parameters: the cell's resolved parameters, as the study resolves them; their digest is what a table compares with
    the configuration to find stale cells. readings: reading → value. stages: name such as ``loop1/select`` → record of
    ``Stage``. weights, ids: name → SHA-256 (``artifacts.file_hash``, ``artifacts.ids_hash``). more: further blocks.
    Machine facts that all stages share are told once at the top; a stage that differs keeps its own. Raises ValueError
    or TypeError when something is not plain JSON (NaN, a tensor).
    """
    records = {name: dict(record) for name, record in stages.items()}
    shared: dict[str, Any] = dict.fromkeys(_SHARED)
    for fact in _SHARED:
        values = [record[fact] for record in records.values() if fact in record]
        if values and len(values) == len(records) and all(value == values[0] for value in values):
            shared[fact] = values[0]
            for record in records.values():
                del record[fact]
    block = {
        "digest": digest(parameters),
        "parameters": dict(parameters),
        "readings": dict(readings),
        "seeds": dict(seeds),
        "weights": dict(weights),
        "ids": dict(ids),
        "stages": records,
        **shared,
        **more,
    }
    return json.loads(json.dumps(block, allow_nan=False))


def import_seconds() -> float | None:
    """Return the wall seconds from the start of this process to now: the interpreter and its imports.

    Called first thing in a script's ``main`` it tells how much of a job's wall time is no work. Where the system has
    no /proc it is the CPU time used so far, a lower bound.
    """
    return _known(_since_start) or _known(lambda: round(time.process_time(), 2))


def _since_start() -> float | None:
    # The command's name, the second field, may itself contain blanks and brackets: fields count from the last bracket.
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - started
    return round(seconds, 2) if seconds >= 0 else None


@cache
def git() -> dict[str, Any] | None:
    """Return {"commit", "dirty"} of the project's own checkout, None for an installed copy or without git.

    dirty: changed or new files that git does not ignore; a selector of one's own is not in the commit either.
    """
    return _known(_git)


def _git() -> dict[str, Any] | None:
    root = Path(__file__).resolve().parent.parent

    def ask(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
        return done.stdout.strip()

    top, commit = ask("rev-parse", "--show-toplevel", "HEAD").splitlines()
    if Path(top).resolve() != root:  # a copy in site-packages below somebody else's repository
        return None
    return {"commit": commit, "dirty": bool(ask("--no-optional-locks", "status", "--porcelain"))}


@cache
def versions() -> dict[str, str]:
    """Return the version of Python and of each installed package that can change a result; imports none of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        version = _known(lambda package=package: metadata.version(package))
        if version is not None:
            found[package] = version
    return found


@cache
def host() -> dict[str, Any]:
    """Return {"cpu", "instructions", "cores", "memory_mb", "system"} of the machine; cores: that this process may use.

    instructions: of the vector instructions by which a product of matrices rounds differently, those it has.
    """
    return {
        "cpu": _known(lambda: _cpu_facts()["model name"]) or platform.processor() or None,
        "instructions": _known(lambda: [name for name in _VECTORS if name in _cpu_facts()["flags"].split()]),
        "cores": _known(lambda: len(os.sched_getaffinity(0))) or os.cpu_count(),
        "memory_mb": _known(lambda: round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6)),
        "system": _known(lambda: f"{platform.system()} {platform.machine()}"),
    }


def _cpu_facts() -> dict[str, str]:
    """Return what Linux says of the first processor."""
    first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}


def _device_name(device: object | None) -> str:
    cuda = _gpu()
    wanted = str(device) if device is not None else "cpu" if cuda is None else "cuda"
    return f"{wanted} ({cuda.get_device_name()})" if cuda is not None and wanted.startswith("cuda") else wanted


def _threads() -> int | None:
    torch = _used_torch()
    return torch.get_num_threads() if torch is not None else int(os.environ["OMP_NUM_THREADS"])


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _peak_memory() -> float:
    # getrusage hands the peak of the process that launched this one on to it (a workflow engine of 300 MB, say), so
    # Linux's own count of this program comes first.
    if (status := Path("/proc/self/status")).exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _reset_gpu_peak() -> None:
    if (cuda := _gpu()) is not None:
        for index in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(index)


def _peak_gpu_memory() -> float | None:
    cuda = _gpu()
    return cuda and round(sum(cuda.max_memory_allocated(index) for index in range(cuda.device_count())) / 1e6, 1)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
