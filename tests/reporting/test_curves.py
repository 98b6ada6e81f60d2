import numpy as np
import pandas as pd
import pytest
from stand_in_curves import FULL, cell, key, rows_of, told

from vecaf.errors import ArtifactError
from vecaf.reporting import costs, curves
from vecaf.reporting.layout import KEYS

BATCHES = pd.DataFrame({"batch": [0, 1, 2, 3], "loop": [1, 1, 2, 2], "loss": [4.0, 3.0, 2.0, 1.0]})
CURVE = pd.DataFrame({"batch": [0, 2, 4], "top1": [0.1, 0.4, 0.5], "probe_loss": [2.0, 1.5, 1.2], "loop": [1, 1, 2]})
COSTS = pd.DataFrame(
    [
        (0, "caption", 50.0, 1000),
        (0, "embed_text", np.nan, 3),
        (0, "evaluate", 1000.0, None),
        (1, "curve", 99.0, None),
        (1, "score", 5.0, 100),
        (1, "select", 1.0, 7),
        (1, "finetune", 8.0, 60),
        (2, "score", 7.0, 100),
        (2, "select", 2.0, None),
        (2, "augment", 3.0, 11),
        (2, "finetune", 4.0, 30),
    ],
    columns=["loop", "step", "seconds", "macs"],
).astype({"macs": "float64"})


def test_a_row_for_every_number_of_batches_done():
    joined = curves.join(BATCHES, CURVE, COSTS)
    assert joined["batch"].tolist() == [0, 1, 2, 3, 4]
    assert joined["loop"].tolist() == [1, 1, 1, 2, 2]
    assert joined["loss"].tolist()[1:] == [4.0, 3.0, 2.0, 1.0]
    assert np.isnan(joined["loss"][0])
    assert joined["top1"].dropna().tolist() == [0.1, 0.4, 0.5]
    assert joined["batch"][joined["top1"].notna()].tolist() == [0, 2, 4]


def test_cost_is_paid_before_a_loop_and_by_batch_by_hand():
    joined = curves.join(BATCHES, CURVE, COSTS)
    # Loop 1: 100 + 7, then 30 a batch; loop 2: 100 + 11 with its first batch, then 15 a batch.
    assert joined["macs"].tolist() == [107, 137, 167, 293, 308]
    # 5 + 1, then 4 a batch (looking at the model left out); 7 + 2 + 3 more, then 2 a batch.
    assert joined["seconds"].tolist() == [6, 10, 14, 28, 30]
    assert set(joined["shared"]) == {1003}
    assert set(joined["uncounted"]) == {"select"}


def test_captions_that_cannot_be_counted_are_no_number():
    costs = COSTS.assign(macs=COSTS["macs"].mask(COSTS["step"] == "caption"))
    joined = curves.join(BATCHES, CURVE, costs)
    assert joined["shared"].isna().all()
    assert joined["macs"].iloc[-1] == 308


def test_at_the_end_all_of_table_4_is_paid():
    counted = COSTS.fillna({"macs": 0.0}).assign(**dict(zip(curves.CELL, (*key("vecaf"), 0), strict=True)))
    of_table4 = costs.of(counted, dict(zip(KEYS, key("vecaf"), strict=True)))
    joined = curves.join(BATCHES, CURVE, COSTS)
    assert joined["macs"].iloc[-1] + joined["shared"].iloc[-1] == costs.macs(of_table4, costs.ALL)


def test_costs_in_words_name_what_is_not_in_them():
    table = pd.concat([cell(key("vecaf"), 0, [0.1, 0.2]), cell(FULL, 0, [0.1, 0.2]).assign(uncounted="")])
    layout = told(key("vecaf"), FULL)
    said = curves.costs_in_words(table, layout)
    assert said.endswith(" forward passes). Not counted, and therefore left out: selection of Vecaf.")
    shared = table["method"].map({"vecaf": 5.5e15, "full": 0.0})
    said = curves.costs_in_words(table.assign(uncounted="", shared=shared), layout)
    assert "methods that do would pay 5,500 T for Digits more" in said
    said = curves.costs_in_words(table.assign(shared=shared.replace(5.5e15, np.nan)), layout)
    assert "would pay an unknown number for Digits more" in said


