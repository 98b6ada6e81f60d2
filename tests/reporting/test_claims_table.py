"""Verdicts on claims, by hand: intervals over seeds, several columns, what is missing, and the paper's own numbers."""

import json

import pandas as pd
import pytest

from vecaf import claims as planning
from vecaf.errors import ArtifactError, ConfigError
from vecaf.reporting import claims, paper, verdicts
from vecaf.reporting.layout import KEYS

GAIN = {"exhibit": "table1", "of": {"method": "ours"}, "minus": {"method": "other"}, "above": 0}


def cell(method="ours", dataset="d", ratio="1pct"):
    return dict(zip(KEYS, (dataset, "b", method, ratio, "3loops"), strict=True))


def judged(numbers, *says, measures=None, lacking=None, others=()):
    """Return the first record of a claim; numbers: [cell, seed → accuracy in percent, or None for one to come]."""
    cells = [cell for cell, _ in numbers]
    rows = [
        {**cell, "seed": seed, "status": "not run" if value is None else "measured", "top1": value and value / 100}
        for cell, values in numbers
        for seed, value in enumerate(values)
    ]
    listing = claims.build(
        {
            "claims": [
                {
                    "id": name,
                    "statement": "s",
                    "where": "",
                    "kind": "",
                    "note": "",
                    "holds_if": [[one, one] for one in all_],
                }
                for name, all_ in {"mine": says, **dict(others)}.items()
            ],
            "places": {"table1": [{"keys": cell, "cell": list(cell.values()), "column": "top1"} for cell in cells]},
            "lacking": {"table1": "no table", **(lacking or {})},
            "stand_ins": {},
        },
        {"table1": pd.DataFrame(rows, columns=[*KEYS, "seed", "status", "top1"])},
        measures,
    )
    return listing.records[0] if not others else listing


def pair(ours, other, **where):
    return [(cell("ours", **where), ours), (cell("other", **where), other)]


def test_a_difference_by_hand():
    # Differences 1, 2, 3: mean 2, t(.975, 2) · 1/√3 = 2.484; p of t = 3.4641.
    found = judged(pair([91, 92, 93], [90, 90, 90]), GAIN)
    assert found["verdict"] == "undecided"
    assert (found["estimate"], found["n"]) == (pytest.approx(2), 3)
    assert found["low"] == pytest.approx(2 - 2.484138, abs=1e-5)
    assert found["p"] == pytest.approx(0.0741799, rel=1e-5)
    assert (found["cells"], found["planned"]) == (6, 6)


@pytest.mark.parametrize(
    ("ours", "threshold", "verdict"),
    [
        ([92, 92.1, 92.2], {"above": 0}, "holds"),
        ([92, 92.1, 92.2], {"above": 3}, "fails"),
        ([92, 92.1, 92.2], {"above": 2}, "undecided"),
        ([92, 92.1, 92.2], {"below": 2}, "undecided"),
        ([92, 92.1, 92.2], {"below": 3}, "holds"),
        ([92, 92.1, 92.2], {"below": 1}, "fails"),
        ([92, 92, 92], {"above": 2}, "undecided"),  # it touches
        ([92], {"above": 0}, "undecided"),  # one seed has no interval
        ([92, None, None], {"above": 0}, "undecided"),
        ([None, None, None], {"above": 0}, "not yet testable"),
    ],
)
def test_the_interval_decides(ours, threshold, verdict):
    says = {key: value for key, value in GAIN.items() if key != "above"} | threshold
    assert judged(pair(ours, [90, 90, 90]), says)["verdict"] == verdict


CLEAR, CLEARLY_NOT, OPEN = [92, 92.1, 92.2], [88, 88.1, 88.2], [91, 92, 93]


@pytest.mark.parametrize(
    ("columns", "all_of", "any_of"),
    [
        ((CLEAR, CLEAR), "holds", "holds"),
        ((CLEAR, OPEN), "undecided", "holds"),
        ((CLEAR, CLEARLY_NOT), "fails", "holds"),
        ((OPEN, CLEARLY_NOT), "fails", "undecided"),
        ((CLEARLY_NOT, CLEARLY_NOT), "fails", "fails"),
        ((CLEAR, [None] * 3), "undecided", "holds"),
        ((CLEARLY_NOT, [None] * 3), "fails", "undecided"),
    ],
)
def test_all_columns_need_each_and_any_needs_one(columns, all_of, any_of):
    numbers = [
        line
        for ratio, ours in zip(("1pct", "2pct"), columns, strict=True)
        for line in pair(ours, [90] * 3, ratio=ratio)
    ]
    assert judged(numbers, GAIN)["verdict"] == all_of
    assert judged(numbers, {**GAIN, "across": "any"})["verdict"] == any_of


