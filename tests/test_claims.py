"""Assertions in the paper's terms: which numbers they mean, what they may not name, and other data in their place."""

import pytest

from vecaf import claims, config
from vecaf.config.claims import Assertion
from vecaf.config.merging import merge
from vecaf.errors import ConfigError
from vecaf.study import Study

TABLES = ("table1", "table2", "table3", "table5", "table6", "table7")
PLACES = [
    {"dataset": dataset, "backbone": "b", "method": method, "ratio": ratio, "schedule": schedule}
    for dataset, ratios in {"cifar": ["1pct", "2pct"], "image": ["1pct", "4pct"]}.items()
    for ratio in ratios
    for method in ("ours", "other", "third")
    for schedule in ("single", "3loops")
    if (dataset, ratio, method) != ("image", "4pct", "third")
] + [
    {"dataset": d, "backbone": "b", "method": "full", "ratio": "100pct", "schedule": "single"}
    for d in ("cifar", "image")
]


def labels(places=PLACES, **says):
    says = {"exhibit": "table1", "above": 0, **says}
    return [comparison["label"] for comparison in claims.resolve(Assertion(**says), places)]


def test_both_sides_agree_in_what_neither_names():
    assert labels(where={"schedule": "3loops"}, of={"method": "ours"}, minus={"method": "other"}) == [
        "ours − other, cifar 1pct",
        "ours − other, cifar 2pct",
        "ours − other, image 1pct",
        "ours − other, image 4pct",
    ]
    both = labels(where={"method": ["ours", "other"]}, of={"schedule": "3loops"}, minus={"schedule": "single"})
    assert both[:2] == ["3loops − single, cifar ours 1pct", "3loops − single, cifar other 1pct"]
    assert len(both) == 8


def test_each_rival_of_a_list_is_compared_where_it_stands():
    found = labels(where={"schedule": "3loops"}, of={"method": "ours"}, minus={"method": ["other", "third"]})
    assert len(found) == 7
    assert not [label for label in found if "third" in label and "4pct" in label]


def test_a_rival_with_a_ratio_of_its_own_stands_beside_all_ratios():
    full = {"method": "full", "schedule": "single", "ratio": "100pct"}
    found = claims.resolve(
        Assertion(exhibit="table1", of={"method": "ours", "schedule": "3loops"}, minus=full, above=0), PLACES
    )
    assert len(found) == 4
    assert {PLACES[comparison["minus"][0]]["ratio"] for comparison in found} == {"100pct"}
    # Without its schedule there would be none in three loops.
    assert (
        labels(where={"schedule": "3loops"}, of={"method": "ours"}, minus={"method": "full", "ratio": "100pct"}) == []
    )


def test_an_order_compares_neighbours_that_exist_at_equal_other_keys():
    says = {"where": {"schedule": "3loops"}, "of": {"method": "ours"}, "minus": {"method": "other"}}
    assert labels(**says, along={"dataset": ["cifar", "image"]}) == ["ours − other, cifar → image, 1pct"]
    steps = labels(where={"method": "ours", "schedule": "single"}, along={"ratio": ["1pct", "2pct", "4pct"]})
    assert steps == ["1pct → 2pct, cifar", "1pct → 4pct, image"]


def test_what_a_number_does_not_state_is_not_asked_for():
    figure5 = [
        {"dataset": "i", "method": "ours", "ratio": "1pct"},
        {"dataset": "i", "method": "full", "schedule": "single"},
    ]
    full = {"method": "full", "schedule": "single"}
    assert len(labels(figure5, of=full, over={"method": "ours", "schedule": "3loops", "ratio": "1pct"})) == 1


def test_a_side_that_fits_several_numbers_is_refused():
    with pytest.raises(
        ConfigError, match=r"minus third fits several numbers: .*single; .*3loops; name more of the key"
    ):
        labels(of={"method": "ours", "schedule": "3loops"}, minus={"method": "third"})
    encoders = [{"dataset": "cifar", "method": "ours", "encoder": name} for name in ("bert", "clip")]
    with pytest.raises(ConfigError, match="method ours fits several numbers at cifar; name more of the key"):
        labels(encoders, along={"method": ["ours", "other"]})


# --- in the configuration -----------------------------------------------------------------------------------------


def study(raw, **changes):
    return Study(config.load(merge(raw, {"claims": changes} if changes else {})))


def problems(raw, *says, **more):
    """Return the problems of one claim, without the beginning of its key."""
    alone = dict.fromkeys(raw["claims"]["statements"]) | {"mine": {"statement": "s", "holds_if": list(says), **more}}
    found = claims.problems(study(raw, statements=alone), TABLES)
    return [text.removeprefix("claims.statements.mine.") for text in found]


def test_every_statement_of_the_paper_is_a_claim(paper_raw):
    from vecaf.reporting import paper

    assert set(paper.statements()["id"]) == set(paper_raw["claims"]["statements"])
    assert claims.problems(study(paper_raw), TABLES) == []


