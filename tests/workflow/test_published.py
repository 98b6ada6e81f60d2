"""A clone with the published bundle makes tables and figures of curves and runs no cell; real clones, a tiny study."""

import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from planning import Project, copy_project, rules, tiny

from vecaf import artifacts
from vecaf.reporting import costs

DIGITS = {"datasets": {"digits": ["5pct"]}}
BLOCKS = [
    {**DIGITS, "methods": ["vecaf"], "schedules": ["2loops"]},
    {**DIGITS, "methods": ["random"], "schedules": ["single"]},
]
FIGURES = ["figure1b", "figure4", "figure5_b2a", "accuracy_cost"]
OF_SELECTIONS = ["figure3", "figure6"]
TINY = {
    "shows": ["table1", "readings", *FIGURES, *OF_SELECTIONS],
    **tiny(batches=4, points=2),
    "exhibits": {
        **{name: {"blocks": BLOCKS} for name in ("table1", *FIGURES)},
        "readings": {"blocks": [{**DIGITS, "methods": ["vecaf", "vecaf_uniform"], "schedules": ["2loops"]}]},
        "figure3": {"blocks": [{**DIGITS, "methods": ["vecaf", "vecaf_snow"], "schedules": ["single"]}]},
        "figure6": {"blocks": [{**DIGITS, "methods": ["activeft", "vecaf"], "schedules": ["2loops"]}]},
    },
}
CELLS = "results/demo/cells"
VECAF, UNIFORM = (f"digits/vit_digits/{name}/5pct/2loops/seed0" for name in ("vecaf", "vecaf_uniform"))
RANDOM = "digits/vit_digits/random/5pct/single/seed0"
COLLECTING = {"metrics": 6, "ids": 1, "table": 2, "claims": 1, "report": 1}
# Models are counted again, which reads no image and needs no weights.
COLLECTING |= {"profile_flops": 3, "costs": 4, "curves": 4, "figure": 6, "measures": 4}
pytestmark = pytest.mark.slow


