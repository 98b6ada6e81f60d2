"""Run the demo as its user would, then say where things are and how much of the time was work."""

import json
import re
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
    print("Running the study in miniature on the embedded digits (about ten minutes on two cores).", flush=True)
    start = time.time()
    code = run(command)
    if code:
        print("\nThe demo did not finish; the log above says which job failed. `make demo` goes on from there.")
        return code
    where()
    share(start, time.time() - start)
    return 0


def run(command: list[str]) -> int:
    """Run the workflow with its whole output in a file; show the steps done, and on failure what failed and its log."""
    log = RESULTS / "snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    failed, shown = False, -1
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in process.stdout:
            file.write(line)
            failed = failed or line.startswith(("Error in rule", "RuleException", "WorkflowError"))
            done = re.match(r"(\d+) of (\d+) steps", line)
            if failed:
                print(line, end="")
            elif done and sys.stdout.isatty():
                print(f"\r{done[1]} of {done[2]} steps", end="\n" if done[1] == done[2] else "", flush=True)
            elif done and (tenth := 10 * int(done[1]) // int(done[2])) > shown:
                shown = tenth
                print(f"{done[1]} of {done[2]} steps", flush=True)
    return process.wait()


def where() -> None:
    tables, figures = (sorted(path.name for path in RESULTS.glob(place)) for place in ("tables/*.md", "figures/*.png"))
    cells = sorted(RESULTS.glob("cells/*/*/*/*/*/*/metrics.json"))
    print(f"""
report   {RESULTS.relative_to(ROOT)}/report.html: all of this on one page, for a browser
tables   {RESULTS.relative_to(ROOT)}/tables/: {", ".join(tables)}  (.csv, .tex beside them)
figures  {RESULTS.relative_to(ROOT)}/figures/: {", ".join(figures)}  (.pdf, .csv beside them)
metrics  {RESULTS.relative_to(ROOT)}/metrics/table1.parquet; {len(cells)} cells, for example
         {cells[0].relative_to(ROOT) if cells else "none yet"}
logs     {RESULTS.relative_to(ROOT)}/logs/, and snakemake's own in {RESULTS.relative_to(ROOT)}/snakemake.log
one cell again:  .venv/bin/snakemake -f {cells[0].relative_to(ROOT) if cells else "FILE"} --profile demo
""")


def share(start: float, wall: float) -> None:
    """Print how much of two cores' time the steps of cells worked, and how much they took to start."""
    stages = {}
    for path in RESULTS.glob("cells/*/*/*/*/*/*/metrics.json"):
        if path.stat().st_mtime >= start:
            for name, stage in json.loads(path.read_text())["provenance"]["stages"].items():
                # Cells share stages, such as a selection of loop 1: each counts once.
                stages[name.rpartition("/")[2], stage["started"], stage["seconds"]] = stage
    both = 2 * wall
    worked = sum(stage["seconds"] for stage in stages.values()) / both
    starting = sum(stage["startup_seconds"] or 0.0 for stage in stages.values()) / both
    print(
        f"{wall:.0f} s on two cores: {len(stages)} steps of cells worked {worked:.0%} of their time and took "
        f"{starting:.0%} to start Python and torch; the rest went to steps that cells share, the workflow engine and "
        "waiting."
    )


if __name__ == "__main__":
    sys.exit(main())
