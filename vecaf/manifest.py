"""The record of one run of the workflow: what was asked for, with which code, configuration and environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vecaf import artifacts, provenance

LOCK = Path(__file__).resolve().parent.parent / "envs" / "lock.txt"


def begin(root: str | Path, arguments: Sequence[str], config: Mapping[str, Any], jobs: Mapping[str, int]) -> Path:
    """Write the record of a run that starts now, and return its file below ``root``/manifest.

    arguments: the command line. config: the merged configuration. jobs: rule → how many of it will run.
    """
    now = datetime.now(UTC)
    file = Path(root) / "manifest" / f"{now:%Y%m%dT%H%M%SZ}-{os.getpid()}.json"
    record = {
        "arguments": list(arguments),
        "config": dict(config),
        "config_digest": artifacts.digest(config),
        "environment": {"lock": artifacts.file_hash(LOCK) if LOCK.is_file() else None, **provenance.versions()},
        "git": provenance.git(),
        "host": provenance.host(),
        "jobs": dict(jobs),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "started": now.isoformat(timespec="seconds"),
    }
    artifacts.write_json(file, record)
    return file


def end(file: Path, outcome: str) -> None:
    """Add how a run ended, ``success`` or ``failure``; the record of one that was killed never says."""
    record = artifacts.read_json(file)
    record |= {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "outcome": outcome}
    artifacts.write_json(file, record)
