"""The grid: which cells an exhibit shows, what each step of a cell is told, and what cells share."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecaf import artifacts, augmentation, config, seeds
from vecaf.config.merging import merge
from vecaf.grid import Cell
from vecaf.ratio import ratio_of, subset_size, times
from vecaf.selection import activeft, learning_loss, ods
from vecaf.selection.learning_loss import LossHead
from vecaf.study import Study

TABLES = [f"table{number}" for number in range(1, 8)]
CAT_ALONE = "vecaf_cat_selection"
CONTROLS = {"vecaf_uniform"}  # rows of the paper's tables that the paper does not have


def digits(method="vecaf", dataset="digits", seed=0):
    return Cell(dataset, "vit_digits", method, "5pct", "3loops", seed)


def cifar10(method, ratio="1pct", schedule="3loops", dataset="cifar10"):
    return Cell(dataset, "deit_b_dino", method, ratio, schedule, 0)


def test_the_papers_grid_is_exactly_its_tables(paper):
    shown = [set(paper.cells(name)) for name in TABLES]
    assert len(shown[0]) == 228
    assert Counter(cell.method for cell in shown[0]) == {
        "learning_loss": 54,
        "ta_vaal": 42,
        "alfa_mix": 42,
        "activeft": 54,
        "vecaf": 27,
        "full": 9,
    }
    seen, added = set(), []
    for cells in shown:
        cells = {cell for cell in cells if cell.method not in CONTROLS}
        added.append(len(cells - seen))
        seen |= cells
    assert added == [228, 36, 12, 0, 69, 18, 9]
    assert len(seen) == 372


def test_the_control_of_table_6_adds_nine_cells_to_the_papers_grid(paper):
    tables = paper.cells(*TABLES)
    assert len(tables) == len(set(tables)) == 372 + 9
    controls = [cell for cell in tables if cell.method in CONTROLS]
    assert len(controls) == 9
    assert set(controls) <= set(paper.cells("table6"))
    assert not set(controls) & set(paper.cells(*(name for name in TABLES if name != "table6")))


def test_figures_add_three_cells(paper):
    figures = [name for name in paper.exhibits("figure") if name.startswith("figure")]
    assert len(figures) == 5
    extra = set(paper.cells(*TABLES, *figures)) - set(paper.cells(*TABLES))
    assert extra == {Cell("imagenet", "deit_b_dino", "alfa_mix", "1pct", "3loops", seed) for seed in range(3)}


def test_what_shows_readings_shares_its_cells(paper):
    """58 methods on one dataset, two on three more, three seeds each; those of tables 1 and 6 are theirs, too."""
    cells = paper.cells("readings")
    assert len(cells) == (58 + 2 * 3) * 3
    assert cells == paper.cells("deviations") == paper.cells("specification_curve")
    shared = {(cell.dataset, cell.method) for cell in set(cells) & set(paper.cells(*TABLES))}
    assert shared == {(dataset, method) for dataset in ("cifar10", "caltech101") for method in ("vecaf", "activeft")}


def test_cells_the_paper_does_not_report_carry_its_reason_and_plan_nothing(paper):
    skipped = {cell: reason for cell, reason in paper.shown("table1").items() if reason}
    assert len(skipped) == 24
    assert {cell.method for cell in skipped} == {"ta_vaal", "alfa_mix"}
    assert all(cell not in paper.cells("table1") for cell in skipped)
    rows = {row[0]: row for row in paper.expected("table1")}
    assert len(rows) == 252
    assert all(rows[str(cell)][1:] == [None, "not reported", reason, {}] for cell, reason in skipped.items())


def test_subset_sizes_are_exact():
    assert [subset_size(f"{percent}pct", 1_281_167) for percent in (1, 2, 4, 100)] == [
        12_811,
        25_623,
        51_246,
        1_281_167,
    ]
    assert subset_size("0.29pct", 10_000) == 29  # 0.29 / 100 · 10000 is 28.999… in floating point


@given(st.integers(1, 10**7), st.integers(1, 1000))
def test_subset_size_is_the_floor_of_the_exact_product(pool, thousandths):
    token = f"{thousandths / 10:g}pct"
    k = subset_size(token, pool)
    assert k <= ratio_of(token) * pool < k + 1
    assert ratio_of(token) == Fraction(thousandths, 1000)


def test_batches_of_the_loops(paper):
    assert paper.batches("imagenet", "vecaf", "3loops") == [(0, 4167), (4167, 8334), (8334, 12500)]
    assert paper.batches("cifar10", "vecaf", "single") == [(0, 750)]
    assert paper.batches("cifar10", "learning_loss", "single") == [(0, 250), (250, 750)]
    for loops in (2, 3, 4, 5):
        spans = paper.batches("cifar10", "vecaf", f"{loops}loops")
        assert len(spans) == loops
        assert spans[0][0] == 0
        assert spans[-1][1] == 750
        assert all(before[1] == after[0] and after[1] > after[0] for before, after in pairwise(spans))


def test_streams_are_shared_by_methods_and_not_by_seeds(demo):
    cells = [digits(method) for method in ("vecaf", "activeft", "random")]
    streams = [demo.finetune_params(cell, 2)["seeds"] for cell in cells]
    assert streams[0] == streams[1] == streams[2]
    other = digits(seed=1)
    assert demo.finetune_params(other, 2)["seeds"]["batches"] != streams[0]["batches"]
    assert demo.finetune_params(other, 2)["seeds"]["probe"] == streams[0]["probe"]


def test_parameters_hold_only_what_a_step_uses(demo):
    """Changing CEA's step must reach finetuning, and neither the selection of loop 1 nor any other method."""
    changed = demo.config.model_copy(deep=True)
    changed.methods["vecaf"].cea.step = 0.2
    after, vecaf, random = Study(changed), digits(), digits("random")
    assert demo.selection_params(vecaf, 1) == after.selection_params(vecaf, 1)
    assert demo.first_selection(vecaf) == after.first_selection(vecaf)
    assert demo.finetune_params(vecaf, 1) != after.finetune_params(vecaf, 1)
    assert demo.digest(vecaf) != after.digest(vecaf)
    assert demo.digest(random) == after.digest(random)


