"""Figures of training curves: what their CSV and caption say, and that equal numbers give equal bytes."""

import io
import math

import pandas as pd
import pytest
from PIL import Image
from stand_in_curves import FULL, cell, key, rows_of, told

from vecaf.reporting import accuracy_cost, figure, figure1b, figure4, figure5_b2a
from vecaf.reporting.statistics import paired_difference

BUILDERS = {module.__name__.rpartition(".")[2]: module for module in (accuracy_cost, figure1b, figure4, figure5_b2a)}


def three_methods():
    return pd.concat(
        [
            cell(key("activeft"), 0, [0.0, 0.2, 0.4]),
            cell(key("activeft"), 1, [0.0, 0.4, 0.6]),
            cell(key("vecaf"), 0, [0.0, 0.4, 0.6]),
            cell(key("vecaf"), 1, [0.0, 0.6, 0.8]),
            cell(FULL, 0, [0.0, 0.2, 0.4], loops=1, selecting=0.0),
        ]
    )


KEYS = (key("activeft"), key("vecaf"), FULL)


def built(name, table=None, **more):
    table = three_methods() if table is None else table
    return BUILDERS[name].build(rows_of(table), told(*KEYS, exhibit=name, **more), table)


def csv(found):
    return pd.read_csv(io.StringIO(found.to_csv_text()))


@pytest.mark.parametrize("name", BUILDERS)
def test_equal_numbers_give_equal_files_with_their_caption(name, tmp_path):
    texts = []
    for number in range(2):
        found = built(name)
        png, pdf = tmp_path / f"{number}.png", tmp_path / f"{number}.pdf"
        found.save(png, pdf)
        texts.append((png.read_bytes(), pdf.read_bytes(), found.to_csv_text(), found.caption))
    assert texts[0] == texts[1]
    assert Image.open(tmp_path / "0.png").text["Description"] == found.caption
    assert "CreationDate" not in texts[0][1].decode("latin-1")
    for said in ("digits/vit/{activeft,vecaf}/5pct/2loops/seed{0,1}", "A note.", "Configuration abc."):
        assert said in found.caption


@pytest.mark.parametrize("name", BUILDERS)
def test_nothing_is_cut_off(name):
    """Every word of a figure lies inside it."""
    canvas = built(name).canvas
    canvas.draw_without_rendering()
    whole = canvas.bbox
    renderer = canvas.canvas.get_renderer()
    texts = [text for text in canvas.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text().strip()]
    assert len(texts) > 10
    for text in texts:
        box = text.get_window_extent(renderer)
        if text.get_visible() and box.width and text.get_clip_on() is False and _ticked(text):
            assert box.x0 >= whole.x0 - 2, text
            assert box.x1 <= whole.x1 + 2, text
            assert box.y0 >= whole.y0 - 2, text
            assert box.y1 <= whole.y1 + 2, text


def _ticked(text):
    """Say whether a word is drawn: labels of ticks outside the axis are made, but not shown."""
    axes = text.axes
    if axes is None:
        return True
    ticks = [label for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels(which="both")]
    if text not in ticks:
        return True
    x, y = text.get_position()
    (left, right), (low, high) = axes.get_xlim(), sorted(axes.get_ylim())
    return left <= x <= right if text in axes.xaxis.get_ticklabels(which="both") else low <= y <= high


def test_figure1b_draws_means_over_seeds_in_percent():
    found = csv(built("figure1b"))
    vecaf = found[found["method"] == "vecaf"]
    assert vecaf["mean"].tolist() == pytest.approx([0, 50, 70])
    assert vecaf["low"].tolist() == pytest.approx([0, 40, 60])
    assert set(found[found["method"] == "full"]["n"]) == {1}
    assert "Dotted lines: a further loop begins (batches 20)." in built("figure1b").caption
    assert "table 1" not in built("figure1b").caption  # the paper prints nothing for these cells


