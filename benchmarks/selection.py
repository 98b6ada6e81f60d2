"""The engine of ActiveFT and ODS beside the form that the codes of their authors have, in one run.

The released form makes exp(z·cᵀ/τ) for all N×K pairs in every iteration, differentiates through it, and sorts the whole
pool for every centroid at the end. Here it is re-stated from its formulas, without what only slows it down (anomaly
detection, a Python loop over tensors on a device). Both start from the same centroids. The engine runs all iterations;
the released form runs a few at each of three stages, from the centroids that the engine reached there, and its time is
the stages' mean per iteration times the iterations (``--whole``: it runs all, and the ids of two whole runs are
compared). Each runs in a process of its own; memory is the growth of its peak over what it held when the features were
loaded. Where other jobs share the machine, the line of processor seconds tells more than those of the clock.

The features are synthetic (``clustered``) unless a file is named. Their statistics are those of ViT features of
natural images: a mean pair cosine of a third, standard deviation 0.1, the nearest neighbour at 0.7.

    python -m benchmarks.selection                                       # N = 50,000, K = 2,500, d = 768, two threads
    python -m benchmarks.selection --n 5000 --k 250 --whole              # both to the end
    python -m benchmarks.selection --features embeddings.npy --k 250     # your own, (N, d)
    python -m benchmarks.selection --scaling                             # docs/scaling.md: slopes
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

from benchmarks.selectors import peak, resident

TEMPERATURE, LEARNING_RATE = 0.07, 1e-3
STAGES = ("early", "middle", "late")
REPEATS = 3  # iterations of the released form at each stage, after one to warm up
MEMBERS = 5


def clustered(size: int, width: int, seed: int = 0):
    """Yield features in blocks, (n, d) float32: ten classes of twenty clusters, a spectrum falling as j^-0.8."""
    generator = np.random.default_rng(seed)
    spread = np.arange(1, width + 1) ** -0.4
    spread /= np.linalg.norm(spread)
    mean, classes, clusters = (generator.normal(size=(rows, width)) * spread for rows in (1, 10, 200))
    mean /= np.linalg.norm(mean)
    for start in range(0, size, 8192):
        rows = min(8192, size - start)
        cluster = generator.integers(200, size=rows)
        own = generator.normal(size=(rows, width)) * spread
        shares = (0.33, mean), (0.17, classes[cluster // 20]), (0.15, clusters[cluster]), (0.35, own)
        yield sum(share**0.5 * part for share, part in shares).astype(np.float32)


def released_iteration(z, theta, adam) -> float:
    """One step of the released form (Xie et al., CVPR 2023, code): J = −mean(log p − log(p + S)); returns J."""
    import torch

    c = torch.nn.functional.normalize(theta, dim=1)
    similarity = torch.exp(z @ c.T / TEMPERATURE)
    p, own = similarity.max(dim=1)
    s = torch.exp(c.detach() @ c.T / TEMPERATURE).sum(dim=0)
    value = -(torch.log(p) - torch.log(p + s[own])).mean()
    adam.zero_grad()
    value.backward()
    adam.step()
    return value.item()


def released_choice(z, c) -> list[int]:
    """The end of the released form: sort the pool for every centroid and take the first sample that is free."""
    import torch

    taken, chosen = set(), []
    for start in range(0, len(c), 100):
        for order in torch.argsort(c[start : start + 100] @ z.T, dim=1, descending=True, stable=True).numpy():
            chosen.append(next(int(row) for row in order if int(row) not in taken))
            taken.add(chosen[-1])
    return chosen


def measure_engine(z, initial, args, folder: Path) -> dict:
    """Run all iterations of the engine; keep the centroids that it had at each stage for the released form."""
    import torch

    from vecaf.selection import engine, objectives

    objective, stamps = objectives.contrastive(TEMPERATURE, 1.0), []
    at = stages(args.iterations)

    def timed(c, *rest):
        if len(stamps) in at.values():
            torch.save(c.clone(), folder / f"centroids_{len(stamps)}.pt")
        stamps.append(time.perf_counter())
        return objective(c, *rest)

    start, processor = time.perf_counter(), time.process_time()
    found = engine.optimise(
        z, torch.ones(len(z)), initial, timed, iterations=args.iterations, learning_rate=LEARNING_RATE
    )
    optimised, processor = time.perf_counter(), time.process_time() - processor
    chosen = engine.nearest_unique(z, found.centroids)
    end = time.perf_counter()
    torch.save(found.centroids, folder / "centroids_end.pt")
    # The last call evaluates the end. An iteration's step follows its objective, so that it ends where the next begins.
    seconds = np.diff([start, *stamps[:-1]])
    return {
        "seconds": {stage: float(np.median(seconds[around(i, args.iterations)])) for stage, i in at.items()},
        "total": optimised - start,
        "processor": processor,
        "choice": end - optimised,
        "values": {stage: found.values[i] for stage, i in at.items()},
        "multiplied": found.multiplied / len(z) / len(initial) / args.iterations,
        "ranked": found.ranked / len(z) / args.iterations,
        "chosen": chosen.tolist(),
    }


def measure_released(z, initial, args, folder: Path) -> dict:
    """Run the released form to the end, or a few of its iterations from the centroids that the engine had."""
    import torch

    def begin(c):
        theta = c.clone().requires_grad_()
        return theta, torch.optim.Adam([theta], lr=LEARNING_RATE)

    found, processor = {"seconds": {}, "values": {}}, []
    for stage, i in stages(args.iterations).items():
        state, seconds = begin(torch.load(folder / f"centroids_{i}.pt", weights_only=True)), []
        for _ in range(1 + REPEATS):
            start, before = time.perf_counter(), time.process_time()
            value = released_iteration(z, *state)
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - before)
            found["values"].setdefault(stage, value)
        found["seconds"][stage] = float(np.median(seconds[1:]))
    centroids = torch.load(folder / "centroids_end.pt", weights_only=True)
    found["total"] = args.iterations * float(np.mean(list(found["seconds"].values())))
    found["processor"] = args.iterations * float(np.median(processor))
    if args.whole:
        state, start = begin(initial), time.perf_counter()
        for _ in range(args.iterations):
            released_iteration(z, *state)
        found["total"] = time.perf_counter() - start
        centroids = torch.nn.functional.normalize(state[0].detach(), dim=1)
    start = time.perf_counter()
    found["chosen"] = released_choice(z, centroids)
    return found | {"choice": time.perf_counter() - start}


def measure_ods(z, initial, args, folder: Path, ensemble: int) -> dict:
    """Run ODS as a selector, with its checks and its log, for a fixed number of iterations."""
    from vecaf import selection

    size = len(z)
    losses = np.random.default_rng(2).lognormal(size=size).astype(np.float32)
    inputs = selection.Inputs(np.arange(size), np.zeros(size, np.int64), z.numpy(), losses, loop=2, device="cpu")
    params = {"ensemble": ensemble, "iterations": args.members_iterations, "until_convergence": False}
    start, processor = time.perf_counter(), time.process_time()
    selection.choose(selection.build("ods", params), inputs, len(initial), {"random_set": 1, "centroids": 2})
    return {"total": time.perf_counter() - start, "processor": time.process_time() - processor}


MEASURED = {
    "engine": measure_engine,
    "released": measure_released,
    "member": lambda *given: measure_ods(*given, ensemble=1),
    "ensemble": lambda *given: measure_ods(*given, ensemble=MEMBERS),
}


def stages(iterations: int) -> dict[str, int]:
    """Return the iteration that stands for each stage: after a tenth of a third, in the middle, near the end."""
    return dict(zip(STAGES, (iterations // 30, iterations // 2, iterations - 1 - iterations // 30), strict=True))


def around(iteration: int, iterations: int) -> slice:
    """Return the iterations whose median is the time of a stage."""
    width = max(1, iterations // 30)
    return slice(max(1, iteration - width), iteration + width)


def in_a_process(name: str, folder: Path, args) -> dict:
    """Return what one form measured in a process of its own, with its growth in MB."""
    given = ["--measure", name, "--folder", str(folder), "--k", str(args.k), "--iterations", str(args.iterations)]
    given += ["--members-iterations", str(args.members_iterations)] + ["--whole"] * args.whole
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "OPENBLAS_NUM_THREADS": str(args.threads)}
    command = [sys.executable, "-m", "benchmarks.selection", *given]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def warm_up() -> None:
    """Load what either form imports at its first step, so that it does not count as its memory."""
    import torch

    from vecaf.selection import engine, objectives

    z = torch.nn.functional.normalize(torch.eye(64, 8) + 0.1, dim=1)
    objective = objectives.contrastive(TEMPERATURE, 1.0)
    found = engine.optimise(z, torch.ones(64), z[:9], objective, iterations=2, learning_rate=LEARNING_RATE)
    engine.nearest_unique(z, found.centroids)
    theta = z[:9].clone().requires_grad_()
    released_iteration(z, theta, torch.optim.Adam([theta], lr=LEARNING_RATE))


def here(args) -> dict:
    """Measure one form in this process."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    z = torch.from_numpy(np.load(args.folder / "z.npy"))
    initial = z[torch.from_numpy(np.load(args.folder / "initial.npy"))]
    warm_up()
    before = resident()
    return MEASURED[args.measure](z, initial, args, args.folder) | {"growth": peak() - before}


