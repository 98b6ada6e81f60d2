"""From the artifacts of cells to the files of a figure: the scripts in a row, on stand-ins."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from scripts import curves, figure, map_pool, samples
from vecaf import artifacts
from vecaf.errors import ArtifactError
from vecaf.grid import Cell
from vecaf.reporting.curves import CELL as CELL_KEYS
from vecaf.reporting.metrics import table_row

CELL = Cell("digits", "vit_digits", "vecaf", "5pct", "3loops", 0)


def write_cell(folder, cell, top1, digest="abc"):
    """Write what finetuning and evaluation of a cell leave behind, as far as curves read it."""
    place = folder / str(cell)
    log = pd.DataFrame({"batch": range(90), "loop": [1 + batch // 30 for batch in range(90)], "loss": 1.0})
    artifacts.write_table(place / "batches.parquet", log)
    at = [0, 30, 60, 90]
    artifacts.write_table(place / "curve.parquet", pd.DataFrame({"batch": at, "top1": top1, "probe_loss": 1.0}))
    metrics = {
        "cell": vars(cell),
        "metrics": {"top1": top1[-1], "mean_per_class": top1[-1], "per_class": {"zero": top1[-1]}, "classes": ["zero"]},
        "provenance": {"ids": {"loop1": "0" * 64}, "digest": digest},
    }
    artifacts.write_json(place / "metrics.json", metrics)
    return metrics


def collect(tmp_path, rows):
    """Join cells of which every loop costs 300 of finetuning and 100 of selection."""
    table = pd.DataFrame(rows)
    artifacts.write_table(tmp_path / "rows.parquet", table)
    steps = [
        {"loop": loop, "step": step, "seconds": 3.0, "macs": macs}
        for loop in (1, 2, 3)
        for step, macs in {"select": 100.0, "finetune": 300.0}.items()
    ]
    artifacts.write_table(tmp_path / "costs.parquet", table[list(CELL_KEYS)].merge(pd.DataFrame(steps), how="cross"))
    return curves.main(
        [
            *("--rows", str(tmp_path / "rows.parquet"), "--costs", str(tmp_path / "costs.parquet")),
            *("--cells", str(tmp_path / "cells")),
            *("--out", str(tmp_path / "curves.parquet")),
        ]
    )


def test_stale_cells_are_not_joined(tmp_path):
    rows = []
    for seed, status in ((0, "measured"), (1, "stale")):
        cell = Cell(*list(vars(CELL).values())[:-1], seed)
        rows.append(table_row(write_cell(tmp_path / "cells", cell, [0.1, 0.5, 0.7, 0.8]), status=status))
    assert collect(tmp_path, rows) == "1 of 2 cells joined, 91 rows"
    joined = artifacts.read_table(tmp_path / "curves.parquet")
    assert set(joined["seed"]) == {0}
    assert joined["macs"].iloc[-1] == 1200


def test_no_cell_leaves_an_empty_table(tmp_path):
    metrics = write_cell(tmp_path / "cells", CELL, [0.1, 0.5, 0.7, 0.8])
    assert collect(tmp_path, [table_row(metrics, status="stale")]) == "0 of 1 cells joined, 0 rows"
    assert artifacts.read_table(tmp_path / "curves.parquet").empty


def test_logs_that_contradict_each_other_name_the_cell_and_what_to_do(tmp_path):
    metrics = write_cell(tmp_path / "cells", CELL, [0.1, 0.5, 0.7, 0.8])
    stray = pd.DataFrame({"batch": [0, 95], "top1": [0.1, 0.2], "probe_loss": 1.0})
    artifacts.write_table(tmp_path / "cells" / str(CELL) / "curve.parquet", stray)
    with pytest.raises(
        ArtifactError, match=rf"{CELL}: the curve has an evaluation at batch 95.*snakemake -R finetune_last"
    ):
        collect(tmp_path, [table_row(metrics)])
    assert not (tmp_path / "curves.parquet").exists()


def outputs(tmp_path):
    return [part for name in ("png", "pdf", "csv", "md") for part in (f"--{name}", str(tmp_path / f"figure.{name}"))]


@pytest.mark.parametrize("exhibit", ["figure1b", "figure4", "figure5_b2a", "accuracy_cost"])
def test_from_a_cells_logs_to_a_figure_of_the_demo(tmp_path, demo, exhibit):
    rows = []
    for cell in demo.cells(exhibit):
        if cell.method in ("vecaf", "activeft"):
            top1 = [0.1, 0.5 + 0.1 * cell.seed, 0.7, 0.95]
            rows.append(table_row(write_cell(tmp_path / "cells", cell, top1)))
    collect(tmp_path, rows)
    given = ["--rows", str(tmp_path / "rows.parquet"), "--curves", str(tmp_path / "curves.parquet")]
    figure.main([*given, "--params", artifacts.canonical(demo.curves_layout(exhibit)), *outputs(tmp_path)])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    caption = (tmp_path / "figure.md").read_text()
    assert caption.startswith("**")
    assert "digits/vit_digits/{activeft,vecaf}/5pct/3loops/seed{0,1}" in caption
    table = pd.read_csv(tmp_path / "figure.csv")
    assert set(table["method"]) == {"activeft", "vecaf"}
    if exhibit == "figure5_b2a":  # 0.8 lies between batches 60 and 90, at 0.7 + 0.1 of 0.25
        reached = table[(table["method"] == "vecaf") & (table["level"] == 80)].iloc[0]
        assert reached["batches_by_seed"] == "0:72 1:72"


@pytest.fixture
def scored(tmp_path):
    """A pool of 40 in two classes, its scores under two seeds, and what two methods select of it."""
    rng = np.random.default_rng(0)
    index = pd.DataFrame({"id": range(40), "label": [0, 1] * 20, "split": "pool"})
    artifacts.write_table(tmp_path / "index.parquet", pd.concat([index, index.assign(split="test")]))
    artifacts.write_json(tmp_path / "pool.json", {"classes": ["cat", "dog"]})
    for seed in (3, 4):
        embeddings = (rng.normal(size=(40, 6)) + 3 * np.eye(6)[[0, 1] * 20]).astype(np.float32)
        artifacts.write_array(tmp_path / f"e{seed}.npy", embeddings)
        weight = torch.from_numpy(np.eye(2, 6, dtype=np.float32))
        artifacts.write_weights(tmp_path / f"h{seed}.safetensors", {"weight": weight, "bias": torch.zeros(2)})
        for method, ids in (("activeft", range(seed, seed + 8)), ("vecaf", range(6, 14))):
            artifacts.write_table(tmp_path / f"{method}{seed}.parquet", pd.DataFrame({"id": ids}))
    return tmp_path


def joined(folder, selections):
    artifacts.write_array(folder / "map.npy", np.arange(80, dtype=np.float32).reshape(40, 2))
    return samples.main(
        [
            *("--index", str(folder / "index.parquet"), "--meta", str(folder / "pool.json")),
            *("--embeddings", *(str(folder / f"e{seed}.npy") for seed in (3, 4))),
            *("--heads", *(str(folder / f"h{seed}.safetensors") for seed in (3, 4))),
            *("--selections", *(str(folder / f"{name}.parquet") for name in selections)),
            *("--map", str(folder / "map.npy"), "--out", str(folder / "samples.parquet")),
            *("--params", json.dumps({"seeds": [3, 4], "methods": ["activeft", "vecaf"], "digest": "d"})),
        ]
    )


def test_samples_carry_their_margin_who_selects_them_and_their_place(scored):
    said = joined(scored, ["activeft3", "vecaf3", "activeft4", "vecaf4"])
    assert said == "40 samples under 2 seeds, selected by activeft, vecaf"
    found = artifacts.read_table(scored / "samples.parquet")
    assert len(found) == 80
    first, second = (found[found["seed"] == seed].reset_index(drop=True) for seed in (3, 4))
    assert np.flatnonzero(first["by_activeft"]).tolist() == list(range(3, 11))
    assert np.flatnonzero(second["by_activeft"]).tolist() == list(range(4, 12))
    assert first["class"].tolist()[:2] == ["cat", "dog"]
    assert first["x"].tolist() == list(range(0, 80, 2))
    assert second["x"].isna().all()
    logits = artifacts.read_array(scored / "e3.npy")[:, :2].astype(np.float64)
    assert first["margin"].to_numpy() == pytest.approx(np.abs(np.tanh((logits[:, 0] - logits[:, 1]) / 2)), abs=1e-6)


def test_selections_that_do_not_fit_the_seeds_are_refused(scored):
    with pytest.raises(ArtifactError, match="3 selections for 2 seeds of 2 methods"):
        joined(scored, ["activeft3", "vecaf3", "activeft4"])


@pytest.mark.slow
def test_from_scores_to_the_map_of_the_demo(scored, demo):
    joined(scored, ["activeft3", "vecaf3", "activeft4", "vecaf4"])
    params = artifacts.canonical(demo.map_params("digits"))
    map_pool.main(["--embeddings", str(scored / "e3.npy"), "--params", params, "--out", str(scored / "map.npy")])
    layout = artifacts.canonical(demo.map_layout("figure6"))
    figure.main(["--samples", str(scored / "samples.parquet"), "--params", layout, *outputs(scored)])
    assert "UMAP (cosine, 15 neighbours" in (scored / "figure.md").read_text()
    assert pd.read_csv(scored / "figure.csv")["what"].value_counts()["set"] == 4