def test_a_cells_digest_sees_how_it_is_scored(demo):
    changed = demo.config.model_copy(deep=True)
    changed.datasets["digits"].embedding_dtype = "float16"
    cell = digits()
    assert Study(changed).digest(cell) != demo.digest(cell)


def test_equal_first_selections_share_a_name(paper):
    def name(method, schedule="3loops"):
        return paper.first_selection(cifar10(method, schedule=schedule))

    assert name("activeft") == name("activeft", "single") == name("activeft_cea")
    assert name("vecaf") == name("vecaf_no_cea")  # CEA reaches the pool from loop 2 on
    assert name("vecaf") != name("vecaf_uniform")
    assert name("vecaf") != name("vecaf_snow")  # a prompt shifts the pool in loop 1 already
    assert name("top_k_loss") != name("top_k_loss_cat")  # other losses
    assert name("activeft") == name("activeft_cat")  # reads no losses


def test_a_multiple_of_a_ratio_is_exact(paper):
    cell = cifar10("activeft", "0.5pct", "single_3x")
    assert times("0.1pct", 3) == "0.3pct"
    assert times("100pct", 1) == "100pct"
    assert paper.selection_params(cell, 1)["ratio"] == "1.5pct"
    plain = cifar10("activeft", "1.5pct", "single")
    assert paper.selection_params(cell, 1) == paper.selection_params(plain, 1)
    assert paper.first_selection(cell) == paper.first_selection(plain)


def test_a_longer_budget_is_a_multiple_of_the_datasets(paper):
    assert paper.batches("cifar10", "activeft_long", "3loops") == [(0, 1000), (1000, 2000), (2000, 3000)]
    cell = cifar10("activeft_long")
    assert paper.finetune_params(cell, 3)["total"] == 3000
    assert paper.first_selection(cell) == paper.first_selection(replace(cell, method="activeft"))