def test_a_claim_that_names_what_does_not_exist_is_refused_with_its_key(paper_raw):
    gain = {"exhibit": "table1", "of": {"method": "vecaf"}, "minus": {"method": "activeft"}, "above": 0}
    three = {"where": {"schedule": "3loops"}}
    assert problems(paper_raw, {**gain, **three}) == []
    for change, expected in (
        ({"exhibit": "table9"}, "holds_if.0.exhibit: 'table9' is not one of"),
        ({"measure": "flopz"}, "holds_if.0.measure: 'flopz' is not one of batches_to_accuracy, flops"),
        ({"of": {"method": "vecav"}}, "holds_if.0.of.method: 'vecav' is not one of activeft"),
        ({"minus": {"method": ["full", "actifeft"]}}, "holds_if.0.minus.method: 'actifeft' is not one of"),
        ({"where": {"dataset": "cifar100"}}, "holds_if.0.where.dataset: 'cifar100' is not one of caltech101"),
        ({"along": {"schedule": ["3loops", "6loops"]}}, "holds_if.0.along.schedule: '6loops' is not one of"),
        (
            {"where": {"dataset": "caltech101", "ratio": "1pct", "schedule": "3loops"}},
            "holds_if.0.of: table1 has no number of caltech101 1pct 3loops vecaf, in the paper or in this study",
        ),
        (
            {"where": {}, "of": {"method": "vecaf", "schedule": "3loops"}},
            "holds_if.0: minus activeft fits several numbers",
        ),
    ):
        (found,) = problems(paper_raw, {**gain, **three, **change})
        assert found.startswith(expected), found
    unnamed = "no sentence of the paper has this name; give it a `statement`"
    assert problems(paper_raw, {**gain, **three}, statement=None) == [f"claims.statements.mine: {unnamed}"]


def test_all_problems_are_told_together_before_a_plan(paper_raw):
    wrong = {"exhibit": "table8", "of": {"method": "vecav"}, "above": 0}
    made = study(paper_raw, statements={"mine": {"statement": "s", "holds_if": [wrong]}})
    with pytest.raises(ConfigError, match=r"(?s)2 problems in the claims:.*table8.*vecav"):
        claims.plan(made, TABLES)


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ({"exhibit": "table1", "abov": 1}, r"holds_if\.0\.abov: unknown key"),
        ({"exhibit": "table1", "of": {"methods": "vecaf"}, "above": 1}, r"holds_if\.0\.of\.methods: unknown key"),
        ({"exhibit": "table1"}, "needs one threshold, above or below"),
        ({"exhibit": "table1", "above": 0, "below": 1}, "needs one threshold, above or below"),
        ({"above": 0}, "names no exhibit and no measure"),
        ({"exhibit": "table1", "minus": {}, "over": {}, "above": 0}, "two assertions"),
        ({"exhibit": "table1", "along": {"ratio": ["1pct"]}, "above": 0}, "at least 2 items"),
        ({"exhibit": "table1", "across": "most", "above": 0}, "'all', 'any' or 'mean'"),
    ],
)
def test_what_is_no_assertion_is_refused_with_the_configuration(paper_raw, says, sentence):
    with pytest.raises(ConfigError, match=sentence):
        study(paper_raw, statements={"mine": {"statement": "s", "holds_if": [says]}})


# --- on other data ------------------------------------------------------------------------------------------------


def test_stand_ins_ask_the_same_claims_of_other_data(demo_raw):
    demo = study(demo_raw)
    told = {claim["id"]: claim for claim in claims.plan(demo, TABLES)["claims"]}
    says, asks = told["beats_full_at_1pct"]["holds_if"][0]
    assert says["of"]["ratio"] == "1pct"
    assert asks["of"]["ratio"] == "5pct"
    assert asks["minus"]["ratio"] == "100pct"  # what has no stand-in stays
    assert told["gain_cifar_below_1"]["holds_if"][0][1]["where"] == {"dataset": "digits", "schedule": "3loops"}
    assert told["gain_grows_with_complexity"]["holds_if"][0][1]["along"]["dataset"][0] == "digits"
    there = claims.places(demo, "table1")
    assert {place["cell"][0] for place in there} == {"digits"}


def test_a_stand_in_that_this_study_does_not_have_is_refused(demo_raw):
    made = study(demo_raw, stand_ins={"dataset": {"imagenet": "digitz"}})
    assert claims.problems(made, TABLES) == [
        "claims.stand_ins.dataset.imagenet: 'digitz' is not one of " + ", ".join(sorted({*made.config.datasets}))
    ]


def test_a_study_without_an_exhibit_says_so(demo_raw):
    without = {**demo_raw, "shows": [name for name in demo_raw["shows"] if name != "table3"]}
    plan = claims.plan(study(without), TABLES)
    assert plan["lacking"]["table3"] == "this study shows no table3"
    assert "table3" not in plan["places"]


def test_tables_name_their_cells_as_the_paper_does(paper):
    airplane = next(p for p in claims.places(paper, "table2") if p["cell"][2] == "vecaf_airplane")
    assert airplane["keys"]["method"] == "vecaf"
    assert airplane["keys"]["target_class"] == "airplane"
    assert airplane["column"] == "recall_argmax"
    encoders = {p["keys"]["encoder"]: p["cell"][2] for p in claims.places(paper, "table5")}
    assert encoders == {"clip_l": "vecaf", "bert_l": "vecaf_bert_l", "mt5_l": "vecaf_mt5_l", "gpt2_l": "vecaf_gpt2_l"}
    full = [p for p in claims.places(paper, "table1") if p["keys"]["method"] == "full"]
    assert len(full) == 3  # once for a dataset, though it spans the columns of its ratios
    skipped = [p for p in claims.places(paper, "table1") if p["cell"][2] == "ta_vaal" and p["cell"][0] == "imagenet"]
    assert {p["cell"][3] for p in skipped} == {"4pct"}
