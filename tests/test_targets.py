"""Mistyped targets: which ones are refused with a sentence, and that no path of a study is one of them."""

import re

import pytest

from vecaf import config, targets
from vecaf.config.merging import merge

CELL = "results/demo/cells/digits/vit_digits/vecaf/5pct/3loops/seed0"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cells": "finished"},  # what lies there is read, and must not be taken for a wish
        {"root": "runs/cells/own"},
    ],
)
def test_no_path_of_a_study_is_taken_for_a_mistake(demo_raw, changes):
    study = config.load(merge(demo_raw, changes))
    cell = CELL.replace("results/demo", study.root)
    for path in (
        f"{cell}/metrics.json",
        f"{cell}/finetune.json",
        f"{cell}/ood/snow.json",
        f"{cell}/loop2/weights.safetensors",
        f"{study.root}/tables/table1.csv",
        f"{study.root}/pool/cells/index.parquet",
        f"{study.root}/logs/cells/digits/x.log",
        f"{study.root}/after/digits/vit_digits/vecaf/5pct/3loops/seed0/map.npy",
        "results/published/records.parquet",
    ):
        assert not re.fullmatch(targets.mistakes(study), path), path


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (f"{CELL}/metric.json", "a cell has no file 'metric.json'; did you mean metrics.json?"),
        (f"{CELL}/notes.txt", "a cell has no file 'notes.txt'; it has metrics.json, predictions.parquet"),
        (CELL, "a cell is dataset/backbone/method/ratio/schedule/seedN, and its target metrics.json in that folder"),
        (f"{CELL.replace('seed0', '0')}/metrics.json", "seed '0' is written seed0"),
        (f"{CELL.replace('5pct', '5%')}/metrics.json", "ratio '5%' is written 1pct, 0.5pct"),
        (f"{CELL.replace('digits/vit', 'cifar/vit')}/metrics.json", "there is no dataset 'cifar'"),
        (f"{CELL.replace('/demo', '')}/metrics.json", "lie below results/demo/cells/; name the study of results/ by"),
        ("tabel1", "there is no target 'tabel1'; did you mean table1?"),
        ("x", "there is no target 'x'"),
    ],
)
def test_a_mistake_is_told_with_the_part_that_is_wrong(demo_raw, target, sentence):
    study = config.load(demo_raw)
    assert re.fullmatch(targets.mistakes(study), target)
    assert sentence in targets.mistaken(target, ["table1", "all_tables"], study)
