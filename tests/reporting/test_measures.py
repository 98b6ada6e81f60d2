"""Measures of claims by hand, on cells of 40 batches in two loops."""

import numpy as np
import pandas as pd
import pytest
from stand_in_curves import FULL, cell, key

from scripts import measures as script
from vecaf import artifacts
from vecaf.errors import ArtifactError, ConfigError
from vecaf.reporting import curves, measures

VECAF = key("vecaf")
CURVES = pd.concat(
    [
        cell(VECAF, 0, [0.0, 0.4, 0.6]),  # 50 % after 30 batches, in the second loop
        cell(VECAF, 1, [0.0, 0.6, 0.7]),  # after 16.7, in the first
        cell(FULL, 0, [0.0, 0.2, 0.4], loops=1),  # never
    ]
)
STEPS = [
    *((0, "caption", 1000e9), (0, "embed_text", 50e9)),
    *((1, "score", 7e9), (1, "augment", 5e9), (1, "select", 3e9), (1, "finetune", 200e9)),
    *((2, "score", 7e9), (2, "augment", 5e9), (2, "select", 4e9), (2, "finetune", 200e9)),
]
COSTS = pd.DataFrame(
    [
        (*cell_key, seed, loop, step, np.nan, macs)
        for cell_key, seed, steps in (
            (VECAF, 0, STEPS),
            (VECAF, 1, STEPS),
            (FULL, 0, [(1, "select", 0.0), (1, "finetune", 900e9)]),
        )
        for loop, step, macs in steps
    ],
    columns=[*curves.CELL, "loop", "step", "seconds", "macs"],
)
LEVELS = {"digits": [20, 50]}
MODELS = {
    VECAF: {
        "backbone": {"input_size": 16},
        "text": {"captioner": {"name": "blip"}, "encoder": {"name": "bert"}},
    },
    FULL: {"backbone": {"input_size": 16}, "text": None},
}
PROFILES = [
    {"part": "backbone", "name": "vit", "width": 8, "sizes": {"16": {"macs": 10.0}}},
    {"part": "encoder", "name": "bert", "macs": 110.0},
    {"part": "captioner", "name": "blip", "macs": 1.0},
]
COUNTS = {(found["part"], found["name"]): found for found in PROFILES}


def by_cell(table):
    return table.set_index(["method", "seed"])


def test_batches_to_each_level_and_none_where_a_seed_never_arrives():
    found = by_cell(measures.batches_to_accuracy(CURVES, LEVELS))
    assert found["batches_to_20"].tolist() == pytest.approx([10.0, 20 / 3, 20.0])
    assert found["batches_to_50"].tolist()[:2] == pytest.approx([30.0, 50 / 3])
    assert np.isnan(found.loc[("full", 0), "batches_to_50"])


def test_flops_are_those_until_the_highest_level():
    found = by_cell(measures.flops(CURVES, COSTS, LEVELS, MODELS, COUNTS))
    late = found.loc[("vecaf", 0)]
    assert late["flops_g_finetune"] == pytest.approx(200 + 200 / 2)
    assert late["flops_g_cea"] == 50 + 5 + 5
    assert late["flops_g_selection"] == 3 + 4
    assert late["flops_g_all"] == pytest.approx(1000 + 50 + 7 + 5 + 3 + 200 + 7 + 5 + 4 + 100)
    early = found.loc[("vecaf", 1)]  # the second loop has not begun
    assert early["flops_g_selection"] == 3
    assert early["flops_g_all"] == pytest.approx(1000 + 50 + 7 + 5 + 3 + 200 * 5 / 6)
    never = found.loc[("full", 0)]
    assert never[[f"flops_g_{part}" for part in measures.SHARES]].isna().all()
    assert found["text_encoder_macs"].tolist()[:2] == [110, 110]
    assert np.isnan(never["text_encoder_macs"])
    assert set(found["backbone_macs"]) == {10}


def test_an_encoder_without_a_network_has_no_cost_to_compare():
    """TF-IDF costs no multiply-accumulate, which says nothing of the paper's encoders."""
    counts = COUNTS | {("encoder", "bert"): {"part": "encoder", "name": "bert", "macs": 0.0}}
    found = by_cell(measures.flops(CURVES, COSTS, LEVELS, MODELS, counts))
    assert found["text_encoder_macs"].isna().all()


def test_what_is_not_counted_is_no_number():
    costs = COSTS.assign(macs=COSTS["macs"].mask(COSTS["step"] == "caption"))
    found = by_cell(measures.flops(CURVES, costs, LEVELS, MODELS, COUNTS)).loc[("vecaf", 0)]
    assert np.isnan(found["flops_g_all"])
    assert found["flops_g_cea"] == 60


