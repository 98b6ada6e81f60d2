"""How long a job of each script takes before it does anything, and which libraries that time goes to.

``--help`` stops a script as soon as its imports are done. What a script imports only once it works (a selector its
torch, say) is in the records of its jobs instead: ``startup_seconds`` of every stage, whose medians stand in the last
column where a folder of results is given.

    python -m benchmarks.startup
    python -m benchmarks.startup results/demo
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 3
LARGE = ("torch", "torchvision", "timm", "transformers", "sklearn", "scipy", "pandas", "pyarrow", "matplotlib", "umap")
IMPORT = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|\s+(\S+)")


def seconds(script: str) -> float:
    """Return the median wall time of ``--help``."""
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", f"scripts.{script}", "--help"], cwd=ROOT, capture_output=True, check=True)
        taken.append(time.perf_counter() - start)
    return median(taken)


def imports(script: str) -> dict[str, float]:
    """Return the large libraries that a script imports → seconds with all that they import in turn."""
    command = [sys.executable, "-X", "importtime", "-m", f"scripts.{script}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = {name: int(microseconds) / 1e6 for microseconds, name in IMPORT.findall(done.stderr)}
    return {name: found[name] for name in LARGE if name in found}


def recorded(results: Path) -> dict[str, float]:
    """Return stage → median seconds from the start of a job to that of its work, in a folder of results."""
    found = defaultdict(list)
    for file in results.glob("cells/**/metrics.json"):
        for name, record in json.loads(file.read_text())["provenance"]["stages"].items():
            found[name.rpartition("/")[2]].append(record["startup_seconds"])
    return {name: median(values) for name, values in found.items()}


def main() -> None:
    known = recorded(Path(sys.argv[1])) if len(sys.argv) > 1 else {}
    print("| script | s to --help | libraries, s with what they import | s before its work |")
    print("|---|---:|---|---:|")
    for script in sorted(path.stem for path in (ROOT / "scripts").glob("[!_]*.py")):
        libraries = ", ".join(f"{name} {value:.2f}" for name, value in imports(script).items())
        own = f"{known[script]:.2f}" if script in known else "—"
        print(f"| {script} | {seconds(script):.2f} | {libraries or 'none'} | {own} |", flush=True)


if __name__ == "__main__":
    main()
