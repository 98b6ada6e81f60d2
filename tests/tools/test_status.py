"""What the files say of a study: states of cells, means so far, snapshot tables; with the notes of a real snakemake."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tools import configuration, status
from vecaf import artifacts, config
from vecaf.config.merging import merge
from vecaf.errors import ConfigError
from vecaf.reporting import bundle
from vecaf.reporting.metrics import cell_metrics, cost
from vecaf.study import Study

TABLE1 = {
    "blocks": [
        {"methods": ["random", "vecaf"], "schedules": ["3loops"], "datasets": {"digits": ["5pct"]}},
        {"methods": ["activeft"], "datasets": {"digits": ["5pct"]}, "seeds": [0]},
    ],
    "not_reported": [{"methods": ["activeft"], "reason": "the paper prints “-”"}],
}
CHANGES = {"shows": ["table1"], "datasets": {"digits": {"seeds": [0, 1, 2]}}, "exhibits": {"table1": TABLE1}}


def cell_of(study, method, seed):
    return next(c for c in study.shown("table1") if c.method == method and c.seed == seed)


def record(study, cell, top1, digest=None):
    """Return a complete metrics.json."""
    hashes = dict.fromkeys(("loop1", "loop2", "loop3"), "b" * 64)
    facts = dict.fromkeys(("device", "threads", "host", "versions", "git"))
    provenance = {"digest": digest or study.digest(cell), "parameters": {}, "readings": {}, "seeds": {}}
    provenance |= {"weights": {"final": "a" * 64}, "ids": hashes, "stages": {"evaluate": {}}} | facts
    found = {"top1": top1, "mean_per_class": top1, "per_class": {"zero": top1}, "n": 100}
    return cell_metrics(vars(cell), found, cost(6, [{"finetune": 1.0}]), provenance)


@pytest.fixture
def study(demo_raw):
    return Study(config.load(merge(demo_raw, CHANGES)))


@pytest.fixture
def folder(study, tmp_path):
    """Random: done, stale, failed. VeCAF: done, published, missing."""
    cells = tmp_path / "results/demo/cells"
    write = {("random", 0): (0.9, None), ("random", 1): (0.1, "0" * 16), ("vecaf", 0): (0.8, None)}
    for (method, seed), (top1, digest) in write.items():
        cell = cell_of(study, method, seed)
        artifacts.write_json(cells / str(cell) / "metrics.json", record(study, cell, top1, digest))
    failed = tmp_path / f"results/demo/logs/cells/{cell_of(study, 'random', 2)}/loop1/finetune.log"
    failed.parent.mkdir(parents=True)
    failed.write_text("a warning\nerror: the loss is NaN in batch 3; lower the learning rate\n")
    (failed.parent / "select.log").write_text("random chose 71 of 1437 ids\n")
    published = cell_of(study, "vecaf", 1)
    content = record(study, published, 0.84)
    import pandas as pd

    row = [str(published), "metrics.json", content["provenance"]["digest"], artifacts.canonical(content)]
    records = pd.DataFrame([row], columns=["cell", "file", "digest", "text"])
    artifacts.write_table(tmp_path / "results/published" / bundle.RECORDS, records)
    return tmp_path


def states(study, folder):
    told = status.Status(study, folder).cells("table1")
    return {(cell.method, cell.seed): one.state for cell, one in told.items()}


def test_each_cell_has_its_state(study, folder):
    assert states(study, folder) == {
        ("random", 0): "done",
        ("random", 1): "stale",
        ("random", 2): "failed",
        ("vecaf", 0): "done",
        ("vecaf", 1): "published",
        ("vecaf", 2): "missing",
        ("activeft", 0): "not planned",
    }


def test_the_report_shows_marks_means_and_what_failed(study, folder):
    text = "\n".join(status.report(status.Status(study, folder), ["table1"]))
    assert "2 done, 1 published, 1 stale, 1 failed, 1 missing (of 6)" in text
    lines = {line.split("  ")[0]: line.split()[-2:] for line in text.splitlines() if "loops" in line}
    assert lines["Random"] == ["#~!", "90.00"]  # nothing stale is averaged
    assert lines["VeCAF"] == ["#+.", "82.00"]
    assert "finetune.log: error: the loss is NaN in batch 3; lower the learning rate" in text


def test_snapshot_tables_hold_what_is_there(study, folder):
    written = list(status.tables(status.Status(study, folder), ["table1"], folder / "snapshot"))
    assert written == ["table1", "claims"]
    table = (folder / "snapshot/table1.md").read_text()
    random = next(line for line in table.splitlines() if line.startswith("| Random"))
    assert "90.00 ± n/a (1 of 3)" in random
    assert "82.00 ± 2.00 (2 of 3)†" in next(line for line in table.splitlines() if line.startswith("| VeCAF"))
    claims = (folder / "snapshot/claims.md").read_text()
    assert (
        next(line for line in claims.splitlines() if line.startswith("| speedup_batches")).count("not yet testable")
        == 1
    )
    assert sorted(path.name for path in (folder / "results/demo").iterdir()) == [
        "cells",
        "logs",
    ]  # nothing else is made


def test_every_table_of_the_paper_has_a_snapshot_or_is_left_out_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = ["--configfile", *(str(configuration.SNAKEFILE.parent / file) for file in ("config.yaml", "claims.yaml"))]
    assert status.main(["--tables", "all", *files]) == (
        "all: table1, table2, table3, table5, table6, table7, extensions, readings, deviations, claims"
        "; left out, not of metrics alone: table4"
    )
    said = status.main(["table1", "prompts", "--tables", "some", *files])
    assert said == "some: table1, claims; left out, not of metrics alone: prompts"
    claims = (tmp_path / "some/claims.md").read_text()
    assert claims == (tmp_path / "all/claims.md").read_text()  # whichever tables are asked for
    assert "not implemented" not in claims


def test_a_shared_step_that_failed_is_named(study, folder):
    log = folder / "results/demo/logs/pool/digits/pool.log"
    log.parent.mkdir(parents=True)
    log.write_text("Traceback (most recent call last):\n  File x\nMemoryError\n")
    text = "\n".join(status.report(status.Status(study, folder), ["table1"]))
    assert f"{log}: MemoryError" in text


def test_options_are_those_of_snakemake(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(configuration.SNAKEFILE.parent)
    read, targets = configuration.read(["table1", "--profile", "demo"])
    assert targets == ["table1"]
    assert read.config == demo.config
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(yaml.safe_dump(CHANGES))
    files = ["config/digits.yaml", "demo/study.yaml", str(overlay)]
    read, _ = configuration.read(["--configfile", *files, "--config", "gpus=1"])
    assert (read.exhibits(), read.config.gpus) == (["table1"], 1)
    with pytest.raises(ConfigError, match="this study shows no table9"):
        status.main(["table9", "--profile", "demo"])


def test_nine_hundred_cells_take_seconds(paper, tmp_path):
    """The paper's grid with everything done: what takes longest is reading the metrics, once for each cell."""
    for cell in paper.cells():
        file = tmp_path / "results/cells" / str(cell) / "metrics.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(record(paper, cell, 0.5)))
    start = time.process_time()
    told = status.Status(paper, tmp_path)
    counts = [status.counted(told.cells(name)) for name in paper.exhibits()]
    assert time.process_time() - start < 20
    assert counts[0] == "228 done (of 228)"


