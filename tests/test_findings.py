"""The numbers of the README's and the findings' main tables are those of the published cells."""

import json
import re
from pathlib import Path

import pytest

from vecaf import artifacts, config
from vecaf.reporting import bundle, statistics
from vecaf.study import Study

ROOT = Path(__file__).resolve().parent.parent
FILES = ("README.md", "docs/findings.md")
FULL = "the whole pool"
METHODS = {
    "Random": "random",
    "Random, class-balanced": "class_balanced",
    "k-center": "k_center",
    "TypiClust": "typiclust",
    "Entropy": "entropy",
    "Least confidence": "least_confidence",
    "Top-K loss": "top_k_loss",
    "Margin": "margin",
    "LearnLoss": "learning_loss",
    "TA-VAAL": "ta_vaal",
    "ALFA-Mix": "alfa_mix",
    "ActiveFT": "activeft",
    "ActiveFT with CEA": "activeft_cea",
    "VeCAF without the loss (L ≡ 1)": "vecaf_uniform",
    "VeCAF": "vecaf",
    "VeCAF without CEA": "vecaf_no_cea",
    "VeCAF, losses over those of their class": "vecaf_within_class",
    FULL: "full",
}
DATASETS = {
    "CIFAR-10": ("cifar10_small", "5pct"),
    "CIFAR-10 at 10 %": ("cifar10_small", "10pct"),
    "Caltech-101": ("caltech101_small", "5pct"),
    "Tiny-ImageNet": ("tiny_imagenet", "5pct"),
}
# What a column's heading ends with → what is added to the method, and the schedule.
COLUMNS = {
    "one set of K": ("", "single"),
    "three, latest": ("", "3loops"),
    "three, union": ("_accumulate", "3loops"),
    "one of 3 K": ("", "single_3x"),
}


@pytest.fixture(scope="module")
def top1():
    """cell → top-1 in percent, of all published cells."""
    records = artifacts.read_table(ROOT / "results/published" / bundle.RECORDS)
    texts = records[records["file"] == bundle.METRICS]
    top1 = (100 * json.loads(text)["metrics"]["top1"] for text in texts["text"])
    return dict(zip(texts["cell"], top1, strict=True))


def main_table(file):
    """Return the header and the lines of the first table of a page that has accuracies."""
    text = (ROOT / file).read_text()
    block = next(block for block in text.split("\n\n") if re.match(r"\|[^\n]*\| CIFAR-10: ", block))
    lines = [[part.strip().strip("*") for part in line.strip("|").split("|")] for line in block.split("\n")]
    return lines[0], lines[2:]


def places(headings):
    """Yield (dataset, ratio, what is added to the method, schedule) of columns; a dataset is named where it begins."""
    of = None
    for heading in headings:
        dataset, colon, kind = heading.rpartition(": ")
        of = DATASETS[dataset] if colon else of
        yield (*of, *COLUMNS[kind])


@pytest.mark.parametrize("file", FILES)
def test_the_main_table_shows_what_is_published(file, top1):
    header, lines = main_table(file)
    shown = 0
    for name, *values in lines:
        for (dataset, ratio, more, schedule), value in zip(places(header[1:]), values, strict=True):
            group = f"{METHODS[name]}{more}/{ratio}/{schedule}" if name != FULL else "full/100pct/single"
            found = [top1[cell] for cell in top1 if cell.startswith(f"{dataset}/vit_ti/{group}/")]
            if value:
                assert len(found) == 3, group
                assert value == f"{statistics.mean(found):.1f} ± {statistics.standard_error(found):.1f}", group
                shown += 1
    assert shown > 20


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_left_to_be_filled_in(file):
    assert not re.search(r"@[A-Z]+@|\bTODO\b", (ROOT / file).read_text())


@pytest.mark.parametrize("file", FILES)
def test_how_many_cells_have_run_is_what_is_published(file, top1, laid_over):
    study = Study(config.load(laid_over("config/small_images.yaml", "config/study_vit_tiny.yaml")))
    cells = {str(cell) for cell in study.cells()}
    said = re.search(r"(\d+)\s+of\s+its\s+(\d+)\s+cells", (ROOT / file).read_text())
    assert tuple(map(int, said.groups())) == (len(cells & set(top1)), len(cells))
    assert set(top1) <= cells
