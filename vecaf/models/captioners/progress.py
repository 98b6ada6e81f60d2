"""What a killed captioning job had already written, so that the next one goes on from there.

One JSON line per batch is appended to a file that is no output of the workflow (those are deleted with a failed job).
Its first line is the key of all that the captions depend on; a line that was cut off by a kill is dropped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from vecaf.errors import ArtifactError


class Progress:
    """The captions of one job so far, in the order of its images; without a path nothing is kept."""

    def __init__(self, path: Path | None, key: str):
        self._path, self._key = path, key

    def read(self) -> list[str]:
        """Return the captions that an earlier job of the same key left, and make the file ready for more.

        Captions of another key are dropped, with a line that says so. Raises ArtifactError if the file cannot be
        written.
        """
        if self._path is None:
            return []
        whole, batches = _whole_lines(self._path)
        if batches[:1] != [{"key": self._key}]:
            if batches:
                print(f"{self._path} is of other parameters, weights or images: its captions are not used.", flush=True)
            self._start()
            return []
        with self._path.open("rb+") as file:
            file.truncate(whole)
        captions = [caption for batch in batches[1:] for caption in batch]
        print(f"going on after {len(captions)} captions that {self._path} holds", flush=True)
        return captions

    def add(self, captions: list[str]) -> None:
        """Note a batch: it outlives the process from here on."""
        if self._path is not None:
            self._write(captions, "ab")

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)

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


def _whole_lines(path: Path) -> tuple[int, list]:
    """Return the bytes up to the first line that is not whole, and the values of the lines before it."""
    whole, values = 0, []
    if path.is_file():
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n"):
                    break
                values.append(value)
                whole += len(line)
    return whole, values