def test_a_curve_of_other_batches_is_refused():
    with pytest.raises(ArtifactError, match="an evaluation at batch 9,"):
        curves.join(BATCHES, CURVE.replace({"batch": {4: 9}}), COSTS)


def two_seeds():
    return pd.concat(
        [
            cell(FULL, 0, [0.1, 0.5, 0.9], loops=1),
            cell(key("vecaf"), 1, [0.1, 0.4, 0.6]),
            cell(key("vecaf"), 0, [0.1, 0.2, 0.8]),
        ]
    )


def test_lines_are_means_and_ranges_over_seeds_in_the_layouts_order():
    table = two_seeds()
    first, second = curves.lines(table, "top1", told(key("vecaf"), FULL))
    assert (first.key, second.key) == (key("vecaf"), FULL)
    assert first.label == "Vecaf (n = 2)"
    assert first.x.tolist() == [0, 20, 40]
    assert first.mean.tolist() == pytest.approx([0.1, 0.3, 0.7])
    assert first.low.tolist() == pytest.approx([0.1, 0.2, 0.6])
    assert first.high.tolist() == pytest.approx([0.1, 0.4, 0.8])
    assert [record["n"] for record in second.records("top1")] == [1, 1, 1]


def test_batches_that_one_seed_lacks_are_no_mean():
    table = pd.concat([cell(key("vecaf"), 0, [0.1, 0.2, 0.8]), cell(key("vecaf"), 1, [0.1, 0.6])])
    (line,) = curves.lines(table, "top1", told(key("vecaf")))
    assert line.x.tolist() == [0, 40]


def test_blocks_are_means_of_stretches_at_their_middle():
    table = cell(key("vecaf"), 0, [0.1, 0.9], budget=40)
    (line,) = curves.lines(table, "loss", told(key("vecaf")), blocks=4)
    assert curves.block_length(40, 4) == 10
    assert line.x.tolist() == [5.5, 15.5, 25.5, 35.5]  # batches 1 to 10, 11 to 20, …
    assert line.mean.tolist() == pytest.approx([3 - x / 40 for x in (5.5, 15.5, 25.5, 35.5)])
    assert curves.block_length(30, 50) == 1


def test_titles_name_only_what_differs_in_a_place():
    keys = [key("vecaf"), key("vecaf", "10pct"), key("activeft", schedule="single"), key("activeft"), FULL]
    keys.append(key("vecaf", dataset="cats"))
    table = pd.concat([cell(k, 0, [0.1, 0.2]) for k in keys])
    named = curves.titles(table, told(*keys))
    assert named[key("vecaf")] == "Vecaf, 5 %"
    assert named[key("vecaf", dataset="cats")] == "Vecaf"
    assert named[key("activeft", schedule="single")] == "Activeft, single"
    assert named[FULL] == "Full"


def test_loops_begin_where_they_begin():
    assert curves.loop_starts(two_seeds()) == [20]
    assert curves.loop_starts(cell(FULL, 0, [0.1, 0.2], loops=1)) == []


def test_cells_in_short_name_every_cell_once():
    keys = [key("activeft"), key("vecaf"), key("activeft", "10pct"), key("vecaf", "10pct")]
    table = pd.concat([cell(k, seed, [0.1, 0.2]) for k in keys for seed in (0, 2)] + [cell(FULL, 1, [0.1, 0.2])])
    assert curves.cells_in_words(table) == (
        "digits/vit/{activeft,vecaf}/{5pct,10pct}/2loops/seed{0,2}; digits/vit/full/100pct/single/seed1"
    )


def test_what_is_left_out_is_said():
    rows = rows_of(two_seeds())
    assert curves.left_out(rows) == ""
    rows.loc[rows["seed"] == 1, "status"] = "stale"
    assert curves.left_out(rows) == "Cells left out: 1 stale (digits/vit/vecaf/5pct/2loops/seed1)."


def test_no_cell_is_no_figure():
    with pytest.raises(ArtifactError, match="figure1b shows no measured cell; run it with `snakemake figure1b`"):
        curves.check(pd.DataFrame(columns=list(curves.COLUMNS)), "figure1b")
