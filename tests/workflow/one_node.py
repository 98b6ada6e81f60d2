"""A SLURM cluster of one node with two GPUs of type a100, on this machine and below one folder.

The GPUs are /dev/null and /dev/zero: the scheduler binds them like real ones, and CUDA_VISIBLE_DEVICES is what a job of
a cluster sees. There is no accounting, as on many small clusters. Nothing outside the folder is touched.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
SLURM = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=0
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MinJobAge=3600
KillWait=10
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=32 RealMemory=1000000 Gres=gpu:a100:2 State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=cpu Nodes={host} MaxTime=INFINITE State=UP
"""
GPUS = """
Name=gpu Type=a100 File=/dev/null
Name=gpu Type=a100 File=/dev/zero
"""


def missing() -> str | None:
    """Return why no cluster is started here, None if one can and is asked for: it takes minutes of waiting."""
    if os.environ.get("VECAF_TEST_SLURM") != "1":
        return "a real SLURM is started only when asked: make test-slurm"
    path = f"{os.environ['PATH']}:/usr/sbin"
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if absent:
        return f"no SLURM here ({', '.join(absent)}): apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "slurmd runs as root only"


class OneNode:
    """The cluster between ``start`` and ``stop``; ``environment`` is what commands need to find it."""

    def __init__(self, folder: Path):
        self.folder, self.host = folder, socket.gethostname().partition(".")[0]
        self.environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"}
        self.environment["PATH"] = f"{folder}/bin:{os.environ['PATH']}:/usr/sbin"
        self._running: list[subprocess.Popen] = []

    def start(self) -> None:
        """Start the daemons and wait for an idle node; raises AssertionError with their logs if none comes."""
        folder = self.folder
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir()
        # Inside a job the executor's plugin takes SLURM_CONF out of the environment of its srun.
        shim = f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
        (folder / "bin/srun").write_text(shim)
        (folder / "bin/srun").chmod(0o755)
        ports = dict(zip(("controller", "node"), _free_ports(2), strict=True))
        (folder / "slurm.conf").write_text(SLURM.format(host=self.host, folder=folder, user="root", **ports))
        (folder / "gres.conf").write_text(GPUS)
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._daemon(
            "munged", "--foreground", "--force", *(f"--{flag}={folder}/munge.{name}" for flag, name in files.items())
        )
        self._until(lambda: (folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D", "-f", f"{folder}/slurm.conf")
        self._daemon("slurmd", "-D", "-f", f"{folder}/slurm.conf")
        self._until(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%t"))

    def stop(self) -> None:
        """Cancel all jobs and end the daemons."""
        self.ask("scancel", "--user=root")
        self._until(lambda: not self.ask("squeue", "--noheader"), seconds=30)
        for daemon in reversed(self._running):
            daemon.terminate()
            daemon.wait(timeout=30)

    def ask(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout

    def jobs(self) -> dict[int, dict[str, str]]:
        """Return what the controller says of every job so far: number → key → value."""
        blocks = self.ask("scontrol", "show", "job", "--oneliner").splitlines()
        told = [dict(word.partition("=")[::2] for word in block.split() if "=" in word) for block in blocks]
        return {int(job["JobId"]): job for job in told if "JobId" in job}

    def down(self) -> None:
        """Take the node away, with whatever runs on it, and wait until its daemon has cleaned up."""
        self.ask("scontrol", "update", f"nodename={self.host}", "state=down", "reason=test")
        for process in self._of_jobs():  # what a node that is lost does to all of them, here by hand
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        # A job that starts again before its last step has ended would be refused, and the node drained.
        self._until(lambda: not self.ask("pgrep", "slurmstepd"))

    def back(self) -> None:
        """Return the node, and start what was requeued without the two minutes that SLURM lets it wait."""
        self.ask("scontrol", "update", f"nodename={self.host}", "state=resume")
        self._until(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%t"))
        for number, job in self.jobs().items():
            if job["JobState"] == "PENDING":
                self.ask("scontrol", "update", f"JobId={number}", "StartTime=now")

    def _of_jobs(self) -> list[int]:
        """Return the processes of jobs: those that SLURM has started with this cluster's path."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and f"{self.folder}/bin:" in (
                    words := (folder / "environ").read_text(errors="replace")
                ):
                    found += [int(folder.name)] * ("SLURM_JOB_ID=" in words)
        return found

    def _daemon(self, *words: str) -> None:
        log = (self.folder / f"{words[0]}.out").open("w")
        self._running.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log))

    def _until(self, fulfilled, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not fulfilled():
            logs = [file.read_text()[-2000:] for file in self.folder.glob("*.out")]
            assert time.monotonic() < until, "\n".join(logs)
            time.sleep(0.3)


def _free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports
