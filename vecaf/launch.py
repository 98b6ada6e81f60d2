"""Start a script in one process per GPU, as many as are asked for and visible: ``python -m vecaf.launch 2 MODULE …``.

The global batch stays the same however many there are. Where none or one is visible the script runs in one process,
so the same command works on a laptop.
"""

from __future__ import annotations

import os
import sys

from vecaf.devices import claim, visible_gpus


def command(asked: int, visible: int, module: str, arguments: list[str]) -> list[str]:
    """Return the command that starts a module in as many processes as are asked for and visible."""
    processes = min(asked, visible)
    launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    return [sys.executable, *(["-m", *launcher] if launcher else []), "-m", module, *arguments]


def main(arguments: list[str]) -> None:
    asked = int(arguments[0])
    claim(asked)
    visible = visible_gpus()
    if visible < asked:
        where = "one process" if visible < 2 else f"{visible} processes"
        print(f"{asked} GPUs are asked for and {visible} visible: running in {where}", file=sys.stderr, flush=True)
    line = command(asked, visible, arguments[1], arguments[2:])
    os.execv(line[0], line)


if __name__ == "__main__":
    main(sys.argv[1:])