def git(folder, *words):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def publish(study, *cells):
    """Publish cells of a study, commit, and return the summary line."""
    command = [sys.executable, "-m", "tools.publish", "--root", "results/demo", *cells]
    done = subprocess.run(command, cwd=study.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    git(study.folder, "add", "results/published")
    git(study.folder, "commit", "--allow-empty", "-m", "results")
    return done.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study that has been run, in a repository of its own."""
    project = copy_project(tmp_path_factory.mktemp("study"))
    git(project.folder, "init", "-q")
    git(project.folder, "add", "-A")
    git(project.folder, "commit", "-m", "project")
    project.snakemake(overlay=TINY)
    return project


def clone_of(study, folder, *cells):
    """Publish cells of a study from nothing and clone its repository into a folder."""
    shutil.rmtree(study.folder / "results/published", ignore_errors=True)
    publish(study, *cells)
    git(folder, "clone", "-q", str(study.folder), "clone")
    assert not (folder / "clone/results/demo").exists()
    return Project(folder / "clone")


@pytest.fixture
def clone(study, tmp_path):
    """Return a function that publishes cells from nothing and clones the repository."""
    return partial(clone_of, study, tmp_path)


@pytest.fixture(scope="module")
def rendered(study, tmp_path_factory):
    """A clone of the full bundle that has made everything it shows; tests only look at it."""
    there = clone_of(study, tmp_path_factory.mktemp("rendered"))
    assert rules(there.plan(overlay=TINY)) == COLLECTING
    there.snakemake(overlay=TINY)
    assert there.plan(overlay=TINY) == []
    return there


def rows(project, exhibit="table1"):
    table = artifacts.read_table(project.folder / f"results/demo/metrics/{exhibit}.parquet")
    return table.set_index("method").sort_index()


def test_a_clone_of_the_full_bundle_makes_every_table_and_runs_no_cell(study, rendered):
    there = rendered
    for exhibit in ("table1", "readings"):
        ours, theirs = rows(there, exhibit), rows(study, exhibit)
        assert set(ours["origin"]) == {"published"}
        pd.testing.assert_frame_equal(ours.drop(columns="origin"), theirs.drop(columns="origin"))
    table = (there.folder / "results/demo/tables/table1.md").read_text()
    assert "†: from the published bundle, in whole or in part (2 of 2 measured cells)" in " ".join(table.split())
    page = (there.folder / "results/demo/report.html").read_text()
    assert "3 of them are from the published bundle" in " ".join(page.split())
    assert page.count("<td>measured, published</td>") == 3
    # Overlaps of ids are told from the bundle's selections.
    tables = [(project.folder / "results/demo/tables/readings.csv").read_text() for project in (there, study)]
    assert tables[0] == tables[1]
    assert (there.folder / "results/demo/claims.csv").read_text() == (
        study.folder / "results/demo/claims.csv"
    ).read_text()


def test_a_clone_of_the_full_bundle_draws_the_same_curves(study, rendered):
    there = rendered
    for name in FIGURES:
        ours, theirs = (
            artifacts.read_table(project.folder / f"results/demo/curves/{name}.parquet") for project in (there, study)
        )
        assert len(theirs) == 2 * 5  # two cells of four batches, and where they begin
        pd.testing.assert_frame_equal(ours, theirs)
        # At the end of its budget a cell has cost what table 4 says of it, with its selections, which are not free.
        for key, rows in ours.groupby(list(costs.COLUMNS[:5])):
            told = artifacts.read_table(there.folder / f"results/demo/costs/{name}.parquet")
            steps = costs.of(told, dict(zip(costs.COLUMNS[:5], key, strict=True)))
            paid = rows["macs"].iloc[-1] + rows["shared"].iloc[-1]
            assert paid == pytest.approx(costs.macs(steps, costs.ALL), rel=1e-12)
            assert (costs.macs(steps, "selection") > 0) == ("vecaf" in key)
            assert set(rows["uncounted"]) == {""}
        drawn = [(project.folder / f"results/demo/figures/{name}.csv").read_bytes() for project in (there, study)]
        assert drawn[0] == drawn[1]
        said = [(project.folder / f"results/demo/figures/{name}.md").read_text() for project in (there, study)]
        assert said[0].replace(" From the published bundle: 2 of 2 cells.", "") == said[1] != said[0]


def test_a_clone_of_the_full_bundle_draws_the_same_selections_and_selects_nothing(study, rendered):
    there = rendered
    bundle = there.folder / "results/published"
    held = {file.relative_to(bundle).as_posix() for file in bundle.glob("*/**/*.parquet")}
    assert held == {"samples/figure6.parquet", "selected/figure3/digits.parquet"}
    for name in OF_SELECTIONS:
        drawn = [(project.folder / f"results/demo/figures/{name}.csv").read_bytes() for project in (there, study)]
        assert drawn[0] == drawn[1]
        said = [(project.folder / f"results/demo/figures/{name}.md").read_text() for project in (there, study)]
        assert said[0].replace(" From the published bundle.", "") == said[1] != said[0]
    # The same pixels: digits come with a library, so their images are published, too.
    drawn = [np.asarray(Image.open(p.folder / "results/demo/figures/figure3.png")) for p in (there, study)]
    assert np.array_equal(*drawn)
    # Under another configuration they are made again.
    changed = {**TINY, "methods": {"vecaf": {"ods": {"iterations": 6, "ensemble": 3}}}}
    planned = rules(there.plan(*OF_SELECTIONS, overlay=changed))
    assert planned["samples"] == planned["selected"] == 1


def test_a_bundle_of_a_few_cells_leaves_the_others_to_be_run(clone):
    there = clone(f"*/{VECAF.split('/')[2]}/*")
    jobs = there.plan(overlay=TINY)
    assert sorted(job["method"] for job in jobs if job["rule"] == "evaluate") == ["random", "vecaf_uniform"]
    assert rules(there.plan("table1", overlay=TINY))["evaluate"] == 1
    there.snakemake("figure4", overlay=TINY)
    caption = (there.folder / "results/demo/figures/figure4.md").read_text()
    assert "From the published bundle: 1 of 2 cells." in caption
    assert set(pd.read_csv(there.folder / "results/demo/figures/figure4.csv")["method"]) == {"vecaf", "random"}


def test_finished_cells_alone_are_shown_and_none_is_run(study, clone):
    overlay = {**TINY, "cells": "finished"}
    there = clone("*/random/*")
    assert rules(there.plan(overlay=overlay)).keys() <= COLLECTING.keys()
    done = there.snakemake(overlay=overlay)
    assert "Without a finished cell, left out: the exhibits readings, figure3, figure6" in done.text
    assert rows(there)["status"].to_dict() == {"random": "measured", "vecaf": "not run"}
    assert "1 measured, 1 not run" in " ".join((there.folder / "results/demo/tables/table1.md").read_text().split())
    drawn = pd.read_csv(there.folder / "results/demo/figures/figure4.csv")
    assert set(drawn["method"]) == {"random"}
    page = (there.folder / "results/demo/report.html").read_text()
    assert page.count("<td>measured, published</td>") == 1
    assert "scripts/finetune.py" in page  # how the number came about is told all the same
    assert there.plan(overlay=overlay) == []
    refused = there.snakemake("figure6", overlay=overlay, check=False)
    assert "figure6 has nothing to show: none of its cells has finished" in refused.text
    refused = there.snakemake(f"{CELLS}/{VECAF}/metrics.json", overlay=overlay, check=False)
    assert refused.returncode == 1
    assert "MissingRuleException" in refused.text


def test_finished_cells_of_a_study_that_was_stopped_are_shown(study, tmp_path):
    stopped = Project(shutil.copytree(study.folder, tmp_path / "stopped", symlinks=True))
    shutil.rmtree(stopped.folder / CELLS / VECAF)
    for made in ("metrics", "tables", "figures", "curves", "costs", "measures", "published"):
        shutil.rmtree(stopped.folder / "results/demo" / made, ignore_errors=True)
    overlay = {**TINY, "cells": "finished"}
    assert rules(stopped.plan(overlay=overlay)).keys() <= COLLECTING.keys()
    stopped.snakemake("table1", "figure4", "figure6", overlay=overlay)
    assert rows(stopped)["status"].to_dict() == {"random": "measured", "vecaf": "not run"}


def test_a_cell_that_is_run_again_comes_before_its_published_result(study, clone):
    there, few = clone(), {**TINY, "shows": ["table1", "readings", "figure4"]}
    there.snakemake(overlay=few)
    there.snakemake(f"{CELLS}/{RANDOM}/metrics.json", overlay=few)
    # readings, which does not show it, stays as it is
    again = {"metrics": 2, "costs": 1, "curves": 1, "measures": 1, "table": 1, "figure": 1, "claims": 1, "report": 1}
    assert rules(there.plan(overlay=few)) == again
    there.snakemake(overlay=few)
    drawn = [(project.folder / "results/demo/figures/figure4.csv").read_bytes() for project in (there, study)]
    assert drawn[0] == drawn[1]
    found = rows(there)
    assert found["origin"].to_dict() == {"random": "run", "vecaf": "published"}
    assert found["top1"].to_dict() == rows(study)["top1"].to_dict()  # on one machine it is the same to the last bit
    lines = (there.folder / "results/demo/tables/table1.md").read_text().splitlines()
    assert "†" in next(line for line in lines if line.startswith("| VeCAF"))
    assert "†" not in next(line for line in lines if line.startswith("| Random"))
    assert found["published_top1"].isna().to_dict() == {"random": False, "vecaf": True}
    said = "Run here and published, too: 1 of these cells; top-1 here minus published 0.00 to 0.00 points, mean 0.00."
    assert said in "\n".join(lines)
    page = (there.folder / "results/demo/report.html").read_text()
    assert f"<td>measured; published: {100 * found['top1']['random']:.2f}</td>" in page


def test_published_cells_of_another_configuration_are_planned_and_said(clone):
    there = clone()
    changed = {**TINY, "methods": {"vecaf": {"ods": {"iterations": 6, "ensemble": 3}}}}
    done = there.snakemake("-n", "table1", overlay=changed)
    assert f"table1: 1 published cells were run under another configuration and are planned again: {VECAF}" in done.text
    jobs = there.plan("table1", overlay=changed)
    assert [job["method"] for job in jobs if job["rule"] == "evaluate"] == ["vecaf"]
    shown = there.snakemake("-n", "table1", overlay={**changed, "cells": "finished"})
    assert f"were run under another configuration and stand as stale: {VECAF}" in shown.text


def test_publishing_again_replaces_a_cell_and_keeps_the_others(study, clone):
    there = clone()
    bundle = there.folder / "results/published"
    before = {file.name: artifacts.file_hash(file) for file in bundle.glob("*.parquet")}
    assert set(before) == {f"{name}.parquet" for name in ("records", "ids", "curves", "batches")}
    command = [sys.executable, "-m", "tools.publish", "--root", str(study.folder / "results/demo"), "*/random/*"]
    done = subprocess.run(command, cwd=there.folder, capture_output=True, text=True, check=True)
    assert "results/published: 1 cells published, 3 in all" in done.stdout
    assert {file.name: artifacts.file_hash(file) for file in bundle.glob("*.parquet")} == before
    assert (bundle / "samples/figure6.parquet").exists()
    for published, file in (("curves.parquet", "curve.parquet"), ("batches.parquet", "batches.parquet")):
        logs = artifacts.read_table(bundle / published)
        assert set(logs["cell"]) == {VECAF, RANDOM, UNIFORM}
        mine = logs[logs["cell"] == VECAF].drop(columns="cell").reset_index(drop=True)
        own = artifacts.read_table(study.folder / CELLS / VECAF / file)
        pd.testing.assert_frame_equal(mine, own[list(mine.columns)], check_dtype=False)
    nothing = subprocess.run(
        [*command[:-1], "*/vecav/*"], cwd=there.folder, capture_output=True, text=True, check=False
    )
    assert nothing.returncode == 1
    assert "no finished cell below" in nothing.stderr
