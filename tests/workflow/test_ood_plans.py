"""Out of distribution: what table 3, figure 3 and the exhibit of prompts plan, and what they share."""

import yaml
from planning import ROOT, rules
from test_plans import counts, paper

STUDY = ["config/small_images.yaml", "config/study_vit_tiny.yaml"]


def test_table_3_of_the_paper_judges_every_cell_on_both_domains(fresh, paper_raw):
    planned = counts(paper(fresh, "table3"))
    seeds = len(paper_raw["datasets"]["imagenet"]["seeds"])
    shards = paper_raw["datasets"]["imagenet"].get("corruption_shards", 1)
    assert planned["evaluate"] == 7 * seeds
    assert planned["evaluate_ood"] == 2 * 7 * seeds
    assert planned["corrupt"] == 2 * 5 * shards
    assert planned["train_styler"] == 2
    assert planned["stylize"] == 2 * 3 * seeds  # a fresh random set in each of three loops
    shown = {"metrics", "table", "table3", "ood", "total"}
    of_its_cells = counts(paper(fresh, "ood"))
    assert {rule: planned[rule] for rule in planned if rule not in shown} == {
        rule: of_its_cells[rule] for rule in of_its_cells if rule not in shown
    }


def test_a_study_without_corrupted_images_says_so(fresh):
    (fresh.folder / "clear.yaml").write_text("shows: [table1]")
    assert "shows no exhibit of corrupted images" in paper(fresh, "ood", "--configfile", "clear.yaml", check=False)


def test_published_accuracy_is_that_of_the_corrupted_sets_that_are_asked_for(fresh):
    """The mean of severities 1, 3 and 5 must not stand where that of all five is meant; a cell is of one run."""
    (fresh.folder / "all.yaml").write_text("ood: {severities: [1, 2, 3, 4, 5]}")
    assert not counts(paper(fresh, "table3", "--configfile", *STUDY)).keys() & {"evaluate", "evaluate_ood"}
    text = paper(fresh, "table3", "--configfile", *STUDY, "all.yaml")
    assert "table3: 15 published cells were run under another configuration and are planned again" in text
    planned = counts(text)
    assert (planned["evaluate"], planned["evaluate_ood"], planned["corrupt"]) == (15, 30, 10)


def test_restyled_images_reach_finetuning_and_their_cost_the_cell(fresh):
    cell = "results/cells/imagenet/deit_b_dino/clipstyler_snow/1pct/3loops/seed0"
    text = paper(fresh, "-p", f"{cell}/metrics.json")
    for loop in (1, 2, 3):
        assert f"--stylized {cell}/loop{loop}/stylized.parquet" in text
    assert "--stylers results/stylers/imagenet/snow/styler.json" in text
    assert text.count("scripts.train_styler") == 1
    other = paper(fresh, "-p", f"{cell.replace('clipstyler_snow', 'random')}/metrics.json")
    assert "styliz" not in other.replace("--stylings  --stylers", "")


def test_figure_3_of_the_paper_finetunes_nothing(fresh, paper_raw):
    planned = counts(paper(fresh, "figure3"))
    seeds = len(paper_raw["datasets"]["imagenet"]["seeds"])
    assert planned["select_first"] == 4 * seeds
    assert planned["prompt_similarity"] == planned["augment_first"] == 2
    assert planned["selected"] == planned["figure"] == 1
    assert not {"finetune", "finetune_last", "evaluate", "metrics", "stylize"} & set(planned)


def test_prompts_plan_selections_on_the_pool_and_on_a_planted_one(fresh, paper_raw):
    planned = counts(paper(fresh, "prompts"))
    seeds = len(paper_raw["datasets"]["imagenet"]["seeds"])
    assert planned["selected"] == planned["pool"] == planned["embed_pool"] == 2
    assert planned["select_first"] == 2 * 8 * seeds
    assert planned["embed_text"] == 2 * 6  # five prompts, and none
    assert planned["table"] == 1
    assert not {"finetune", "finetune_last", "evaluate"} & set(planned)


def test_the_demo_shows_table_3_with_one_cell_that_no_other_exhibit_has(fresh, demo):
    alone = set(demo.cells("table3")) - set(demo.cells(*(name for name in demo.exhibits() if name != "table3")))
    assert [cell.method for cell in alone] == ["vecaf_snow"]
    planned = rules(fresh.plan("table3", "figure3", overlay={"shows": demo.exhibits()}))
    assert planned["evaluate_ood"] == len(demo.cells("table3")) == 3
    assert planned["corrupt"] == 3


def test_a_planted_pool_has_captions_and_weights_of_its_own(fresh):
    study = yaml.safe_load((ROOT / "config/prompts_digits.yaml").read_text())
    jobs = fresh.plan("prompts", overlay=study)
    for rule in ("pool", "caption", "pretrained", "embed_pool"):
        assert sorted(job["dataset"] for job in jobs if job["rule"] == rule) == ["digits", "digits_snow"]
