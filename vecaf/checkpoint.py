"""What a long step has done so far, so that a killed job goes on where it was.

The file is not an output of the workflow: Snakemake deletes those of a failed job. It is written at an interval and
when the process is asked to end (SIGTERM: a time limit, a preemption), whole or not at all, and believed only if its
bytes have the hash that it names and its key is that of the present step. Anything else is refused with a sentence
before it is read, and the step begins anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecaf import artifacts
from vecaf.errors import VecafError

if TYPE_CHECKING:
    from torch import Tensor

EVERY = 600.0  # seconds between two checkpoints: the most that a kill costs, for a second or two of writing
_HEAD = b"vecaf checkpoint with seconds "


class Stopped(VecafError):
    """The process was asked to end and has kept what it had."""


class Clock:
    """Seconds that a step has taken: in attempts that were killed, as its checkpoints tell, and in this process."""

    def __init__(self):
        self.before, self._began = 0.0, time.monotonic()

    def now(self) -> float:
        return self.before + time.monotonic() - self._began


class Checkpoint:
    """One file that holds the latest state of one step; without a path nothing is kept.

    key: of all that the result depends on (``artifacts.digest``): parameters, version of the step, hashes of inputs.
    every: seconds between two checkpoints; 0 for one whenever a step could write one.
    """

    def __init__(self, path: str | Path | None, key: str, every: float = EVERY):
        self._path = None if path is None else Path(path)
        self._key, self._every, self._last = key, every, time.monotonic()
        self._clock = Clock()
        if self._path is not None:
            _listen()

    @property
    def kept(self) -> bool:
        """Whether anything is written at all."""
        return self._path is not None

    @property
    def seconds_before(self) -> float:
        """Seconds that earlier attempts took up to the state that was loaded; 0 for a step that began anew."""
        return self._clock.before

    def part(self, number: int) -> Checkpoint:
        """Return one of several files in a folder: for a step whose results only grow."""
        path = None if self._path is None else self._path / f"part{number:012d}"
        part = type(self)(path, f"{self._key} part {number}", self._every)
        part._clock = self._clock
        return part

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """Return tensors by name and plain JSON facts as ``save`` got them; None if there is nothing to go on from."""
        if self._path is None or not self._path.is_file():
            return None
        from safetensors.torch import load

        content = self._path.read_bytes()
        head, _, body = content.partition(b"\n")
        expected = _HEAD + f"{self._key} {hashlib.sha256(body).hexdigest()}".encode()
        if head != expected:
            why = "is damaged: its hash is not that of its bytes"
            if head.startswith(_HEAD) and not head.startswith(_HEAD + self._key.encode() + b" "):
                why = "is of other parameters, weights or data"
            print(f"checkpoint {self._path} {why}; it is not used and this step begins anew", flush=True)
            return None
        line, _, tensors = body.partition(b"\n")
        told = json.loads(line)
        self._clock.before = told["seconds"]
        return load(tensors), told["facts"]

    def due(self) -> bool:
        """Return whether a step that can write its state now should do so."""
        return self._path is not None and (stopping() or time.monotonic() - self._last >= self._every)

    def save(self, tensors: Mapping[str, Tensor], facts: Any) -> None:
        """Write a state in place of the last one; raises ArtifactError when it cannot be written."""
        if self._path is None:
            return
        from safetensors.torch import save

        ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        told = {"facts": facts, "seconds": round(self._clock.now(), 4)}
        body = artifacts.canonical(told).encode() + b"\n" + save(ready)
        with artifacts.atomic(self._path) as temporary:
            temporary.write_bytes(_HEAD + f"{self._key} {hashlib.sha256(body).hexdigest()}\n".encode() + body)
        self._last = time.monotonic()

    def end(self) -> None:
        """Raise Stopped: this process was asked to end and has saved its state."""
        raise Stopped(f"asked to end (SIGTERM); what was done is in {self._path}, and the next run goes on from there")

    def end_if_asked(self) -> None:
        if stopping():
            self.end()

    def remove(self) -> None:
        """Delete what is kept, once the results are written."""
        if self._path is None:
            return
        if self._path.is_dir():
            shutil.rmtree(self._path)
        self._path.unlink(missing_ok=True)


NOTHING = Checkpoint(None, "")
_asked = threading.Event()


def stopping() -> bool:
    """Return whether this process has been asked to end."""
    return _asked.is_set()


def _listen() -> None:
    """Note SIGTERM instead of dying by it, so that the step can keep its state first."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: _asked.set())