def test_probe_loss_is_the_mean_of_all_looks():
    found = by_cell(measures.probe_loss(CURVES))
    assert found["probe_loss"].tolist() == pytest.approx([2 - 1 / 3, 2 - 1.3 / 3, 1.8])


def written(folder, measure, table=CURVES):
    artifacts.write_table(folder / "curves.parquet", table)
    artifacts.write_table(folder / "costs.parquet", COSTS)
    files = [folder / f"{number}.json" for number in range(len(PROFILES))]
    for file, profile in zip(files, PROFILES, strict=True):
        artifacts.write_json(file, profile)
    models = [[list(cell_key), told] for cell_key, told in MODELS.items()]
    said = script.main(
        [
            *("--curves", str(folder / "curves.parquet"), "--costs", str(folder / "costs.parquet")),
            *("--profiles", *map(str, files), "--out", str(folder / "out.parquet")),
            *("--params", artifacts.canonical({"measure": measure, "levels": LEVELS, "models": models})),
        ]
    )
    return said, folder / "out.parquet"


@pytest.mark.parametrize("measure", ["batches_to_accuracy", "flops", "probe_loss"])
def test_the_script_writes_what_claims_read(tmp_path, measure):
    from vecaf.reporting.verdicts import Numbers

    said, file = written(tmp_path, measure)
    assert said == f"{measure}: 3 cells"
    table = artifacts.read_table(file)
    number = table.columns[-1]
    numbers = Numbers.of_measure(measure, table)
    position = next(at for at, keys in enumerate(numbers.keys) if keys["method"] == "vecaf")
    values = numbers.read(position, number)[0]
    assert values == pytest.approx(by_cell(table).loc["vecaf", number].to_dict())


PLACE = {"dataset": "digits", "backbone": "vit", "ratio": "5pct", "schedule": "3loops"}


def test_margins_are_means_of_what_each_method_selects(tmp_path):
    by_vecaf, by_activeft = [True, True, False, False], [False, True, True, False]
    pool = pd.DataFrame({"margin": [0.1, 0.3, 0.7, 0.9], "by_activeft": by_activeft, "by_vecaf": by_vecaf})
    samples = pd.concat([pool.assign(seed=0), pool.assign(seed=1, margin=pool["margin"] / 2)])
    artifacts.write_table(tmp_path / "samples.parquet", samples)
    params = artifacts.canonical({"measure": "margins", "cell": PLACE})
    files = ["--samples", str(tmp_path / "samples.parquet"), "--out", str(tmp_path / "out.parquet")]
    assert script.main([*files, "--params", params]) == "margins: 4 cells"
    found = artifacts.read_table(tmp_path / "out.parquet").set_index(["method", "seed"])["margin"]
    assert found.to_dict() == pytest.approx(
        {("vecaf", 0): 0.2, ("activeft", 0): 0.5, ("vecaf", 1): 0.1, ("activeft", 1): 0.25}
    )


def test_recall_of_planted_images_counts_those_of_the_whole_pool():
    keys = {"backbone": "vit", "ratio": "5pct", "schedule": "single", "seed": 0}
    rows = [{**keys, "method": name, "planted": hit} for name, hits in FOUND.items() for hit in hits]
    planted, clear = pd.DataFrame(rows), pd.DataFrame(rows).assign(planted=False)
    planted.attrs = {"dataset": "digits_snow", "planted_size": 4}
    clear.attrs = {"dataset": "digits", "planted_size": 0}
    found = measures.planted_domain([planted, clear])
    assert set(found["dataset"]) == {"digits_snow"}
    assert found.set_index("method")["recall"].to_dict() == {"vecaf": 0.25, "vecaf_snow": 0.5}
    assert measures.planted_domain([clear]).empty


FOUND = {"vecaf": [True, False, False], "vecaf_snow": [True, True, False]}


def test_of_no_cell_there_is_an_empty_table(tmp_path):
    said, file = written(tmp_path, "flops", CURVES[:0])
    assert said == "flops: 0 cells"
    assert list(artifacts.read_table(file).columns) == list(curves.CELL)


def test_a_measure_that_curves_do_not_have_and_a_model_without_a_count_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no measure jaccard is made of exhibits"):
        written(tmp_path, "jaccard")
    without = {model: count for model, count in COUNTS.items() if model[0] != "encoder"}
    with pytest.raises(ArtifactError, match="the encoder bert has no count"):
        measures.flops(CURVES, COSTS, LEVELS, MODELS, without)
