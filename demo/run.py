"""Run the demo as its user would, then say where things are and how much of the time was work."""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "demo"


def main() -> int:
    command = [sys.executable, "-m", "snakemake", "--profile", "demo"]
    planned = subprocess.run([*command, "-n", "--quiet", "all"], cwd=ROOT, capture_output=True, text=True)
    if planned.returncode == 0 and "Nothing to be done" in planned.stdout + planned.stderr:
        print("Nothing to do: the demo is complete and up to date.")
        where()
        return 0
    print("Running the study in miniature on the embedded digits (about 4 minutes on two cores).", flush=True)
    start = time.time()
    code = subprocess.run(command, cwd=ROOT).returncode
    if code:
        print("\nThe demo did not finish; the log above says which job failed. `make demo` goes on from there.")
        return code
    where()
    share(start, time.time() - start)
    return 0


def where() -> None:
    cells = sorted(RESULTS.glob("cells/*/*/*/*/*/*/metrics.json"))
    print(f"""
tables   {RESULTS.relative_to(ROOT)}/tables/table1.md  (.csv, .tex beside it)
metrics  {RESULTS.relative_to(ROOT)}/metrics/table1.parquet; {len(cells)} cells, for example
         {cells[0].relative_to(ROOT) if cells else "none yet"}
logs     {RESULTS.relative_to(ROOT)}/logs/
one cell again:  .venv/bin/snakemake -f {cells[0].relative_to(ROOT) if cells else "FILE"} --profile demo
""")


def share(start: float, wall: float) -> None:
    """Print how much of the wall time of both cores was spent in steps, and how much of that was work."""
    seconds = starting = 0.0
    for path in RESULTS.rglob("*.json"):
        if path.stat().st_mtime < start:
            continue
        for stage in stages(json.loads(path.read_text())):
            seconds += stage.get("seconds") or 0.0
            starting += stage.get("start_seconds") or 0.0
    print(
        f"{wall:.0f} s on two cores: steps worked {seconds:.0f} s and took {starting:.0f} s to start "
        f"({100 * seconds / (2 * wall):.0f} % and {100 * starting / (2 * wall):.0f} % of the cores' time)."
    )


def stages(value):
    """Yield the step's own record of a JSON file; a cell's metrics.json repeats others' and is passed over."""
    if isinstance(value, dict) and "provenance" not in value:
        stage = value.get("stage")
        if isinstance(stage, dict):
            yield stage


if __name__ == "__main__":
    sys.exit(main())