def test_figure1b_shows_what_the_paper_prints_for_the_end():
    keys = [("imagenet", "deit_b_dino", "vecaf", "1pct", "3loops")]
    table = cell(keys[0], 0, [0.0, 0.5], loops=3)
    layout = told(*keys, backbones={"deit_b_dino": {"title": "DeiT-B"}})
    found = figure1b.build(rows_of(table), layout, table)
    assert set(csv(found)["paper_at_the_end"]) == {58.31}
    assert "Hollow marks" in found.caption


def test_figure4_states_its_smoothing_and_has_both_losses():
    found = built("figure4")
    assert "averaged over stretches of 1 batches (about 2% of the budget)" in found.caption
    table = csv(found)
    assert set(table["quantity"]) == {"loss", "probe_loss"}
    probe = table[(table["quantity"] == "probe_loss") & (table["method"] == "vecaf")]
    assert probe["mean"].tolist() == pytest.approx([2.0, 1.5, 1.3])


def test_figure5_counts_seeds_that_never_arrive():
    found = csv(built("figure5_b2a")).set_index("method")
    active = found.loc["activeft"]
    assert (active["reached"], active["n"]) == (1, 2)
    assert math.isnan(active["median_batches"])
    assert active["batches_by_seed"] == "0:not reached 1:30"
    assert active["batches_at_the_end"] == 40
    assert active["cells"] == "digits/vit/activeft/5pct/2loops/seed{0,1}"
    vecaf = found.loc["vecaf"]
    assert vecaf["batches_by_seed"] == "0:30 1:16.6667"  # 0 → 0.6 in 20 batches
    assert vecaf["median_batches"] == pytest.approx((30 + 50 / 3) / 2, rel=1e-5)
    assert vecaf["macs_by_seed"] == "0:50 1:27"
    words = [text.get_text() for axes in built("figure5_b2a").canvas.axes for text in axes.texts]
    assert words.count("reached by 1 of 2") == 2  # in both quantities
    assert words.count("reached by 0 of 1") == 2


def test_figure5_stands_beside_the_paper_and_says_what_the_paper_cannot_have():
    places = [("vecaf", "1pct", "3loops"), ("learning_loss", "1pct", "3loops"), ("full", "100pct", "single")]
    keys = [("imagenet", "deit_b_dino", *place) for place in places]
    table = pd.concat([cell(k, 0, [0.0, 0.6]) for k in keys])
    layout = told(*keys, exhibit="figure5_b2a", backbones={"deit_b_dino": {"title": "DeiT-B"}})
    layout["b2a_levels"] = {"imagenet": [45, 50]}
    built = figure5_b2a.build(rows_of(table), layout, table)
    found = csv(built).set_index(["method", "level"])
    assert found.loc[("vecaf", 50), "paper_batches"] == 3075
    assert found.loc[("full", 50), "paper_batches"] == 10250
    assert math.isnan(found.loc[("vecaf", 45), "paper_batches"])
    assert found.loc[("learning_loss", 50), "paper_ends_below_at"] == 49.89
    assert found["paper_ends_below_at"].notna().sum() == 1
    assert "cannot come from its own fixed budgets" in built.caption
    assert "Imagenet at 50 %: Learning_Loss, 1 % (49.89)." in built.caption


def test_the_papers_levels_and_what_it_cannot_have(paper):
    """By its own table 1 no baseline ends at 65 % on Caltech-101 with 2 or 5 %, and nor does full finetuning."""
    layout = paper.curves_layout("figure5_b2a")
    assert layout["b2a_levels"] == {"cifar10": [90], "caltech101": [65], "imagenet": [45, 50]}
    cells = [c for c in paper.cells("figure5_b2a") if c.dataset == "caltech101" and c.seed == 0]
    keys = [(c.dataset, c.backbone, c.method, c.ratio, c.schedule) for c in cells]
    table = pd.concat([cell(k, 0, [0.0, 0.6]) for k in keys])
    found = csv(figure5_b2a.build(rows_of(table), layout, table))
    short = found[found["paper_ends_below_at"].notna()]
    baselines = {(m, r) for m in ("learning_loss", "ta_vaal", "alfa_mix", "activeft") for r in ("2pct", "5pct")}
    assert set(zip(short["method"], short["ratio"], strict=True)) == baselines | {("full", "100pct")}


