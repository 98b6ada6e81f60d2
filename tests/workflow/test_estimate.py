"""The estimate against what would be planned and what was run: jobs counted without a plan, hours by measured speed."""

import dataclasses
from collections import Counter

import pytest
import test_plans as plans
from planning import rules

from vecaf import config, estimate
from vecaf.config.merging import merge
from vecaf.errors import ConfigError
from vecaf.reporting.estimate import build
from vecaf.study import Study

MACS, PARAMETERS, WIDTH = 1_000_000, 400_000, 96
BACKBONE = {"width": WIDTH, "loss_heads": {"128": 5000}}
BACKBONE |= {"sizes": {"16": {"macs": MACS, "training_step": 3 * MACS, "parameters": PARAMETERS}}}
# What snakemake calls a job beside what the estimate calls its step, where it is not one and the same.
STEPS = {
    **dict.fromkeys(("finetune", "finetune_last"), "finetune"),
    **dict.fromkeys(("select", "select_first", "select_after"), "select"),
    **dict.fromkeys(("score", "score_predicting", "embed_pool"), "score"),
    **dict.fromkeys(("augment", "augment_first", "augment_after"), "augment"),
    **dict.fromkeys(("caption", "caption_shard"), "caption"),
}
# A few seconds each.
LIGHT = {
    *("total", "metrics", "ids", "curves", "costs", "table", "figure", "claims", "report", "profile_flops"),
    "measures",
}


@pytest.fixture(scope="module")
def counts(demo):
    text = {"macs": 10, "parameters": 10, "width": 32, "tokens": None}
    return {model: BACKBONE if model[0] == "backbone" else text for model in demo.profiles()}


def studied(raw, *overlays):
    for overlay in overlays:
        raw = merge(raw, overlay)
    return Study(config.load(raw))


def expected_counts(planned, *targets):
    expected: dict[str, int] = {}
    for rule, number in planned.items():
        if rule not in LIGHT | set(targets):
            expected[STEPS.get(rule, rule)] = expected.get(STEPS.get(rule, rule), 0) + number
    return expected


def job_counts(jobs):
    return dict(Counter(job.step for job in jobs.values()))


@pytest.mark.parametrize(
    "exhibits",
    [
        *(("table1",), ("table2", "table5"), ("table7", "extensions", "figure4")),
        *(("table3",), ("figure3",), ("figure6",), ("figure3", "figure6", "table1")),
    ],
)
def test_it_counts_the_jobs_that_snakemake_would_plan(fresh, demo, counts, exhibits):
    planned = rules(fresh.plan(*exhibits, overlay={"shows": demo.exhibits()}))
    assert job_counts(estimate.jobs(demo, exhibits, counts)) == expected_counts(planned, *exhibits)


@pytest.mark.parametrize("exhibit", ["table3", "figure3", "figure6", "prompts"])
def test_it_counts_the_paper_s_jobs_out_of_distribution_and_of_selections_alone(fresh, paper, exhibit):
    text = {"macs": 10, "parameters": 10, "width": 32, "tokens": None}
    found = {model: BACKBONE if model[0] == "backbone" else text for model in paper.profiles()}
    for model in found:
        if model[0] == "backbone":
            sizes = paper.profile_params(*model)["input_sizes"]
            found[model] = BACKBONE | {"sizes": dict.fromkeys(map(str, sizes), BACKBONE["sizes"]["16"])}
    planned = plans.counts(plans.paper(fresh, exhibit))
    assert job_counts(estimate.jobs(paper, [exhibit], found)) == expected_counts(planned, exhibit)


def test_estimate_plans_counts_of_models_and_no_cell(fresh, demo):
    planned = rules(fresh.plan("estimate", overlay={"shows": demo.exhibits()}))
    assert set(planned) == {"profile_flops", "estimate"}


def test_what_cells_share_is_counted_once(demo, counts):
    one, both = (estimate.jobs(demo, names, counts) for names in (("table6",), ("table6", "readings")))
    assert one == both  # readings shows the cells of table 6


def test_hours_follow_from_work_and_speed(demo, counts):
    found = estimate.jobs(demo, ["table1"], counts)
    spec = demo.config.estimate
    finished = [estimate.Finished({"finetune": 4e9}, {"finetune": 2.0}, 1.5, "cpu")] * 2
    told = estimate.rates(spec, finished)
    assert (told.macs_per_second["finetune"], told.start, told.measured) == (2e9, 1.5, ("finetune",))
    assert told.macs_per_second["score"] == spec.macs_per_second.score
    total = estimate.total(found, demo, told)
    work = sum(job.macs / told.macs_per_second[job.step] for job in found.values() if job.macs)
    assert total.cpu_seconds == pytest.approx(work + 1.5 * len(found))
    assert total.gpu_seconds == 0  # the demo runs on a CPU
    assert total.cells == len(demo.cells("table1"))
    twice = dataclasses.replace(told, macs_per_second={step: 2 * r for step, r in told.macs_per_second.items()})
    assert estimate.total(found, demo, twice).cpu_seconds == pytest.approx(work / 2 + 1.5 * len(found))


def test_final_weights_are_most_of_the_disk_and_can_be_given_up(demo, demo_raw, counts):
    told = estimate.rates(demo.config.estimate, [])
    kept = estimate.total(estimate.jobs(demo, ["table1"], counts), demo, told)
    bare = studied(demo_raw, {"keep": {"final_weights": False}})
    less = estimate.total(estimate.jobs(bare, ["table1"], counts), bare, told)
    assert kept.final - less.final == pytest.approx(4 * PARAMETERS * len(demo.cells("table1")))
    one = studied(demo_raw, {"estimate": {"parallel": 1}})
    assert estimate.total(estimate.jobs(one, ["table1"], counts), one, told).peak < kept.peak


def test_disk_grows_with_what_is_kept_and_with_jobs_at_once(demo, demo_raw):
    kept = estimate.highest(demo, 2)
    assert estimate.highest(studied(demo_raw, {"keep": {"final_weights": False}}), 2) < kept
    assert kept < estimate.highest(demo, 4)
    assert kept < estimate.highest(studied(demo_raw, {"keep": {"intermediates": True}}), 2)


def test_a_planted_pool_is_as_large_as_it_says(paper):
    assert estimate.pool_size(paper, "imagenet_snow") == 10_000


def test_a_pool_of_unknown_size_is_asked_for_by_its_key(paper_raw):
    study = studied({key: value for key, value in paper_raw.items() if key != "estimate"})
    with pytest.raises(ConfigError, match=r"estimate\.pool_sizes\.caltech101"):
        estimate.pool_size(study, "caltech101")


def test_the_table_says_what_it_rests_on(demo, counts):
    told = estimate.rates(demo.config.estimate, [])
    totals = {"table1": estimate.total(estimate.jobs(demo, ["table1"], counts), demo, told)}
    text = build(totals, demo.config.estimate, told).to_markdown()
    assert "one A100, assumed" in text