def test_what_a_method_leaves_open_is_the_datasets(paper):
    def params(method, dataset):
        return paper.selection_params(cifar10(method, dataset=dataset), 1)["params"]

    assert (params("activeft", "imagenet")["rows"], params("activeft", "cifar10")["rows"]) == (100_000, None)
    changed = paper.config.model_copy(deep=True)
    changed.methods["activeft"].activeft = activeft.Params(rows=7)
    own = Study(changed).selector_params("activeft", dataset="imagenet")
    assert (own["rows"], own["iterations"]) == (7, 100)
    said = paper.layout("table1")["readings"]
    assert said["activeft"]["activeft.rows"] is None
    assert said["ActiveFT on ImageNet-1K"] == {"activeft.iterations": 100, "activeft.rows": 100_000}


def test_what_a_table_rests_on_stands_under_it(paper, paper_raw):
    """Not the selector's and CEA's parameters alone: also texts, the optimiser, transforms and splits."""
    told = paper.layout("table5")["readings"]
    assert [told[method]["encoder"] for method in ("vecaf", "vecaf_bert_l")] == ["clip_l", "bert_l"]
    assert {told[method]["captioner"] for method in told} == {"blip2"}
    assert paper.layout("table3")["readings"]["vecaf_snow"]["prompt"] == "snow"
    assert not {"captioner", "encoder", "prompt"} & set(paper.layout("table6")["readings"]["vecaf_no_cea"])
    (said,) = [note for note in paper.layout("table1")["notes"] if note.startswith("Caltech-101: ")]
    for choice in ("optimizer_state carry", "eval_transform squash224", "split_rule stratified_80_20"):
        assert choice in said
    variants = ["vecaf", "vecaf_recipe_released", "activeft_class_mean"]
    blocks = [{"datasets": {"cifar10": ["2pct"]}, "methods": variants}]
    raw = merge(paper_raw, {"exhibits": {"table7": {"blocks": blocks}}})
    told = Study(config.load(raw)).layout("table7")["readings"]
    assert told["vecaf_recipe_released"]["training.recipe"] == "released"
    assert told["activeft_class_mean"]["head"] == "class_mean"
    assert "training.recipe" not in told["vecaf"]


def test_a_loss_head_is_told_to_the_steps_that_train_and_read_it(paper):
    cell = cifar10("learning_loss")
    assert paper.finetune_params(cell, 1)["loss_head"]["criterion"] == "margin"
    assert paper.finetune_params(replace(cell, method="ta_vaal"), 1)["loss_head"]["criterion"] == "ranking"
    assert paper.score_params(cell)["loss_head"] == 128
    assert "loss_head" not in paper.selection_params(cell, 2)["params"]
    plain = replace(cell, method="activeft")
    assert "loss_head" not in paper.finetune_params(plain, 1) | paper.score_params(plain)


def test_a_fresh_loss_head_is_drawn_anew_in_every_loop(paper):
    def drawn(carry):
        changed = paper.config.model_copy(deep=True)
        changed.methods["learning_loss"].learning_loss = learning_loss.Params(loss_head=LossHead(carry=carry))
        study = Study(changed)
        cell = cifar10("learning_loss")
        return len({study.finetune_params(cell, loop)["seeds"]["loss_head"] for loop in (1, 2, 3)})

    assert (drawn(True), drawn(False)) == (1, 3)


def test_what_a_cap_leaves_stands_beside_the_title(paper):
    assert "25,000" in paper.layout("table1")["methods"]["ta_vaal"]
    assert paper.layout("table1")["methods"]["vecaf"] == "VeCAF"
    assert "Yoo & Kweon" in paper.layout("table1")["cards"]["learning_loss"]