def budgets(second=0.8, others=()):
    """Random sets at 40 and 160 batches, and VeCAF at a cost of 80: half way in the logarithm; others: keys at 160."""
    keys = (key("random"), key("random_long"), key("vecaf"), *others)
    table = pd.concat(
        [
            cell(keys[0], 0, [0.0, 0.6], selecting=0.0),
            cell(keys[1], 0, [0.0, second], budget=160, selecting=0.0),
            cell(keys[2], 0, [0.0, 0.9], selecting=20.0),
            *(cell(other, 0, [0.0, 0.1], budget=160, selecting=0.0) for other in others),
        ]
    )
    layout = told(*keys, exhibit="accuracy_cost")
    for method in layout["variants"]:
        layout["variants"][method] = {"of": method.partition("_")[0], "in_budget_alone": method != "random_union"}
    return table, layout


def test_random_at_equal_cost_by_hand():
    assert accuracy_cost.at_cost([(160.0, 0.8), (40.0, 0.6)], 80.0) == pytest.approx(0.7)
    assert accuracy_cost.at_cost([(40.0, 0.6), (160.0, 0.8)], 160.0) == pytest.approx(0.8)
    assert accuracy_cost.at_cost([(40.0, 0.6)], 40.0) == 0.6
    assert accuracy_cost.at_cost([(40.0, 0.6), (160.0, 0.8)], 161.0) is None  # no guess outside
    assert accuracy_cost.at_cost([], 1.0) is None


def test_accuracy_against_cost_compares_with_random_sets_of_the_same_cost():
    table, layout = budgets()
    found = csv(accuracy_cost.build(rows_of(table), layout, table)).set_index("method")
    assert found.loc["vecaf", "macs"] == 80
    assert found.loc["vecaf", "random_at_equal_macs_percent"] == pytest.approx(70)
    assert found.loc["vecaf", "minus_random_estimate_points"] == pytest.approx(20)
    assert math.isnan(found.loc["random", "random_at_equal_macs_percent"])
    dashed = figure.looks(["random", "random_long"], {"random_long": "random"})
    assert dashed["random"].colour == dashed["random_long"].colour
    assert dashed["random"].filled
    assert not dashed["random_long"].filled


def test_random_sets_of_another_kind_or_schedule_are_no_budget():
    table, layout = budgets(others=(key("random_union"), key("random_long", schedule="single")))
    found = csv(accuracy_cost.build(rows_of(table), layout, table)).set_index(["method", "schedule"])
    assert found.loc[("vecaf", "2loops"), "random_at_equal_macs_percent"] == pytest.approx(70)
    assert found.loc[("random_union", "2loops"), "random_at_equal_macs_percent"] == pytest.approx(80)


def test_final_accuracy_is_of_the_whole_test_set():
    table, layout = budgets()
    found = csv(accuracy_cost.build(rows_of(table, vecaf=0.75), layout, table)).set_index("method")
    assert found.loc["vecaf", "top1_percent"] == pytest.approx(75)


def test_differences_are_paired_by_seed():
    table, layout = budgets()
    other = pd.concat([t.assign(seed=1) for t in (table,)])
    both = pd.concat([table, other])
    rows = rows_of(both)
    rows.loc[(rows["method"] == "vecaf") & (rows["seed"] == 1), "top1"] = 0.8
    found = csv(accuracy_cost.build(rows, layout, both)).set_index("method").loc["vecaf"]
    hand = paired_difference({0: 0.9, 1: 0.8}, {0: 0.7, 1: 0.7})
    assert found["minus_random_estimate_points"] == pytest.approx(100 * hand.estimate)
    assert found["minus_random_high_points"] == pytest.approx(100 * hand.high, rel=1e-4)


def test_methods_keep_their_look_and_new_ones_get_their_own():
    looks = figure.looks(["vecaf", "mine", "yours", "full"], {})
    assert looks["vecaf"] == figure.LOOKS["vecaf"]
    assert looks["mine"] != looks["yours"]
    assert len({(look.colour, look.marker) for look in looks.values()}) == 4
