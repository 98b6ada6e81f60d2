"""Kill a step at random moments, start it again each time, and compare what it ends with to an undisturbed run.

    python -m benchmarks.kill_test [--kills 20] [--seed 0] [STEP …]

Steps: finetune, score, select (TA-VAAL's training), caption; all on scikit-learn's digits, on one CPU thread. The
commands are those of the rules with a checkpoint at every chance, killed with SIGKILL after a random time and started
again, until the asked number of kills is reached; then it may end. Prints a line per step, and exits with 1 where a
byte of the outputs differs. Timings in records are no results and are left out of the comparison.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vecaf import artifacts

ROOT = Path(__file__).resolve().parent.parent
CELL = "results/demo/cells/digits/vit_digits"
FILES = {  # step → the file asked for
    "finetune": f"{CELL}/vecaf/5pct/3loops/seed0/weights.safetensors",
    "score": f"{CELL}/vecaf/5pct/3loops/seed0/loop2/losses.npy",
    "select": f"{CELL}/ta_vaal/5pct/3loops/seed0/loop2/selection.parquet",
    "caption": "results/demo/captions/digits/attributes.parquet",
}
# Small enough that the demo's digits keep a step busy for some seconds.
OVERLAY = {
    "keep": {"intermediates": True},
    "datasets": {"digits": {"score_batch": 8, "batches": 360}},
    "methods": {"ta_vaal": {"ta_vaal": {"width": 8, "max_iterations": 150}}},
}


def prepare(folder: Path, steps: list[str]) -> dict[str, str]:
    """Run what comes before the steps and the steps once, in a copy; return the command of each."""
    import yaml

    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "kills.yaml").write_text(yaml.safe_dump(OVERLAY))
    files = "config/digits.yaml demo/study.yaml kills.yaml"
    asked = [FILES[step] for step in steps]
    line = [sys.executable, "-m", "snakemake", *asked, "--profile", "demo", "--configfile", *files.split()]
    done = subprocess.run([*line, "--printshellcmds"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    commands = {}
    for text in (done.stdout + done.stderr).splitlines():
        for step in steps:
            if f"-m scripts.{step} " in text and f" {FILES[step]} " in f"{text} ":
                commands[step] = text[text.index("python -m") :].partition(" > ")[0]
    return commands


def outputs(words: list[str], folder: Path) -> list[Path]:
    """Return the files that a command writes."""
    flags = (
        "--out",
        "--record",
        "--optimizer-out",
        "--batches-out",
        "--curve-out",
        "--embeddings",
        "--losses",
        "--head",
    )
    reading = () if "scripts.score" in words else ("--embeddings", "--losses", "--head")
    return [folder / after for word, after in itertools.pairwise(words) if word in flags and word not in reading]


def digest(file: Path) -> str:
    """Return a hash of what a file says, without seconds and other facts of the run itself."""
    if file.suffix == ".json":
        return artifacts.digest(_timeless(json.loads(file.read_text())))
    if file.suffix == ".parquet":
        table = artifacts.read_table(file)
        return artifacts.digest(table[[name for name in table if "seconds" not in name]].to_dict("list"))
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _timeless(value):
    if isinstance(value, dict):
        kept = {name: part for name, part in value.items() if "seconds" not in name and name not in ("stage", "stages")}
        return {name: _timeless(part) for name, part in kept.items()}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def torment(command: str, folder: Path, kills: int, draw: random.Random) -> tuple[float, int, int, bool]:
    """Return undisturbed seconds, kills, starts that went on from a state, and whether every output is the same."""
    words = shlex.split(command)
    words[0] = sys.executable
    made = outputs(words, folder)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    expected = [digest(file) for file in made]
    if "--checkpoint-seconds" in words:
        words[words.index("--checkpoint-seconds") + 1] = "0"

    def start() -> subprocess.Popen:
        return subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)

    with tempfile.TemporaryFile("w+") as log:
        for file in made:
            file.unlink()
        began = time.perf_counter()
        if start().wait():
            log.seek(0)
            sys.exit(log.read())
        whole = time.perf_counter() - began
        same = [digest(file) for file in made] == expected
        done = 0
        while done < kills:
            for file in made:
                file.unlink(missing_ok=True)
            running = start()
            try:
                # A run that starts late in its work is short: most kills fall into the time that is left.
                running.wait(timeout=draw.uniform(0.3, 1.0) * whole)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
                done += 1
                continue
            same &= running.returncode == 0 and [digest(file) for file in made] == expected
        for file in made:
            file.unlink(missing_ok=True)
        same &= start().wait() == 0 and [digest(file) for file in made] == expected
        log.seek(0)
        return whole, done, log.read().count("going on after"), same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", default=[], metavar="STEP", help=", ".join(FILES))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := [step for step in args.steps if step not in FILES]:
        parser.error(f"no step {', '.join(unknown)}; choose from {', '.join(FILES)}")
    steps = args.steps or list(FILES)
    draw = random.Random(args.seed)
    print(f"{'step':10} {'undisturbed':>12} {'kills':>6} {'went on':>8}  same to the last bit", flush=True)
    good = True
    with tempfile.TemporaryDirectory() as name:
        commands = prepare(Path(name), steps)
        for step in steps:
            seconds, kills, resumed, same = torment(commands[step], Path(name), args.kills, draw)
            print(f"{step:10} {seconds:10.1f} s {kills:6} {resumed:8}  {'yes' if same else 'NO'}", flush=True)
            good &= same
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
