"""Ask a copy of the project what it would run: the real rules, with scripts that may be fakes."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

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


class Project:
    """A copy of the project in which the workflow can be run and asked for its plans."""

    def __init__(self, folder: Path):
        self.folder = folder

    def snakemake(self, *arguments: str, overlay: dict | None = None, check: bool = True):
        files = ["demo/study.yaml"]
        if overlay is not None:
            (self.folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
            files.append("overlay.yaml")
        command = [sys.executable, "-m", "snakemake", *arguments, "--profile", "demo", "--configfile", *files]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        done.text = done.stdout + done.stderr
        assert not check or done.returncode == 0, done.text
        return done

    def run(self, *arguments: str, **options):
        return self.snakemake(*arguments, **options)

    def plan(self, *arguments: str, **options) -> list[dict[str, str]]:
        """Return the jobs that would run: rule and wildcards of each, targets that do nothing left out."""
        text = self.snakemake("-n", *arguments, "--quiet", "progress", **options).text
        jobs = []
        for block in re.split(r"\n(?=(?:local)?rule )", text):
            if found := re.match(r"(?:local)?rule (\w+):", block):
                wildcards = re.search(r"wildcards: (.*)", block)
                pairs = (pair.split("=") for pair in wildcards[1].split(", ")) if wildcards else ()
                jobs.append({"rule": found[1], **dict(pairs)})
        return [job for job in jobs if job["rule"] not in ("all", "all_tables", "table1", "cells")]

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))


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
