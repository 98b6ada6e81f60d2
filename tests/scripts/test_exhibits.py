"""Tables and figures as commands: readings from files to files, the same bytes at any time, nothing on failure."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts import figure, table
from vecaf import artifacts, config, readings
from vecaf.config.merging import merge
from vecaf.errors import ConfigError
from vecaf.reporting.metrics import SELECTION, VALUES
from vecaf.study import Study

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = {"datasets": {"cifar10": ["2pct"]}, "methods": ["vecaf", "activeft", "vecaf_lambda_1", "vecaf_no_cea"]}
CHOSEN = {"vecaf": [1, 2], "activeft": [5, 6], "vecaf_lambda_1": [2, 3, 4], "vecaf_no_cea": [1, 2]}


@pytest.fixture(scope="module")
def study(paper_raw):
    shown = {name: {"blocks": [BLOCK]} for name in ("readings", "deviations", "specification_curve")}
    return Study(config.load(merge(paper_raw, {"exhibits": shown})))


@pytest.fixture
def files(study, tmp_path):
    """Write the rows and the ids of four methods with three seeds; return their folder."""
    rows = []
    for cell in study.cells("readings"):
        value = 0.8 + 0.01 * cell.seed - 0.02 * list(CHOSEN).index(cell.method)
        found = dict.fromkeys((*VALUES, *SELECTION)) | {"top1": value, "mean_per_class": value, "loss_z": 2.0}
        # No selection is that of its seed alone, so two seeds share all.
        found["ids"] = " ".join([artifacts.ids_hash(np.array(CHOSEN[cell.method]))] * 3)
        told = {"status": "measured", "reason": None, "origin": "run", "digest": "d", "published_top1": None}
        rows.append(vars(cell) | found | told)
    artifacts.write_table(tmp_path / "rows.parquet", pd.DataFrame(rows))
    parts = [pd.DataFrame({"ids_hash": artifacts.ids_hash(np.array(ids)), "id": ids}) for ids in CHOSEN.values()]
    artifacts.write_table(tmp_path / "ids.parquet", pd.concat(parts).drop_duplicates())
    return tmp_path


def told(study, exhibit):
    spec = study.config.exhibits[exhibit]
    layout = {"exhibit": exhibit, "title": spec.title, "notes": spec.notes, "config_digest": study.digests[exhibit]}
    layout |= {"contrasts": readings.contrasts(study, exhibit), "choices": readings.defaults(study, exhibit)}
    return artifacts.canonical(layout)


def drawing(folder, layout, name="curve"):
    outputs = {ending: folder / f"{name}.{ending}" for ending in ("png", "pdf", "csv", "md")}
    arguments = ["--rows", str(folder / "rows.parquet"), "--params", layout]
    return outputs, [*arguments, *(word for ending, file in outputs.items() for word in (f"--{ending}", str(file)))]


def test_a_figure_is_three_files_and_one_line(study, files):
    outputs, arguments = drawing(files, told(study, "specification_curve"))
    assert figure.main(arguments) == "specification_curve: 3 records behind it"
    assert outputs["png"].read_bytes().startswith(b"\x89PNG")
    assert outputs["pdf"].read_bytes().startswith(b"%PDF")
    lines = pd.read_csv(outputs["csv"])
    assert lines["reading"].tolist() == ["cea = none", "ods.diversity = 1.0", "default"]
    assert lines["difference"].tolist() == pytest.approx([-0.04, -0.02, 0.02])
    assert lines["n"].tolist() == [3, 3, 3]


def test_two_commands_at_two_times_write_the_same_bytes(study, files):
    written = []
    for epoch in ("86400", "1700000000"):
        outputs, arguments = drawing(files, told(study, "specification_curve"), epoch)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": epoch[:2]}
        command = [sys.executable, "-m", "scripts.figure", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "specification_curve: 3 records behind it\n"), done.stderr
        written.append([file.read_bytes() for file in outputs.values()])
    assert written[0] == written[1]


def test_a_figure_that_cannot_be_drawn_leaves_nothing(study, files):
    layout = json.loads(told(study, "specification_curve"))
    del layout["contrasts"]
    _, arguments = drawing(files, json.dumps(layout))
    with pytest.raises(ConfigError, match="the layout lacks contrasts"):
        figure.main(arguments)
    assert sorted(file.name for file in files.iterdir()) == ["ids.parquet", "rows.parquet"]


def written(files, study, exhibit, *more):
    outputs = {ending: files / f"{exhibit}.{ending}" for ending in ("csv", "md", "tex", "html")}
    arguments = ["--rows", str(files / "rows.parquet"), "--params", told(study, exhibit), *more]
    said = table.main([*arguments, *(word for ending, file in outputs.items() for word in (f"--{ending}", str(file)))])
    return said, outputs


def test_a_table_of_readings_compares_the_ids_that_it_is_given(study, files):
    said, outputs = written(files, study, "readings", "--ids", str(files / "ids.parquet"))
    assert said == "readings: 4 lines"
    lines = pd.read_csv(outputs["csv"]).set_index("method")
    assert lines.loc["vecaf_lambda_1", "jaccard_with_base"] == 0.25  # {1, 2} and {2, 3, 4}
    assert lines.loc["vecaf_no_cea", "jaccard_with_base"] == lines.loc["vecaf", "jaccard_between_seeds"] == 1
    assert outputs["md"].read_text().startswith("# What each reading changes")
    _, outputs = written(files, study, "readings")
    assert pd.read_csv(outputs["csv"])["jaccard_between_seeds"].isna().all()


def test_a_log_of_deviations_is_a_table_that_asks_for_no_ids(study, files):
    said, outputs = written(files, study, "deviations")
    lines = pd.read_csv(outputs["csv"]).set_index("reading")
    assert said == f"deviations: {len(lines)} lines"
    assert lines.loc["ods.diversity", "effect"].startswith("ods.diversity = 1.0: −4.00 ")
    assert r"\begin{tabular}" in outputs["tex"].read_text()
