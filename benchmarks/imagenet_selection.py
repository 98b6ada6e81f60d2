"""One member of ODS on a pool of ImageNet's size, from a float16 memory map, as the select step would run it.

Equation 7 with its defaults from random samples, until the objective settles or for ``--iterations``; then the unique
nearest samples, and (without ``--iterations``) what the step logs besides, which judges six more sets of centroids.
Each iteration is a line, so that a run that is stopped has said what it saw. The pool is synthetic, as that of
benchmarks.selection; its losses are log-normal. The peak is that of the process, features and libraries included.

    python -m benchmarks.imagenet_selection                              # K = 12,811: 1 % of ImageNet
    python -m benchmarks.imagenet_selection --k 51246 --iterations 10    # 4 %: ten iterations and the end
    python -m benchmarks.imagenet_selection --n 20000 --k 200            # a minute
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.selection import clustered
from benchmarks.selectors import peak

IMAGENET, IMAGENET_WIDTH = 1_281_167, 768


class Clock:
    """Seconds of the clock and of the processor since it was last asked."""

    def __init__(self):
        self.last = time.perf_counter(), time.process_time()

    def __call__(self) -> tuple[float, float]:
        now = time.perf_counter(), time.process_time()
        passed = now[0] - self.last[0], now[1] - self.last[1]
        self.last = now
        return passed


def memory_map(file: Path, size: int, width: int) -> np.ndarray:
    """Write the pool block by block and return it, (N, d) float16."""
    array = np.lib.format.open_memmap(file, mode="w+", shape=(size, width), dtype=np.float16)
    start = 0
    for block in clustered(size, width):
        array[start : start + len(block)] = block
        start += len(block)
    array.flush()
    return np.load(file, mmap_mode="r")


def run(embeddings: np.ndarray, k: int, iterations: int | None) -> None:
    """Run one member and print what each part of it took."""
    import torch

    from vecaf import selection
    from vecaf.selection import engine, ods

    size = len(embeddings)
    losses = np.random.default_rng(2).lognormal(size=size).astype(np.float32)
    inputs = selection.Inputs(np.arange(size), np.zeros(size, np.int64), embeddings, losses, loop=2, device="cpu")
    selector = selection.build("ods", {"ensemble": 1})
    clock, done, whole = Clock(), 0, Clock()

    def say(what: str, *numbers: str) -> None:
        wall, processor = clock()
        print("\t".join([what, f"{wall:.1f} s", f"{processor:.1f} processor s", *numbers]), flush=True)

    pool = engine.Pool(inputs)
    weights = torch.from_numpy(selector._weights(inputs, pool.order))
    objective = selector._objective()
    say("features on the sphere", f"{peak():,.0f} MB at most so far")

    def told(*given):
        nonlocal done
        value, gradient = objective(*given)
        done += 1
        say(f"iteration {done}", f"objective {value.item():.6f}")
        return value, gradient

    initial = torch.from_numpy(np.random.default_rng(1).permutation(size)[:k])
    found = engine.optimise(
        *(pool.z, weights, pool.z[initial], told),
        iterations=iterations or selector.params.iterations,
        learning_rate=selector.params.learning_rate,
        tolerance=None if iterations else ods.TOLERANCE,
        window=ods.WINDOW,
    )
    wall, processor = whole()
    pairs = f"{found.multiplied / (size * k * (found.iterations + 1)):.3f} of all pairs multiplied"
    print(f"{found.iterations} iterations\t{wall:.1f} s\t{processor:.1f} processor s\t{pairs}", flush=True)
    clock()
    chosen = engine.nearest_unique(pool.z, found.centroids)
    say("unique nearest samples", f"{len(np.unique(chosen)):,} of {k:,} ids")
    if not iterations:
        log = engine.objective_log(pool, weights, objective, [found], 0, chosen, seed=3)
        say("the log", *(f"{name} {value:.6g}" for name, value in log.items()))
    print(f"peak of the process: {peak():,.0f} MB = {peak() * 1e6 / 2**30:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=IMAGENET, help="size of the pool")
    parser.add_argument("--width", type=int, default=IMAGENET_WIDTH, help="width of the embeddings")
    parser.add_argument("--k", type=int, default=12_811, help="size of the selection")
    parser.add_argument("--iterations", type=int, help="run so many; without it, until the objective settles")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        print(f"N = {args.n:,}, d = {args.width}, K = {args.k:,}, {args.threads} threads", flush=True)
        run(memory_map(Path(folder) / "embeddings.npy", args.n, args.width), args.k, args.iterations)


if __name__ == "__main__":
    main()