@pytest.mark.parametrize("schedule", ["single", "2loops", "3loops", "4loops", "5loops"])
def test_readings_are_complete(paper, schedule):
    known = {f"ods.{name}" for name in ods.Params.model_fields}
    known |= {f"cea.{name}" for name in augmentation.Readings.model_fields}
    assert paper.readings("vecaf", schedule).keys() >= known | {"objective"}


# --- variants of a dataset, and one class against all others in selection alone ---------------------------------------

# Streams, and the rest of what they hash, of a cell with CEA on a backbone that the pool itself pretrains.
STREAMS = {
    **{name: [{}] for name in ("split", "tuning", "probe", "curve", "captions", "text")},
    **{name: [{"backbone": "vit_digits"}] for name in ("pretrain", "projection")},
    "head": [{"seed": 1, "backbone": "vit_digits"}],
    "centroids": [{"seed": 1, "ratio": "5pct", "member": 0}],
    "random_set": [{"seed": 1, "ratio": "5pct", "loop": loop} for loop in (1, 2, 3)],
    **{name: [{"seed": 1, "loop": loop} for loop in (1, 2, 3)] for name in ("batches", "augmentation")},
}


def drawn(value, below=False):
    """Return every number that stands under a key `seed` or `seeds`."""
    if isinstance(value, dict):
        return set().union(*(drawn(part, below or key in ("seed", "seeds")) for key, part in value.items()), set())
    if isinstance(value, list):
        return set().union(*(drawn(part, below) for part in value), set())
    return {value} if below else set()


@pytest.fixture(scope="module")
def variants(demo_raw):
    """The demo with a variant of its dataset, a variant of that, and a dataset of its own that is the same."""
    digits = {key: value for key, value in demo_raw["datasets"]["digits"].items() if key != "extends"}
    more = {
        "tuned": {"extends": "digits", "title": "T", "judged_on": "tuning", "batches": 9, "seeds": [100]},
        "wide": {"extends": "tuned", "title": "W", "input_size": 32, "eval_transform": "resize256_crop224"},
        "other": digits | {"title": "O"},
    }
    return Study(config.load(merge(demo_raw, {"datasets": more})))


def test_what_only_borrows_settings_is_a_dataset_of_its_own(paper_raw):
    more = {"mine": {"extends": "cifar10", "title": "Mine", "root": "elsewhere"}}
    study = Study(config.load(merge(paper_raw, {"datasets": more | {"again": {"extends": "mine", "title": "A"}}})))
    assert [study.origin(name) for name in ("mine", "again", "cifar10_crop224")] == ["mine", "mine", "cifar10"]


@pytest.mark.parametrize("dataset", ["digits", "tuned", "wide"])
def test_a_variant_of_a_dataset_shares_every_seed_of_its_origin(variants, dataset):
    """Against the definition of each stream, with the origin's name."""
    found = drawn(variants.resolved(digits(dataset=dataset, seed=1)))
    hashed = {seeds.stream(name, dataset="digits", **more) for name, meanings in STREAMS.items() for more in meanings}
    assert found == hashed
    trained = drawn(variants.resolved(digits("learning_loss", dataset, 1)))
    assert seeds.stream("loss_head", seed=1, dataset="digits", backbone="vit_digits") in trained


def test_what_is_trained_in_one_precision_is_read_in_it(demo_raw):
    more = {
        "datasets": {"digits": {"training": {"precision": "bfloat16"}}},
        "methods": {"exact": {"extends": "vecaf", "title": "E", "training": {"precision": "float32"}}},
    }
    study = Study(config.load(merge(demo_raw, more)))
    assert study.reading_params("digits", "vit_digits")["precision"] == "bfloat16"
    for method, precision in (("vecaf", "bfloat16"), ("exact", "float32")):
        cell = digits(method)
        told = [study.score_params(cell), study.evaluate_params(cell), study.evaluate_ood_params(cell, "snow")]
        assert {params["precision"] for params in told} == {precision}
        assert study.finetune_params(cell, 1)["training"]["precision"] == precision
        assert "precision" not in study.finetune_params(cell, 1)