def test_the_mean_over_columns_is_taken_seed_by_seed():
    numbers = [*pair([94, 90, 92], [90] * 3, ratio="1pct"), *pair([90, 94, 92], [90] * 3, ratio="2pct")]
    assert judged(numbers, GAIN)["verdict"] == "undecided"
    mean = judged(numbers, {**GAIN, "across": "mean"})
    assert mean["verdict"] == "holds"  # 2, 2, 2: columns differ, their mean does not
    assert (mean["estimate"], mean["low"], mean["high"]) == (2, 2, 2)


def test_p_of_what_was_picked_out_of_several_is_multiplied():
    numbers = [*pair(CLEARLY_NOT, [90] * 3, ratio="1pct"), *pair(OPEN, [90] * 3, ratio="2pct")]
    alone = judged(numbers[:2], GAIN)["p"]
    assert judged(numbers, GAIN)["p"] == pytest.approx(2 * alone)
    both = [*pair(CLEAR, [90] * 3, ratio="1pct"), *pair([93, 93.1, 93.3], [90] * 3, ratio="2pct")]
    weakest = max(judged(both[:2], GAIN)["p"], judged(both[2:], GAIN)["p"])
    assert judged(both, GAIN)["p"] == weakest


def test_p_of_the_assertion_that_fails_is_multiplied_too_since_it_was_picked():
    numbers = pair(CLEARLY_NOT, [90] * 3)
    alone = judged(numbers, GAIN)["p"]
    assert judged(numbers, GAIN, {**GAIN, "above": -9})["p"] == pytest.approx(2 * alone)
    both = judged(pair(CLEAR, [90] * 3), GAIN, {**GAIN, "above": -9})
    assert both["p"] == judged(pair(CLEAR, [90] * 3), GAIN)["p"]  # where each has to hold the weakest decides


def test_holm_runs_over_the_claims_that_have_a_p():
    numbers = [*pair(CLEAR, [90] * 3, ratio="1pct"), *pair(OPEN, [90] * 3, ratio="2pct")]
    one, two = ({**GAIN, "where": {"ratio": ratio}} for ratio in ("1pct", "2pct"))
    listing = judged(
        numbers, one, others={"second": [two], "third": [{"exhibit": "table1", "of": {"method": "x"}, "above": 0}]}
    )
    first, second, third = listing.records
    assert (third["verdict"], third["p"], third["holm_p"]) == ("not yet testable", None, None)
    assert first["holm_p"] == pytest.approx(2 * first["p"])
    assert second["holm_p"] == pytest.approx(second["p"])


def test_several_assertions_have_to_hold_together():
    numbers = pair(CLEAR, [90] * 3)
    assert judged(numbers, GAIN, {**GAIN, "above": 1})["verdict"] == "holds"
    assert judged(numbers, GAIN, {**GAIN, "above": 5})["verdict"] == "fails"
    elsewhere = {"measure": "none", "above": 0}
    assert judged(numbers, GAIN, elsewhere, lacking={"none": "not collected"})["verdict"] == "not yet testable"
    refuted = judged(numbers, {**GAIN, "above": 5}, elsewhere, lacking={"none": "not collected"})
    assert refuted["verdict"] == "fails"  # whatever the other says


def test_a_claim_about_all_that_it_names_is_open_while_one_is_missing():
    both = judged(pair(CLEAR, [90] * 3), {**GAIN, "where": {"ratio": ["1pct", "2pct"]}})
    assert (both["verdict"], both["reason"]) == ("undecided", "without 2pct")
    says = {**GAIN, "minus": {"method": ["other", "third"]}}
    found = judged(pair(CLEAR, [90] * 3), says)
    assert (found["verdict"], found["reason"]) == ("undecided", "without third")
    assert judged(pair(CLEARLY_NOT, [90] * 3), says)["verdict"] == "fails"
    assert judged(pair(CLEAR, [90] * 3), {**says, "across": "any"})["verdict"] == "holds"
    assert judged(pair(CLEARLY_NOT, [90] * 3), {**says, "across": "any"})["verdict"] == "undecided"


