"""Snakemake without its start: a process that has read its libraries runs each command in a child of its own.

Reading them is two fifths of a plan's time, and tests ask for hundreds of plans. Of the project nothing is read
beforehand: a child reads it from the folder that it runs in, as ``python -m snakemake`` does there.
"""

import atexit
import gc
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    """How a command ended. text: its output, errors among it."""

    returncode: int
    text: str


def snakemake(*arguments: str, folder: Path, environment: dict[str, str] | None = None) -> Done:
    """Run ``snakemake arguments`` in a folder; environment: more than the process's own."""
    with tempfile.NamedTemporaryFile("r") as output:
        order = {"arguments": arguments, "folder": str(folder), "environment": environment or {}, "output": output.name}
        server = _server(os.getpid())
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        code = server.stdout.readline()
        assert code, "the process that runs snakemake has ended"
        return Done(int(code), output.read())


@cache
def _server(_process: int) -> subprocess.Popen:
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    atexit.register(server.kill)
    return server


def serve() -> None:
    import pandas  # noqa: F401
    import pydantic  # noqa: F401
    import snakemake.cli
    import snakemake.dag
    import snakemake.scheduling.job_scheduler

    gc.freeze()  # what is shared with the children stays where it is
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            return run(snakemake.cli.main, **order)
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


def run(main, arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    os.chdir(folder)
    os.environ |= environment
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(output, os.O_WRONLY | os.O_TRUNC), 1)
    os.dup2(1, 2)
    sys.argv = ["snakemake", *arguments]
    sys.path[0] = folder  # in the place of this file's own
    main()


if __name__ == "__main__":
    serve()
