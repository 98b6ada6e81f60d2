"""What prompts select, from made-up selections: overlap, likeness, planted images; and figure 3."""

import csv
import io
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vecaf.data import image_sets
from vecaf.errors import ConfigError
from vecaf.reporting import figure3, prompts

METHODS = {
    "random": {"title": "Random", "prompt": None, "text": None, "unprompted": None},
    "vecaf": {"title": "VeCAF", "prompt": None, "text": None, "unprompted": None},
    "vecaf_snow": {"title": "VeCAF, snow", "prompt": "snow", "text": "It's snowy.", "unprompted": "vecaf"},
}
LAYOUT = {
    "exhibit": "prompts",
    "title": "Of a test",
    "methods": METHODS,
    "datasets": {"digits": {"title": "Digits", "captioner": "attributes", "encoder": "TF-IDF"}},
    "notes": ["A note."],
    "config_digest": "abc",
}
# method → seed → ids; images 0 to 9 of 100 are planted, and the cosine of image i to the prompt is i/100.
SETS = {
    "random": {0: [3, 50, 60, 70], 1: [10, 20, 30, 40]},
    "vecaf": {0: [0, 40, 50, 60], 1: [20, 40, 50, 60]},
    "vecaf_snow": {0: [0, 1, 2, 40], 1: [0, 1, 50, 60]},
}


def selected(planted=10, sets=SETS, drawn=2):
    rows = []
    for method, seeds in sets.items():
        for seed, ids in seeds.items():
            for place, number in enumerate(ids):
                rows.append(
                    {
                        **{"id": number, "class": "one", "file": f"{number}.png", "caption": f"a picture of {number}"},
                        **{"planted": number < planted, "to_snow": number / 100, "method": method, "seed": seed},
                        **{"backbone": "vit", "ratio": "4pct", "schedule": "single"},
                        "drawn": seed == 0 and place < drawn,
                    }
                )
    table = pd.DataFrame(rows)
    pixels = np.full((8, 8, 3), 128, dtype=np.uint8)
    table["thumbnail"] = [image_sets.encode(pixels, None) if drawn else None for drawn in table["drawn"]]
    table.attrs = {"dataset": "digits", "pool_size": 100, "planted_size": planted, "pool_similarity": {"snow": 0.495}}
    return table


def of(found, method, seed):
    return next(one for one in found if (one.method, one.seed) == (method, seed))


def test_measures_by_hand():
    found = prompts.measure([selected()], LAYOUT)
    snow = of(found, "vecaf_snow", 0)
    assert snow.jaccard == pytest.approx(2 / 6)  # {0, 40} of {0, 1, 2, 40, 50, 60}
    assert snow.likeness == pytest.approx((0 + 1 + 2 + 40) / 400)
    assert snow.likeness_without == pytest.approx((0 + 40 + 50 + 60) / 400)
    assert (snow.likeness_pool, snow.k) == (0.495, 4)
    assert (snow.found, snow.chance) == (pytest.approx(0.3), 0.04)
    # Hypergeometric: 4 draws from 100 with 10 hits have mean 0.4 and variance 4·0.1·0.9·96/99.
    assert snow.z == pytest.approx((3 - 0.4) / math.sqrt(4 * 0.1 * 0.9 * 96 / 99))
    plain = of(found, "vecaf", 0)
    assert (plain.jaccard, plain.likeness, plain.found) == (None, None, pytest.approx(0.1))
    difference = prompts.against_unprompted(found, snow, LAYOUT)
    assert (difference.estimate, difference.n) == (pytest.approx(((0.3 - 0.1) + (0.2 - 0)) / 2), 2)
    assert prompts.against_unprompted(found, plain, LAYOUT) is None


def test_the_spread_of_random_sets_is_the_hypergeometric_one():
    rng = np.random.default_rng(0)
    counts = [(rng.choice(100, 4, replace=False) < 10).sum() for _ in range(20_000)]
    one = of(prompts.measure([selected()], LAYOUT), "vecaf", 0)
    assert (1 - np.mean(counts)) / np.std(counts) == pytest.approx(one.z, rel=0.05)


def test_the_table_shows_means_over_seeds():
    table = prompts.build(LAYOUT, [selected()])
    text = " ".join(table.to_markdown().split())
    assert "## Digits, 4 % (K = 4)" in text
    row = next(line for line in table.to_markdown().splitlines() if line.startswith("| VeCAF, snow"))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    jaccard = (2 / 6 + 2 / 6) / 2
    assert cells[:2] == ["It's snowy.", f"{jaccard:.2f}"]
    assert cells[5:7] == ["25.0", "4.0"]
    assert cells[8].startswith("+20.00")
    assert "A note." in text
    records = list(csv.DictReader(io.StringIO(table.to_csv_text())))
    assert len(records) == 6
    assert table.to_latex()


def test_a_pool_without_planted_images_has_no_such_columns():
    table = prompts.build(LAYOUT, [selected(planted=0)])
    assert "Planted" not in table.to_markdown()
    assert all(record["found"] is None for record in table.records)


def test_a_method_whose_base_is_not_shown_is_compared_with_nothing():
    sets = {"vecaf_snow": SETS["vecaf_snow"]}
    found = prompts.measure([selected(sets=sets)], LAYOUT)
    assert {one.jaccard for one in found} == {None}
    assert {one.likeness_without for one in found} == {None}
    assert prompts.build(LAYOUT, [selected(sets=sets)]).to_markdown()
    assert figure3.build(LAYOUT, [selected(sets=sets)]).records


def test_figure_3_draws_a_row_a_method_and_marks_what_the_prompt_did_not_change(tmp_path):
    made = figure3.build(LAYOUT, [selected()])
    samples = [record for record in made.records if record["what"] == "sample"]
    assert [(record["method"], record["id"]) for record in samples] == [
        *(("random", 3), ("random", 50), ("vecaf", 0), ("vecaf", 40), ("vecaf_snow", 0), ("vecaf_snow", 1)),
    ]
    assert [record["also_without"] for record in samples] == [None] * 4 + [True, False]
    assert samples[4]["similarity"] == 0.0
    framed = [panel for panel in made.canvas.axes if panel.images and panel.spines["left"].get_visible()]
    assert len(framed) == 1
    for sentence in ("selections of loop 1 on Digits at 4 %", "Jaccard 0.33", "2 images of each", "Configuration abc."):
        assert sentence in made.caption
    made.save(tmp_path / "a.png", tmp_path / "a.pdf")
    made = figure3.build(LAYOUT, [selected()])
    made.save(tmp_path / "b.png", tmp_path / "b.pdf")
    for ending in ("png", "pdf"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert Image.open(tmp_path / "a.png").width > 1000


def test_figure_3_has_one_dataset():
    with pytest.raises(ConfigError, match="shows images of one dataset, not of 2"):
        figure3.build(LAYOUT, [selected(), selected()])