def test_an_order_along_a_key():
    numbers = [
        (cell(ratio=ratio), [at, at + 0.1, at + 0.1]) for ratio, at in (("1pct", 80), ("2pct", 85), ("4pct", 84))
    ]
    rising = {"exhibit": "table1", "along": {"ratio": ["1pct", "2pct", "4pct"]}, "above": 0}
    assert judged(numbers[:2], {**rising, "along": {"ratio": ["1pct", "2pct"]}})["verdict"] == "holds"
    assert judged(numbers[:2], rising)["verdict"] == "undecided"  # without 4pct
    found = judged(numbers, rising)
    assert found["verdict"] == "fails"
    grows = {**GAIN, "along": {"dataset": ["d", "e"]}}
    there = [*pair([92, 92.1, 92.2], [90] * 3), *pair([95, 95.1, 95.2], [90] * 3, dataset="e")]
    assert judged(there, grows)["estimate"] == pytest.approx(3)


# --- measures -----------------------------------------------------------------------------------------------------

COST = {
    "measure": "b2a",
    "where": {"metric": "batches"},
    "of": {"method": "other"},
    "over": {"method": "ours"},
    "above": 3,
}


def measure(ours, other):
    rows = [
        {**cell(method), "seed": seed, "batches": value}
        for method, values in (("ours", ours), ("other", other))
        for seed, value in enumerate(values)
    ]
    return {"b2a": pd.DataFrame(rows)}


def test_a_measure_makes_its_claim_testable():
    lacking = {"b2a": "not collected (measures/b2a.parquet)"}
    without = judged([], COST, lacking=lacking)
    assert (without["verdict"], without["reason"]) == ("not yet testable", "not collected (measures/b2a.parquet)")
    found = judged([], COST, lacking=lacking, measures=measure([100, 100, 100], [400, 410, 390]))
    assert (found["verdict"], found["estimate"]) == ("holds", pytest.approx(4))


def test_a_level_that_a_seed_never_reaches_is_not_averaged_over_the_others():
    found = judged([], COST, measures=measure([100, 100, 100], [400, 410, None]))
    assert (found["verdict"], found["cells"], found["planned"]) == ("not yet testable", 5, 6)
    assert found["reason"].startswith("1 of its 6 finished cells have no such number: a level that they do not reach")


def test_a_measure_may_have_keys_of_its_own():
    rows = pd.concat([measure([100, 101], [400, 410])["b2a"].assign(domain=domain) for domain in ("snow", "fog")])
    with pytest.raises(ConfigError, match=r"over ours fits several numbers: .*snow; .*fog"):
        judged([], COST | {"of": {"method": "other", "domain": "snow"}}, measures={"b2a": rows})
    found = judged([], COST | {"where": {"metric": "batches", "domain": "fog"}}, measures={"b2a": rows})
    assert (found["estimate"], found["planned"]) == (pytest.approx((4 + 410 / 101) / 2), 4)
    with pytest.raises(ArtifactError, match="two rows of d/b/ours/1pct/3loops/0; leave one"):
        judged(
            [],
            COST,
            measures={"b2a": pd.concat([rows[["dataset", "backbone", "method", "ratio", "schedule", "seed"]]])},
        )


def test_a_corruption_that_has_not_run_is_no_level_that_was_missed():
    """Cells of table 3 may be trained and not yet judged on corrupted images."""
    keys, cells = [cell("ours"), cell("other")], {"ours": [0.6, 0.61, None], "other": [0.5, 0.5, 0.5]}
    rows = pd.DataFrame(
        [
            {**cell(method), "seed": seed, "status": "measured", "snow": value}
            for method, values in cells.items()
            for seed, value in enumerate(values)
        ]
    )
    numbers = verdicts.Numbers(rows, [{"keys": k, "cell": list(k.values()), "column": "snow"} for k in keys])
    values, measured, planned = numbers.read(0, None)
    assert values == numbers.read(0, "snow")[0] == {0: 60.0, 1: 61.0}
    assert (len(measured), len(planned)) == (2, 3)


def test_a_measure_without_its_columns_is_refused():
    with pytest.raises(ArtifactError, match="the file of measure b2a has no column schedule, seed"):
        judged([], COST, measures={"b2a": measure([1], [1])["b2a"].drop(columns=["schedule", "seed"])})


# --- the paper's own numbers --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_the_paper(paper):
    plan = planning.plan(paper, ("table1", "table2", "table3", "table5", "table6", "table7"))
    empty = pd.DataFrame(columns=[*KEYS, "seed", "status"])
    return claims.build(plan, dict.fromkeys(plan["places"], empty))


