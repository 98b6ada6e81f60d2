"""Ask a copy of the project what it would run: the real rules, with scripts that may be fakes."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import warm
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent

# Whatever a command line names that does not exist yet is an output.
FAKE = """
import sys
from pathlib import Path

for word in sys.argv[1:]:
    path = Path(word)
    if "/" in word and "{" not in word and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("fake")
"""


# Targets that ask for files and do nothing.
IDLE = {
    *("all", "all_tables", "cells", *(f"table{number}" for number in range(1, 8))),
    *("extensions", "readings", "deviations", "specification_curve"),
}


SHOWN = ["table1", "extensions"]


def tiny(batches: int, points: int) -> dict:
    """Return an overlay that really trains a cell in seconds: one seed, a ViT of one layer, few batches and points."""
    digits = {
        "batches": batches,
        "seeds": [0],
        "training": {"overrides": {"batch_size": 16}},
        "curve": {"points": points, "test_images": 40, "probe_images": 20},
    }
    vit = {
        "args": {"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2},
        "width": 32,
        "pretraining": {"epochs": 1},
    }
    ods = {"iterations": 5, "ensemble": 3}
    return {
        "datasets": {"digits": digits},
        "backbones": {"vit_digits": vit},
        "methods": {"vecaf": {"ods": ods}},
    }


class Project:
    """A copy of the project in which the workflow can be run and asked for its plans."""

    def __init__(self, folder: Path):
        self.folder = folder

    def snakemake(self, *arguments: str, overlay: dict | None = None, check: bool = True, fakes: Path | None = None):
        """Run snakemake with the demo's profile and an overlay; fakes: a folder whose scripts stand in for the real.

        Of the demo's exhibits only ``SHOWN`` are there, unless the overlay says what it ``shows``.
        """
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump({"shows": SHOWN} | (overlay or {})))
        files = ["config/digits.yaml", "demo/study.yaml", "overlay.yaml"]
        # With a safe path the folder that a command runs in is not searched, so the fakes are found.
        stand_ins = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(fakes)} if fakes else {}
        done = warm.snakemake(
            *(*arguments, "--profile", "demo", "--configfile", *files), folder=self.folder, environment=stand_ins
        )
        assert not check or done.returncode == 0, done.text
        return done

    def plan(self, *arguments: str, **options) -> list[dict[str, str]]:
        """Return the jobs that would run: rule and wildcards of each, targets that do nothing left out."""
        text = self.snakemake("-n", *arguments, "--quiet", "progress", **options).text
        return [job for job in told(text) if job["rule"] not in IDLE]


def told(text: str) -> list[dict[str, str]]:
    """Return rule and wildcards of every job that a log names, in the log's order."""
    jobs = []
    for block in re.split(r"\n(?=(?:local)?rule )", text):
        if found := re.match(r"(?:local)?rule (\w+):", block):
            wildcards = re.search(r"wildcards: (.*)", block)
            pairs = (pair.split("=") for pair in wildcards[1].split(", ")) if wildcards else ()
            jobs.append({"rule": found[1], **dict(pairs)})
    return jobs


def rules(jobs) -> Counter:
    return Counter(job["rule"] for job in jobs)


def copy_project(folder: Path) -> Project:
    """Copy what git would clone, and what is new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return Project(folder)