# What docs/scaling.md measures: one of N, K, d over a decade, the others fixed.
DECADES = {
    "N": ((5_000, 500, 256), (50_000, 500, 256)),
    "K": ((25_000, 250, 256), (25_000, 2_500, 256)),
    "d": ((10_000, 1_000, 77), (10_000, 1_000, 768)),
}


def on_the_sphere(size: int, width: int):
    import torch

    return torch.nn.functional.normalize(torch.from_numpy(np.concatenate(list(clustered(size, width)))), dim=1)


def scaling(args) -> None:
    """Print how an iteration grows with N, K and d."""
    import torch

    from vecaf.selection import engine, objectives

    torch.set_num_threads(args.threads)
    objective = objectives.contrastive(TEMPERATURE, 1.0)
    print(f"Processor seconds of an iteration, the mean of the first {args.iterations}, the first assignment apart\n")
    print("| | from | to | s | s | slope |")
    print("|---|---|---|---:|---:|---:|")
    for axis, sizes in DECADES.items():
        seconds = []
        for size, k, width in sizes:
            z, stamps = on_the_sphere(size, width), []

            def stamped(*given, stamps=stamps):
                stamps.append(time.process_time())
                return objective(*given)

            engine.optimise(z, torch.ones(size), z[:k], stamped, iterations=args.iterations + 1, learning_rate=1e-3)
            seconds.append((stamps[-2] - stamps[0]) / args.iterations)
        shape = ["N = {:,}, K = {:,}, d = {:,}".format(*size) for size in sizes]
        slope = np.log10(seconds[1] / seconds[0])
        print(f"| {axis} | {shape[0]} | {shape[1]} | {seconds[0]:.4f} | {seconds[1]:.4f} | {slope:.2f} |", flush=True)