def test_what_the_paper_prints_decides_each_sentence_as_a_reader_would(of_the_paper):
    own = {record["claim"]: record["paper"] for record in of_the_paper.records}
    read = paper.statements().set_index("id")["own_numbers"]
    for name, words in read.items():
        if words.startswith("holds"):
            assert own[name] == "holds", name
        elif words.startswith("false") and name != "text_encoder_11x":
            assert own[name] == "fails", name
    # By what the tower costs, which the paper does not print.
    assert own["text_encoder_11x"] == "not printed"
    # Sentences whose numbers are given in words other than these.
    assert (own["gain_imagenet"], own["ood_gain"], own["ood_up_to"]) == ("fails", "fails", "fails")
    assert (own["speedup_batches"], own["speedup_compute"], own["cea_overhead"]) == ("holds", "holds", "holds")
    assert own["near_boundaries"] == own["larger_loss_faster"] == "not printed"


def test_printed_numbers_are_those_of_the_tables(of_the_paper):
    def printed(claim):
        found = {r["comparison"]: r["paper_estimate"] for r in of_the_paper.records if r["claim"] == claim}
        return {label: round(value, 2) for label, value in found.items() if value is not None}

    assert printed("gain_imagenet") == {"vecaf − activeft, imagenet 1pct": 2.64}
    assert printed("gain_cifar_below_1") == {
        f"vecaf − activeft, cifar10 {r}pct": g for r, g in ((1, 0.78), (2, 1.1), (5, 0.32))
    }
    assert len(printed("all_columns")) == 32  # 36 less TA-VAAL and ALFA-Mix at 1 and 2 % of ImageNet
    assert min(printed("all_columns").items(), key=lambda item: item[1]) == ("vecaf − ta_vaal, cifar10 5pct", 0.23)
    assert printed("gain_grows_with_complexity") == {
        "vecaf − activeft, cifar10 → caltech101, 2pct": 0.8,
        "vecaf − activeft, caltech101 → imagenet, 2pct": 0.0,
        "vecaf − activeft, cifar10 → imagenet, 1pct": 1.86,
        "vecaf − activeft, cifar10 → caltech101, 5pct": 2.86,
    }
    assert len(printed("encoder_order")) == 18
    assert printed("cea_overhead") == {"flops_g_cea / flops_g_finetune, imagenet": 0.05}


def test_printed_errors_may_leave_open_what_the_means_say(of_the_paper):
    doubts = {r["claim"]: r["paper_with_errors"] for r in of_the_paper.records}
    assert doubts["all_columns"] == "undecided"  # 0.23 ± 0.12
    assert doubts["ods_helps"] == "holds"
    assert doubts["ood_up_to"] == "fails"


def test_the_page_reads(of_the_paper):
    text = of_the_paper.to_markdown()
    assert "27 claims: 0 holds, 0 fails, 0 undecided, 27 not yet testable." in text
    line = next(line for line in text.splitlines() if line.startswith("| beats_full_at_1pct"))
    assert "fails: −0.07, vecaf 1pct 3loops − full 100pct single, cifar10 (within its errors)" in line


# --- the script ---------------------------------------------------------------------------------------------------


def test_the_script_reads_measures_by_their_name(paper, tmp_path):
    from scripts import claims as script

    plan = planning.plan(paper, ())
    told = {**plan, "claims": [c for c in plan["claims"] if c["id"] == "speedup_batches"]}
    rows = [
        {"dataset": "imagenet", "backbone": "deit_b_dino", "method": method, "ratio": ratio, "schedule": schedule}
        | {"seed": seed, "batches_to_50": batches + seed}
        for method, ratio, schedule, batches in (("vecaf", "1pct", "3loops", 1000), ("full", "100pct", "single", 5000))
        for seed in range(3)
    ]
    file = tmp_path / "measures/batches_to_accuracy.csv"
    file.parent.mkdir()
    pd.DataFrame(rows).to_csv(file, index=False)
    told["measures"] = {"batches_to_accuracy": str(file)}
    common = ["--params", json.dumps(told), "--md", str(tmp_path / "c.md")]
    out = ["--csv", str(tmp_path / "c.csv"), "--html", str(tmp_path / "c.html")]
    assert script.main([*common, *out, "--measures", str(file)]) == "1 holds, 0 fails, 0 undecided, 0 not yet testable"
    assert script.main([*common, *out]) == "0 holds, 0 fails, 0 undecided, 1 not yet testable"
    file.write_text('"')
    with pytest.raises(ArtifactError, match=r"batches_to_accuracy\.csv is not a readable CSV table"):
        script.main([*common, *out, "--measures", str(file)])
