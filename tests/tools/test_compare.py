"""Groups of finished cells beside each other, from a study's own files and a bundle."""

import shutil

import numpy as np
import pandas as pd
import pytest

from tools import compare
from vecaf import artifacts
from vecaf.errors import ArtifactError
from vecaf.reporting import bundle, statistics
from vecaf.reporting.metrics import cell_metrics, cost

VECAF, RANDOM = "digits/vit_ti/vecaf/5pct/2loops", "digits/vit_ti/random/5pct/2loops"
TOP1 = {VECAF: {0: 0.80, 1: 0.84}, RANDOM: {0: 0.70, 1: 0.78, 2: 0.99}}
IDS = {VECAF: ([1, 2, 3, 4], [3, 4, 5, 6]), RANDOM: ([1, 2, 3, 4], [5, 6, 7, 8])}


def write(root, group, seed):
    """Write what publishing reads of a finished cell of two loops of three batches."""
    cell = root / "cells" / group / f"seed{seed}"
    key = dict(zip(("dataset", "backbone", "method", "ratio", "schedule"), group.split("/"), strict=True))
    sets = [np.array(ids) + 10 * seed for ids in IDS[group]]
    hashes = {f"loop{loop}": artifacts.ids_hash(ids) for loop, ids in enumerate(sets, start=1)}
    facts = dict.fromkeys(("device", "threads", "host", "versions", "git"))
    provenance = {"digest": "0" * 16, "parameters": {}, "readings": {}, "seeds": {}, "weights": {"final": "a" * 64}}
    provenance |= {"ids": hashes, "stages": {"evaluate": {}}} | facts
    top1 = TOP1[group][seed]
    found = {"top1": top1, "mean_per_class": top1, "per_class": {"zero": top1}, "n": 100}
    provenance["selection"] = [{"classes_covered": classes, "classes_expected": 4.0} for classes in (2, 3)]
    record = cell_metrics(key | {"seed": seed}, found, cost(6, [{"finetune": 1.0}, {"finetune": 1.0}]), provenance)
    artifacts.write_json(cell / bundle.METRICS, record)
    for loop, ids in enumerate(sets, start=1):
        artifacts.write_json(cell / f"loop{loop}/selection.json", {"ids_hash": artifacts.ids_hash(ids)})
        artifacts.write_table(cell / f"loop{loop}/selection.parquet", pd.DataFrame({"id": ids}))
    loss = [9.0, 1.0, 2.0, 9.0, 0.25 + seed, 0.75 + seed]
    batches = pd.DataFrame({"batch": range(6), "loop": [1, 1, 1, 2, 2, 2], "loss": loss})
    artifacts.write_table(cell / bundle.BATCHES, batches)
    artifacts.write_table(cell / bundle.CURVE, pd.DataFrame({"batch": [6], "top1": [top1]}))


@pytest.fixture
def root(tmp_path):
    for group, seeds in TOP1.items():
        for seed in seeds:
            write(tmp_path, group, seed)
    return tmp_path


def told(root, *asked, **options):
    given = {"root": root, "published": root / "none", "last": 2} | options
    text = compare.main([*(f"--{name}={value}" for name, value in given.items()), *asked])
    header, *lines = ([part.strip() for part in line.split("  ") if part.strip()] for line in text.split("\n"))
    assert header == compare.HEADER
    return lines


def test_groups_are_compared_seed_by_seed(root):
    first, other = told(root, VECAF, RANDOM)
    assert first == [VECAF, "0 1", "82.00 ± 2.00", "6 of 8", "0.75", "1.50 1.00"]
    # 10 and 6 points: 8 ± t(0.975, 1) · 2 = 12.706 · 2; the third seed is one side's alone.
    assert other[:4] == [RANDOM, "0 1 2", "82.33 ± 8.65", "+8.00 (−17.41 to +33.41)"]
    assert other[4:] == ["8 of 8", "0.75", "1.50 1.50"]


def test_wildcards_stand_for_groups_each_once(root):
    assert [line[0] for line in told(root, VECAF, "digits/*")] == [VECAF, RANDOM]


def test_published_cells_count_as_the_studys_own(root, tmp_path):
    from tools import publish

    out = tmp_path / "published"
    publish.main(["--root", str(root), "--out", str(out)])
    assert told(tmp_path / "nowhere", VECAF, RANDOM, published=out) == told(root, VECAF, RANDOM)


def test_one_seed_is_compared_image_by_image_where_both_have_predictions(root):
    for group, others in ((VECAF, (1,)), (RANDOM, (1, 2))):
        for seed in others:
            shutil.rmtree(root / "cells" / group / f"seed{seed}")
    right = {VECAF: np.arange(200) < 160, RANDOM: np.arange(200) % 10 < 7}
    assert told(root, VECAF, RANDOM)[1][3] == "+10.00"  # no predictions, no interval
    for group, correct in right.items():
        table = pd.DataFrame({"id": np.arange(200), "label": 1, "prediction": correct.astype(int)})
        artifacts.write_table(
            root / "cells" / group / "seed0/predictions.parquet", table[::-1] if group == VECAF else table
        )
    found = statistics.bootstrap_difference(right[VECAF], right[RANDOM], seed=0)
    assert found.estimate == pytest.approx(0.1)
    said = f"+10.00 ({100 * found.low:+.2f} to {100 * found.high:+.2f}), images"
    assert told(root, VECAF, RANDOM)[1][3] == said.replace("-", "−")


def test_a_group_without_finished_cells_is_refused_with_the_nearest(root, tmp_path):
    with pytest.raises(ArtifactError, match=r"no finished cell fits digits/x; '\*' names all 2 groups"):
        told(root, VECAF, "digits/x")
    with pytest.raises(ArtifactError, match=f"; did you mean {VECAF}"):
        told(root, VECAF + "x")
    with pytest.raises(ArtifactError, match=r"fits .*; none has finished"):
        told(tmp_path / "nowhere", VECAF)