def prepare(args, folder: Path) -> tuple[int, int]:
    """Write the features on the sphere and the rows that the centroids start from; returns N and d."""
    if args.features:
        given = np.load(args.features, mmap_mode="r")
        size, width = given.shape
        blocks = (given[start : start + 8192].astype(np.float32) for start in range(0, size, 8192))
    else:
        size, width = args.n, args.width
        blocks = clustered(size, width)
    z = np.lib.format.open_memmap(folder / "z.npy", mode="w+", shape=(size, width), dtype=np.float32)
    start = 0
    for block in blocks:
        z[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
        start += len(block)
    z.flush()
    np.save(folder / "initial.npy", np.random.default_rng(1).permutation(size)[: args.k])
    return size, width


def report(engine: dict, released: dict, member: dict, ensemble: dict, args) -> None:
    """Print the table; the last line is the ratio over the whole run."""

    def line(what, theirs, own, digits, *rest):
        print(f"| {what} | {theirs:,.{digits}f} | {own:,.{digits}f} | {theirs / own:.1f} | {' '.join(rest)} |")

    print("| | released | engine | ratio | objective, relative difference |")
    print("|---|---:|---:|---:|---:|")
    for stage, i in stages(args.iterations).items():
        off = abs(released["values"][stage] / engine["values"][stage] - 1)
        times = released["seconds"][stage], engine["seconds"][stage]
        line(f"s an iteration, {stage} ({i})", *times, 3, f"{off:.1e}")
    how = "measured" if args.whole else f"released: projected from {REPEATS} iterations at each stage"
    line(f"s, {args.iterations} iterations ({how})", released["total"], engine["total"], 1)
    line("processor s, the same", released["processor"], engine["processor"], 1)
    line("s, unique nearest samples", released["choice"], engine["choice"], 1)
    line("peak MB beyond the features", released["growth"], engine["growth"], 0)
    multiplied, ranked = f"{100 * engine['multiplied']:.1f} %", f"{engine['ranked']:.1f}"
    print(
        f"\nan iteration multiplies {multiplied} of all pairs, and looks at {ranked} candidates of a sample one by one"
    )
    same = len(set(released["chosen"]) & set(engine["chosen"]))
    from_what = "two whole runs" if args.whole else "the same centroids at the end"
    print(f"\nids in common, from {from_what}: {same:,} of {len(engine['chosen']):,}")
    runs = [f"{run['processor']:.1f} processor s and {run['growth']:,.0f} MB" for run in (ensemble, member)]
    ratios = [f"{ensemble[key] / member[key]:.2f}" for key in ("processor", "growth")]
    print(f"ODS, {args.members_iterations} iterations of each member, with its log: {MEMBERS} members {runs[0]},")
    print(f"one {runs[1]}: {ratios[0]} times the seconds, {ratios[1]} times the memory")
    whole = [run["total"] + run["choice"] for run in (released, engine)]
    print(f"{whole[0] / whole[1]:.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50_000, help="size of the pool")
    parser.add_argument("--width", type=int, default=768, help="width of the embeddings")
    parser.add_argument("--features", type=Path, help="embeddings (N, d) in a .npy file, in place of synthetic ones")
    parser.add_argument("--k", type=int, default=2_500, help="size of the selection")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--members-iterations", type=int, default=60, help="of ODS, for the ensemble against a member")
    parser.add_argument("--whole", action="store_true", help="run the released form to the end as well")
    parser.add_argument("--scaling", action="store_true", help="print the tables of docs/scaling.md instead")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(here(args)))
        return
    if args.scaling:
        scaling(args)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size, width = prepare(args, folder)
        print(f"N = {size:,}, d = {width}, K = {args.k:,}, {args.iterations} iterations, {args.threads} threads\n")
        report(*(in_a_process(form, folder, args) for form in ("engine", "released", "member", "ensemble")), args)


if __name__ == "__main__":
    main()
