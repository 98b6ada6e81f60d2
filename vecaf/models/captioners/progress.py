"""What a killed captioning job had already written, so that the next one goes on from there.

One JSON line per batch is appended to a file that is not an output of the workflow (those of a failed job are deleted).
Its first line is the key of all that the captions depend on. Every other line carries the seconds that the job has
taken so far, in all its attempts, and a hash over key, place, seconds and captions; from the first line on that a kill
cut off or that does not have its hash, nothing is used.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from vecaf.artifacts import digest
from vecaf.checkpoint import Clock
from vecaf.errors import ArtifactError


class Progress:
    """The captions of one job so far, in the order of its images; without a path nothing is kept."""

    def __init__(self, path: Path | None, key: str):
        self._path, self._key, self._batches, self._clock = path, key, 0, Clock()

    @property
    def seconds_before(self) -> float:
        """Seconds that earlier attempts took up to the last caption that was read."""
        return self._clock.before

    def read(self) -> list[str]:
        """Return the captions that an earlier job of the same key left, and make the file ready for more.

        Captions of another key are dropped, with a line that says so. Raises ArtifactError if the file cannot be
        written.
        """
        if self._path is None:
            return []
        lines = _whole_lines(self._path)
        if [value for value, _ in lines[:1]] != [{"key": self._key}]:
            if lines:
                print(f"{self._path} is of other parameters, weights or images: its captions are not used.", flush=True)
            self._start()
            return []
        captions, whole = [], lines[0][1]
        for value, end in lines[1:]:
            if value != self._line(value.get("captions"), value.get("seconds")):
                print(f"{self._path} is damaged after {len(captions)} captions; the rest is not used.", flush=True)
                break
            captions += value["captions"]
            self._batches, self._clock.before, whole = self._batches + 1, value["seconds"], end
        with self._path.open("rb+") as file:
            file.truncate(whole)
        print(f"going on after {len(captions)} captions that {self._path} holds", flush=True)
        return captions

    def add(self, captions: list[str]) -> None:
        """Note a batch: it outlives the process from here on."""
        if self._path is not None:
            self._write(self._line(captions, round(self._clock.now(), 4)), "ab")
            self._batches += 1

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _line(self, captions: object, seconds: object) -> dict:
        said = {"captions": captions, "seconds": seconds}
        return said | {"hash": digest([self._key, self._batches, captions, seconds])}

    def _start(self) -> None:
        self._write({"key": self._key}, "wb")

    def _write(self, value: object, mode: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open(mode) as file:
                file.write(json.dumps(value).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ArtifactError(f"cannot write {self._path}: {error.strerror or error}") from error


def _whole_lines(path: Path) -> list[tuple[dict, int]]:
    """Return the values of a file's lines up to the first that is not whole, each with the bytes up to its end."""
    lines, end = [], 0
    if path.is_file():
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except ValueError:
                    break
                if not (line.endswith(b"\n") and isinstance(value, dict)):
                    break
                end += len(line)
                lines.append((value, end))
    return lines
