"""Write envs/lock.txt from the installed packages, and the same pins into envs/environment.yaml."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
HEAD = "# What is tested: Linux x86-64, Python 3.11. Written by `make lock`; lower bounds are in pyproject.toml.\n"
CONDA = """\
# The same pins as lock.txt for conda users, written by `make lock`: conda env create -f envs/environment.yaml
name: vecaf-benchmark
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def conda_file(pins: list[str]) -> str:
    """Return the conda environment that installs these pins; snakemake copies it, so it can name no second file."""
    return CONDA + "".join(f"      - {pin}\n" for pin in pins)


def read_pins() -> list[str]:
    return [line for line in (HERE / "lock.txt").read_text().splitlines() if line and not line.startswith("#")]


if __name__ == "__main__":
    if "--conda-only" not in sys.argv:
        command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
        frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        (HERE / "lock.txt").write_text(HEAD + frozen)
    (HERE / "environment.yaml").write_text(conda_file(read_pins()))
