"""What the figures plan: their own cells alone, and for figure 6 one loop of one method and no evaluation."""

from planning import rules
from test_plans import counts, paper

CURVES = ("figure1b", "figure4", "figure5_b2a", "accuracy_cost")


def test_figures_of_curves_plan_the_cells_they_show_and_one_table_of_curves_each(fresh, demo):
    jobs = fresh.plan(*CURVES, overlay={"shows": demo.exhibits()})
    planned = rules(jobs)
    assert planned["evaluate"] == planned["finetune_last"] == len(demo.cells(*CURVES))
    for rule in ("metrics", "costs", "curves", "figure"):
        assert {job["exhibit"] for job in jobs if job["rule"] == rule} == set(CURVES)
    assert not {"map_pool", "samples", "keep_scores", "table"} & set(planned)


def test_figure6_trains_one_loop_of_one_method_and_both_select_on_its_scores(fresh, demo):
    jobs = fresh.plan("figure6", overlay={"shows": demo.exhibits()})
    planned = rules(jobs)
    for rule in ("finetune", "score", "keep_scores", "augment_after", "map_pool", "samples", "figure"):
        assert planned[rule] == 1
    assert {job["method"] for job in jobs if job["rule"] in ("finetune", "score", "keep_scores")} == {"vecaf"}
    after = [job for job in jobs if job["rule"] == "select_after"]
    assert {job["by"] for job in after} == {"activeft", "vecaf"}
    assert {job["method"] for job in after} == {"vecaf"}
    assert not {"finetune_last", "evaluate", "metrics", "curves", "select"} & set(planned)


def test_figure6_of_the_paper_maps_one_seed_and_compares_three(fresh, paper_raw):
    planned = counts(paper(fresh, "figure6"))
    seeds = len(paper_raw["datasets"]["cifar10"]["seeds"])
    assert planned["finetune"] == planned["keep_scores"] == seeds
    assert planned["select_after"] == 2 * seeds
    assert planned["map_pool"] == planned["samples"] == planned["figure"] == 1
    assert "evaluate" not in planned


def test_all_figures_are_the_papers(fresh, demo):
    """Of the study's own figures none is among them: their cells cost as much again and are asked for by name."""
    jobs = fresh.plan("all_figures", overlay={"shows": demo.exhibits()})
    drawn = {job["exhibit"] for job in jobs if job["rule"] == "figure"}
    assert drawn == {"figure1b", "figure3", "figure4", "figure5_b2a", "figure6"}


def test_what_a_cell_costs_holds_the_scoring_behind_its_first_selection(fresh):
    """The pretrained weights score the pool for whoever asks, so nobody's first selection is free."""
    cell = "results/demo/cells/digits/vit_digits/{}/5pct/3loops/seed0/metrics.json"
    shared = "--scorings results/demo/pretrained/digits/vit_digits/embeddings.json"
    for method, asks in (("vecaf", True), ("random", False)):
        text = fresh.snakemake("-n", "-p", cell.format(method), "--quiet", "progress").text
        assert (shared in text) == asks
