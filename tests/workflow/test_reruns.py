"""Reruns do what people expect: every test asks for the planned jobs of a finished study after one change."""

import pytest
from planning import rules, told

CELL = "results/demo/cells/digits/vit_digits/{}/5pct/{}/seed{}/"

# What a VeCAF cell of three loops runs after its first selection.
LOOPS = {"finetune": 2, "finetune_last": 1, "score": 2, "augment": 2, "select": 2, "evaluate": 1}


def of(jobs, **wildcards):
    return [job for job in jobs if all(job.get(key) == value for key, value in wildcards.items())]


def test_a_finished_study_plans_nothing(finished):
    done = finished.snakemake("-n")
    assert "Nothing to be done" in done.text
    assert finished.plan() == []


def test_a_cell_of_its_own_runs_alone(finished):
    jobs = finished.plan(CELL.format("vecaf", "3loops", 7) + "metrics.json")
    assert {job.get("seed") for job in jobs} == {"7"}
    assert rules(jobs) == {"head": 1, "select_first": 1, **LOOPS}


def test_a_new_seed_runs_only_that_seed(finished):
    jobs = finished.plan(overlay={"datasets": {"digits": {"seeds": [0, 1, 2]}}})
    assert {job["seed"] for job in jobs if "seed" in job} == {"2"}
    assert rules(jobs)["evaluate"] == 4  # three methods in three loops, and the whole pool; the others name their seed
    assert rules(jobs)["metrics"] == rules(jobs)["table"] == 2  # both tables show methods with all of the seeds
    assert not {"pool", "caption", "embed_text", "pretrained", "embed_pool"} & set(rules(jobs))


def test_ceas_step_reruns_only_cells_with_cea_from_the_first_loop_it_touches(finished):
    jobs = finished.plan(overlay={"methods": {"vecaf": {"cea": {"step": 0.2}}}})
    assert {job["method"] for job in jobs if "method" in job} == {"vecaf"}
    # In finetuning CEA acts from loop 1 on: loop 1 is finetuned again on the selection that stands.
    assert "select_first" not in rules(jobs)
    assert rules(of(jobs, schedule="3loops", seed="0")) == LOOPS
    assert rules(of(jobs, schedule="single", seed="0")) == {"finetune_last": 1, "evaluate": 1}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("vecaf/selection/ods.py", '"""', '"""Reworded. '),
        ("scripts/select.py", '"""Choose K ids', '"""Pick K ids'),
        ("vecaf/seeds.py", "# What each stream depends on.", "# What every stream depends on."),
        ("vecaf/errors.py", "\n\nclass ConfigError", "\n\n\n\nclass ConfigError"),
    ],
)
def test_docstrings_comments_and_layout_plan_no_job_but_the_page_that_quotes_them(finished, file, old, new):
    path = finished.folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert rules(finished.plan()) == {"report": 1}


def test_a_line_of_ods_plans_selection_of_ods_cells_and_what_follows(finished):
    path = finished.folder / "vecaf/selection/ods.py"
    path.write_text(path.read_text() + "\nCHANGED = 1\n")
    jobs = finished.plan()
    assert {job["method"] for job in jobs if "method" in job} == {"vecaf"}
    assert all(job["selection"].startswith("ods-") for job in of(jobs, rule="select_first"))
    assert rules(jobs) == {
        "select_first": 2,  # one a seed, shared by single and three loops
        "finetune": 4,
        "finetune_last": 3,
        "score": 4,
        "augment": 4,
        "select": 4,
        "evaluate": 3,
        "metrics": 1,
        "table": 1,
        "claims": 1,
        "report": 1,
    }


def test_a_line_of_another_selector_leaves_ods_alone(finished):
    path = finished.folder / "vecaf/selection/top_k_loss.py"
    path.write_text(path.read_text() + "\nCHANGED = 1\n")
    assert {job["method"] for job in finished.plan() if "method" in job} == {"top_k_loss"}


def test_a_raised_version_reruns_the_expensive_step(finished, demo):
    import json

    path = finished.folder / "rules/step_versions.json"
    lock = json.loads(path.read_text())
    lock["evaluate"]["version"] += 1
    path.write_text(json.dumps(lock))
    cells = len(demo.cells("table1", "extensions"))
    assert rules(finished.plan()) == {"evaluate": cells, "metrics": 2, "table": 2, "claims": 1, "report": 1}


def test_equal_first_selections_are_made_once(fresh):
    jobs = of(fresh.plan(), rule="select_first")
    # Single and three loops share, and trained selectors share the random set: three selectors and the full set with
    # two seeds, top-K and three geometric controls with one, and two selections of three times the ratio.
    assert rules(jobs) == {"select_first": 14}
    variant = {"methods": {"vecaf_later": {"extends": "vecaf", "title": "V", "cea": {"in_finetune": False}}}}
    more = dict(
        variant,
        exhibits={
            "extra": {
                "title": "E",
                "kind": "table",
                "blocks": [{"datasets": {"digits": ["5pct"]}, "methods": ["vecaf_later"]}],
            }
        },
    )
    jobs = of(fresh.plan("cells", overlay=more), rule="select_first")
    assert rules(jobs) == {"select_first": 14}


def test_deleted_metrics_while_the_table_stands(finished):
    metrics = CELL.format("vecaf", "3loops", 0) + "metrics.json"
    (finished.folder / metrics).unlink()
    assert finished.plan() == []  # as the README says
    assert rules(finished.plan(metrics)) == {"evaluate": 1}


def test_forcing_a_cell_evaluates_and_does_not_train(finished):
    metrics = CELL.format("vecaf", "3loops", 0) + "metrics.json"
    assert rules(finished.plan("-f", metrics)) == {"evaluate": 1}


def test_moved_images_batch_of_scoring_and_kept_files_plan_nothing(finished):
    changed = {"datasets": {"digits": {"root": "elsewhere", "score_batch": 7}}, "keep": {"final_weights": True}}
    assert finished.plan(overlay=changed) == []


def test_without_snakemakes_memory_nothing_is_trained_again(finished):
    """A clone with results and fresh file times: parameters cannot be compared, and files must not pull training."""
    import os
    import shutil

    shutil.rmtree(finished.folder / ".snakemake")
    for path in finished.folder.glob("scripts/*.py"):
        os.utime(path)
    assert finished.plan() == []


def test_a_cell_that_has_begun_goes_before_others(finished):
    """A study that is stopped has finished cells, not many half-done ones: few on two cores."""
    under_way, most = set(), 0
    for job in told(finished.log):
        cell = tuple(job.get(key) for key in ("method", "ratio", "schedule", "seed"))
        if job["rule"] in ("finetune", "finetune_last"):
            under_way.add(cell)
            most = max(most, len(under_way))
        if job["rule"] == "evaluate":
            under_way.remove(cell)
    assert not under_way
    assert 2 <= most <= 10
