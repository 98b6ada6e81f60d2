"""What SLURM says of itself: whether it keeps accounts, and which partitions have which GPUs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

PLUGIN = "snakemake-executor-plugin-slurm"
OLDEST_PLUGIN = (2, 7, 1)  # older ones start a job of two GPUs twice, with one each
MIN_JOB_AGE = 120  # seconds that ended jobs must stay in squeue's list for its answers to be relied on


def findings(slurm: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (level, what, fix). slurm: ``status``, the command that is asked about jobs; ``partitions``, each with the
    model of the GPUs that jobs ask of it, or None."""
    version = metadata.version(PLUGIN)
    fine = tuple(int(part) for part in version.split(".")[:3]) >= OLDEST_PLUGIN
    yield (
        ("ok", f"{PLUGIN} {version}", "")
        if fine
        else ("FAILED", f"{PLUGIN} {version} starts jobs of two GPUs twice", "install the versions of envs/lock.txt")
    )
    if shutil.which("sbatch") is None:
        yield "FAILED", "there is no sbatch here", "start snakemake on a login node, or without `--profile slurm`"
        return
    settings = _ask("scontrol", "show", "config")
    if not settings:
        yield "FAILED", "scontrol does not answer: the controller of SLURM is down or not configured", "try again later"
        return
    yield from _status(slurm["status"], settings)
    yield from _partitions(slurm["partitions"])


def _status(status: str, settings: str) -> Iterator[tuple[str, str, str]]:
    accounting = _setting(settings, "AccountingStorageType")
    kept = accounting is not None and not accounting.endswith("/none") and accounting != "(null)"
    if status == "squeue":
        yield _memory(re.match(r"\d+", _setting(settings, "MinJobAge") or ""), kept)
    elif kept:
        yield "ok", "accounting is on, sacct tells how jobs ended", ""
    else:
        yield (
            "FAILED",
            f"accounting is off ({accounting}), so sacct never tells that a job has ended and snakemake waits for ever",
            "set `slurm-status-command: squeue` in slurm/config.v9+.yaml",
        )


def _memory(age: re.Match[str] | None, kept: bool) -> tuple[str, str, str]:
    """Return the finding on how long squeue tells of ended jobs. age: MinJobAge, in seconds; 0 is for good."""
    if age is None:
        fix = f"ask whether it is {MIN_JOB_AGE} or more, or 0"
        return "warning", "MinJobAge cannot be read: how long squeue tells how jobs ended is unknown", fix
    if (seconds := int(age[0])) == 0 or seconds >= MIN_JOB_AGE:
        return "ok", "squeue tells how jobs ended " + (f"for {seconds} s" if seconds else "for good"), ""
    more = "; here accounting is on: leave out slurm-status-command" if kept else ""
    fix = f"ask for MinJobAge of {MIN_JOB_AGE} or more in slurm.conf{more}"
    return "FAILED", f"squeue forgets ended jobs after {seconds} s (MinJobAge)", fix


def _partitions(wanted: Mapping[str, str | None]) -> Iterator[tuple[str, str, str]]:
    known: dict[str, str] = {}
    for line in _ask("sinfo", "--noheader", "--format=%R %G").splitlines():
        partition, _, gres = line.partition(" ")
        known[partition] = f"{known.get(partition, '')} {gres}"
    there = ", ".join(sorted(known)) or "none"
    for partition, model in wanted.items():
        if partition not in known:
            fix = f"set slurm_partition in slurm/config.v9+.yaml to one of: {there}"
            yield "FAILED", f"there is no partition {partition}", fix
        elif model and f":{model}:" not in known[partition]:
            yield (
                "FAILED",
                f"partition {partition} has no GPU called {model} ({known[partition].strip()})",
                "set gpu_model in slurm/config.v9+.yaml to a name that sinfo shows, or leave it out to take any",
            )
        else:
            yield "ok", f"partition {partition}" + (f" has {model}" if model else ""), ""


def _setting(settings: str, name: str) -> str | None:
    found = re.search(rf"^{name}\s*=\s*(\S+)", settings, re.MULTILINE)
    return found[1] if found else None


def _ask(*words: str) -> str:
    """Return what a command prints, nothing where it fails or does not answer within half a minute."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