def test_corrupted_sets_have_a_part_in_the_digest_of_what_is_judged_on_them_alone(demo_raw):
    cell = digits()
    changes = [{}, {"ood": {"severities": [1, 5]}}, {"datasets": {"digits": {"corrupted_root": "elsewhere"}}}]
    studies = [Study(config.load(merge(demo_raw, change))) for change in changes]
    assert len({study.digest(cell) for study in studies}) == 1
    assert len({study.digest(cell, "snow") for study in studies} | {studies[0].digest(cell)}) == 4
    told = studies[0].evaluate_ood_params(cell, "snow")["resolved"]
    assert artifacts.digest(told) == studies[0].digest(cell, "snow")


def test_a_dataset_of_its_own_shares_no_seed(variants):
    cells = [digits(dataset=dataset, seed=1) for dataset in ("digits", "other")]
    first, second = (drawn(variants.resolved(cell)) for cell in cells)
    assert len(first) == len(second) == sum(map(len, STREAMS.values()))
    assert not first & second


def test_what_a_variant_shares_leaves_its_digest_its_own(variants):
    cells = [digits(dataset=name, seed=1) for name in ("digits", "tuned", "wide", "other")]
    assert len({variants.digest(cell) for cell in cells}) == 4


def test_captions_of_a_variant_are_the_origins_where_the_pool_is_the_same(paper, variants):
    assert paper.captioned("cifar10_crop224") == "cifar10"
    assert paper.captioned("caltech101_30") == "caltech101_30"  # another split: other images under the same ids
    assert (variants.captioned("tuned"), variants.captioned("wide")) == ("tuned", "wide")
    assert variants.captioned("other") == "other"


def test_the_pool_step_is_told_what_it_is_judged_on(paper, variants):
    assert paper.pool_params("cifar10")["judged_on"] == "test"
    assert variants.pool_params("tuned")["judged_on"] == variants.pool_params("wide")["judged_on"] == "tuning"


def test_one_class_in_selection_alone_is_scored_against_all_and_trained_on_each(paper):
    plain, alone = (cifar10(name, "2pct") for name in ("vecaf_cat", CAT_ALONE))
    against_all = {"one_vs_all": "cat", "form": "logsumexp"}
    for cell in (plain, alone):
        assert paper.score_params(cell)["objective"] == against_all
        assert paper.resolved(cell)["head"]["objective"] == against_all
        assert paper.evaluate_params(cell)["objective"] == against_all
    assert [paper.finetune_params(plain, loop)["objective"] for loop in (1, 2, 3)] == [against_all] * 3
    assert [paper.finetune_params(alone, loop)["objective"] for loop in (1, 2, 3)] == ["multiclass"] * 3
    assert paper.digest(plain) != paper.digest(alone)


def test_one_class_in_selection_alone_shares_losses_and_first_selection_with_the_plain_one(paper):
    def first(method):
        return paper.first_selection(cifar10(method, "2pct"))

    assert paper.objective("vecaf_cat") == paper.objective(CAT_ALONE) == "cat_logsumexp"
    assert first("vecaf_cat") == first(CAT_ALONE)
    assert paper.objective("vecaf_cat_sum") == "cat_sum"
    assert len({first(method) for method in ("vecaf", "vecaf_cat", "vecaf_cat_sum", "vecaf_deer")}) == 4


def test_methods_that_share_the_name_of_an_objective_score_by_the_same(paper):
    """Paths of losses hold the name alone."""
    scored = {}
    for method in paper.config.methods:
        scored.setdefault(paper.objective(method), set()).add(artifacts.canonical(paper.objective_params(method)))
    assert {len(params) for params in scored.values()} == {1}
    assert len(set().union(*scored.values())) == len(scored) >= 6


def test_the_pools_own_objective_is_trained_by_all_other_methods(paper):
    for method in paper.config.methods:
        if "selection" not in method:
            assert paper.trained_objective(method) == paper.objective_params(method)
