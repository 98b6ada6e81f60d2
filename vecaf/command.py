"""The frame that every script shares: arguments, one summary line, and errors as one sentence."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vecaf.errors import VecafError


def parser(documentation: str, params: str | None = None) -> argparse.ArgumentParser:
    """Return a parser whose help is the script's docstring; ``params`` describes its JSON parameters, if it has any."""
    made = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    if params is not None:
        made.add_argument("--params", type=_json, required=True, metavar="JSON", help=params)
    return made


def pool_arguments(made: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the arguments of scripts that read images."""
    names = ("INDEX", "IMAGES", "META")
    made.add_argument("--pool", nargs="*", type=Path, required=required, metavar="FILE", help=f"{', '.join(names)}")
    made.add_argument("--root", default="none", help="folder of the dataset's images; `none` for embedded ones")


def device_argument(made: argparse.ArgumentParser) -> None:
    made.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto: a GPU if visible")


def shard_argument(made: argparse.ArgumentParser) -> None:
    """Add the argument of scripts whose work several jobs can share; its value is (I, N)."""
    made.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="which of how many; default 1/1")


def checkpoint_arguments(made: argparse.ArgumentParser) -> None:
    """Add the arguments of scripts that go on where a killed job was."""
    from vecaf.checkpoint import EVERY

    made.add_argument("--resume", type=Path, help="where the state so far is kept; deleted when the outputs are whole")
    made.add_argument("--checkpoint-seconds", type=float, default=EVERY, help="between two writings of it; 0: always")
    made.add_argument("--step-version", default="0", help="version of this step: the state of another is not used")


def _shard(text: str) -> tuple[int, int]:
    shard, _, shards = text.partition("/")
    if not (shard.isdigit() and shards.isdigit() and 1 <= int(shard) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I in 1..N")
    return int(shard), int(shards)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error}") from None


def run(main: Callable[[list[str]], str]) -> None:
    """Call main with the command line and print the line it returns; errors a user can mend leave exit code 1.

    The process ends without Python's tear-down, which for torch takes as long as a small step: every file is closed by
    then, and what was printed is flushed.
    """
    gc.freeze()  # what was imported stays, see scripts/__init__.py
    gc.enable()
    said, code = "", 0
    try:
        said = main(sys.argv[1:])
    except VecafError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except BaseException:
        gc.unfreeze()
        raise
    with suppress(BrokenPipeError):  # nobody reads any more, as after `| head`
        print(said, end="\n" if said else "", flush=True)
    sys.stderr.flush()
    os._exit(code)


def checkpoint(args: argparse.Namespace, *inputs: Path | None, **more: object):
    """Return the checkpoint of a script: one of other parameters, input files or number of processes is not used."""
    from vecaf import artifacts, provenance
    from vecaf.checkpoint import NOTHING, Checkpoint

    made = NOTHING
    if args.resume is not None:
        hashes = [None if file is None else artifacts.file_hash(file) for file in inputs]
        processes = os.environ.get("WORLD_SIZE", "1")  # of torchrun: augmentations depend on it
        key = artifacts.digest([args.params, args.step_version, hashes, processes, more])
        made = Checkpoint(args.resume, key, args.checkpoint_seconds)
    provenance.began_before(made)
    return made


def claim_gpu(name: str) -> None:
    """Take a GPU of this workstation for a device of ``auto`` or ``cuda``, before anything asks CUDA."""
    from vecaf import devices

    if name != "cpu":
        devices.claim(1)


def torch_device(name: str):
    """Return the torch device of ``auto``, ``cpu`` or ``cuda``; raises VecafError when no GPU is visible for cuda."""
    claim_gpu(name)
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise VecafError("--device cuda, but no GPU is visible; use --device auto or check CUDA_VISIBLE_DEVICES")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
