"""What one selection costs: seconds and memory of every selector, each in a process of its own, in one run.

The pool is synthetic (clusters, N × d float32 embeddings on disk, a linear head, 32-pixel images); the loop is the
second, with K samples labelled before. Selectors whose whole run would take hours are run twice with few iterations and
their seconds projected along a line to the defaults; such rows say "projected" and from what. Memory is the peak
resident size of the process; the imports and arrays that every selector finds there are measured first and shown alone.

    python -m benchmarks.selectors                 # N = 50,000, d = 768, K = 2,500, two threads: about ten minutes
    python -m benchmarks.selectors --n 5000 --k 250 --only entropy margin
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CLASSES = 10
SEEDS = {"random_set": 1, "centroids": 2}
# Few iterations in place of many: parameter, two values to measure, and how often the default repeats the work.
SHORT = {
    "activeft": ("iterations", 4, 12, lambda params: (params.iterations, 1)),
    "ods": ("iterations", 4, 12, lambda params: (params.iterations, params.ensemble)),
    "ta_vaal": ("max_iterations", 3, 9, None),  # to the authors' number, which the log names
}
REPEATS = 2
FIXED = {"ods": {"ensemble": 1, "until_convergence": False}}


def make_pool(folder: Path, size: int, width: int) -> None:
    """Write what selectors read, row by row so that making it takes no memory that could hide theirs."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(CLASSES, width)).astype(np.float32)
    labels = generator.integers(CLASSES, size=size)
    np.save(folder / "labels.npy", labels)
    shapes = {"embeddings": ((size, width), "float32"), "images": ((size, 32, 32, 3), "uint8")}
    for name, (shape, dtype) in shapes.items():
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", shape=shape, dtype=dtype)
        for start in range(0, size, 4096):
            rows = slice(start, min(start + 4096, size))
            if name == "embeddings":
                noise = generator.normal(size=(rows.stop - start, width), scale=2.0)
                array[rows] = 0.2 * centres[labels[rows]] + noise.astype(np.float32)
            else:
                array[rows] = generator.integers(0, 255, (rows.stop - start, 32, 32, 3), dtype=np.uint8)
        array.flush()
    np.save(folder / "losses.npy", generator.lognormal(size=size).astype(np.float32))
    np.save(folder / "predicted.npy", generator.normal(size=size).astype(np.float32))
    # Logits that differ by a few units: a saturated head has no uncertain samples, and ALFA-Mix no candidates.
    weight = 3 / width * (centres + generator.normal(size=centres.shape))
    np.save(folder / "weight.npy", weight.astype(np.float32))


def measure(name: str, folder: Path, k: int, params: dict) -> dict:
    """Run one selection in this process; returns its seconds, peak memory before and after in MB, and its log."""
    import torch

    from vecaf import selection

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    labels = np.load(folder / "labels.npy")
    selector = selection.build(name, params)

    def array(file):
        return np.load(folder / f"{file}.npy", mmap_mode="r")

    head = (np.load(folder / "weight.npy"), np.zeros(CLASSES, np.float32))
    given = {"embeddings": array("embeddings")} if selector.needs & {"embeddings", "logits", "head"} else {}
    given |= {"losses": np.load(folder / "losses.npy")} if "losses" in selector.needs else {}
    given |= {"predicted_losses": np.load(folder / "predicted.npy")} if "predicted_losses" in selector.needs else {}
    given |= {"images": array("images")} if "images" in selector.needs else {}
    given |= {"head": head} if selector.needs & {"head"} else {}
    given |= {"logits": selection.Logits(array("embeddings"), *head)} if "logits" in selector.needs else {}
    ids = np.arange(len(labels))
    earlier = (np.sort(np.random.default_rng(5).permutation(ids)[:k]),)
    inputs = selection.Inputs(ids=ids, labels=labels, earlier=earlier, loop=2, device="cpu", **given)
    before, start = resident(), time.perf_counter()
    _, log = selection.choose(selector, inputs, len(ids) if name == "full" else k, SEEDS)
    return {"seconds": time.perf_counter() - start, "before": before, "peak": peak(), "log": log}


def resident() -> float:
    """Return the resident memory of this process, MB of 10⁶ bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """Return the largest resident memory of this process so far, MB of 10⁶ bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def in_a_process(name: str, folder: Path, args, params: dict) -> dict:
    """Return ``measure`` of a process of its own: peak memory cannot be measured twice in one."""
    command = [sys.executable, "-m", "benchmarks.selectors", "--measure", name, "--folder", str(folder)]
    command += ["--k", str(args.k), "--params", json.dumps(params)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "OPENBLAS_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, folder: Path, args) -> tuple[str, ...]:
    """Return the line of the table of one selector."""
    from vecaf import selection

    if name not in SHORT:
        found = in_a_process(name, folder, args, {})
        return (name, f"{found['seconds']:.1f}", "measured", f"{found['peak']:,.0f}", f"{grown(found):,.0f}")
    key, few, more, whole = SHORT[name]
    runs = {few: [], more: []}
    for _ in range(REPEATS):
        for n, found in runs.items():
            found.append(in_a_process(name, folder, args, {key: n} | FIXED.get(name, {})))
    # What else the machine does can only add: the fastest run is the one to project from.
    short, longer = (min(found, key=lambda run: run["seconds"]) for found in runs.values())
    each = (longer["seconds"] - short["seconds"]) / (more - few)
    rest = short["seconds"] - few * each
    default = selection.get(name).Params()
    steps, times = whole(default) if whole else (longer["log"]["iterations_by_formula"], 1)
    projected = rest + steps * times * each
    said = f"projected from {few} and {more} iterations ({each:.2f} s each) to {times} × {steps:,}"
    return (name, f"{projected:,.0f}", said, f"{longer['peak']:,.0f}", f"{grown(longer):,.0f}")


def grown(found: dict) -> float:
    return max(0.0, found["peak"] - found["before"])


def main() -> None:
    from vecaf import selection

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50_000, help="size of the pool")
    parser.add_argument("--width", type=int, default=768, help="width of the embeddings")
    parser.add_argument("--k", type=int, default=2_500, help="size of the selection")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=selection.names(), choices=selection.names())
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--params", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.folder, args.k, args.params)))
        return
    print(f"N = {args.n:,}, d = {args.width}, K = {args.k:,}, {CLASSES} classes, {args.threads} threads, defaults\n")
    print("| selector | seconds | how | peak MB | of which the selection |")
    print("|---|---:|---|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pool(folder, args.n, args.width)
        for selector in args.only:
            print(f"| {' | '.join(row(selector, folder, args))} |", flush=True)


if __name__ == "__main__":
    main()
