"""Which GPUs of a workstation a process may use: Snakemake runs jobs side by side there and assigns them none.

Each GPU has a lock file; a process that needs GPUs takes locks and sets CUDA_VISIBLE_DEVICES to them before CUDA is
asked. The locks end with the process, however it ends. On a cluster the scheduler has chosen already (SLURM_JOB_ID), as
has a person who set CUDA_VISIBLE_DEVICES; then nothing is locked.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

WAIT = 1.0  # seconds between two looks at GPUs that are all in use
_held: list[int] = []  # open files; closing one gives its GPU back


def visible_gpus() -> int:
    """Return how many GPUs a process started now would see, without importing torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([device for device in chosen.split(",") if device.strip() not in ("", "-1")])
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetCount()
    except Exception:  # no driver, no library: no GPU
        return 0


def claim(count: int, folder: Path | None = None) -> None:
    """Take ``count`` GPUs (all, if there are fewer) for this process and those that it becomes; wait while in use.

    folder: where lock files lie, that of temporary files by default. All GPUs are taken at once or none, so that two
    jobs of two GPUs cannot wait for each other.
    """
    if "SLURM_JOB_ID" in os.environ or "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    if not (count := min(count, total := visible_gpus())):
        return
    said = False
    while (taken := _try(count, total, folder or Path(tempfile.gettempdir()))) is None:
        if not said:
            print(
                f"waiting for {count} of {total} GPUs, which other jobs of this user hold", file=sys.stderr, flush=True
            )
            said = True
        time.sleep(WAIT)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, taken))
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order in which they were counted


def _try(count: int, total: int, folder: Path) -> list[int] | None:
    """Lock and return the first free GPUs, or hold none."""
    taken: dict[int, int] = {}
    for gpu in range(total):
        # A user's own files: another user's locks could not be opened in a sticky folder.
        handle = os.open(folder / f"vecaf-{os.getuid()}-gpu{gpu}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        os.set_inheritable(handle, True)  # the launcher becomes torchrun, whose workers hold the GPUs
        taken[gpu] = handle
        if len(taken) == count:
            _held.extend(taken.values())
            return list(taken)
    for handle in taken.values():
        os.close(handle)
    return None