# --- with snakemake -----------------------------------------------------------------------------------------------

# Random fails in finetuning, VeCAF takes its time; everything else is there at once.
SLOW = """
import time
if any("/vit_digits/random/5pct" in word for word in sys.argv):
    print("error: no memory left", file=sys.stderr)
    sys.exit(1)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_running_study_is_told_from_snakemakes_own_notes(tmp_path):
    sys.path.insert(0, str(configuration.SNAKEFILE.parent / "tests/workflow"))
    from planning import FAKE, copy_project

    project = copy_project(tmp_path / "project")
    fakes = tmp_path / "fakes/scripts"
    fakes.mkdir(parents=True)
    for script in (project.folder / "scripts").glob("*.py"):
        body = FAKE + (SLOW if script.stem == "finetune" else "")
        (fakes / script.name).write_text("" if script.stem == "__init__" else body)
    overlay = merge(CHANGES, {"datasets": {"digits": {"seeds": [0]}}, "keep": {"final_weights": True}})
    (project.folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    files = ["--profile", "demo", "--configfile", "config/digits.yaml", "demo/study.yaml", "overlay.yaml"]
    running = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "table1", *files],
        cwd=project.folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(fakes.parent)},
    )

    def asked():
        command = [sys.executable, "-m", "tools.status", *files]
        return subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=True).stdout

    try:
        deadline = time.time() + 300
        while "1 running, 1 failed (of 2)" not in (text := asked()) and time.time() < deadline:
            assert running.poll() is None
            time.sleep(1)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert "1 running, 1 failed (of 2)" in text
    assert "error: no memory left" in text
    project.snakemake("--unlock", overlay=overlay)
    text = asked()
    assert "2 failed (of 2)" in text
    assert "snakemake was killed while one of its jobs ran; start it again" in text


def test_an_exhibit_behind_the_files_is_taken_for_one_and_told():
    with pytest.raises(ConfigError, match="--configfile table1: No such file or directory; names of exhibits stand"):
        configuration.read(["--profile", "demo", "--configfile", "config/digits.yaml", "table1"])
