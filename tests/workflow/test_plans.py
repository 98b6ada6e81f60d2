"""What the workflow plans from nothing: the paper's grid, what it leaves out, and what it refuses."""

import re

import pytest
import warm
from planning import rules

from vecaf import selection

CELLS = "results/demo/cells/digits/vit_digits"
TABLES = tuple(f"table{number}" for number in range(1, 8))  # of the paper
pytestmark = pytest.mark.slow


def paper(project, *arguments, check=True):
    done = warm.snakemake("-n", *arguments, folder=project.folder)
    assert not check or done.returncode == 0, done.text
    return done.text


def counts(text):
    """Return the job counts of snakemake's statistics."""
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def all_tables(fresh):
    return paper(fresh, "all_tables")


def test_all_tables_of_the_paper_plan_without_data(all_tables, paper_):
    assert counts(all_tables)["evaluate"] == len(paper_.cells(*TABLES))
    assert counts(all_tables)["table"] == len(TABLES)
    assert "No module" not in all_tables


def test_what_cells_share_is_made_once_on_the_whole_grid(all_tables, paper_):
    """What every cell would make alone, against what is planned; docs/scaling.md has the table."""
    cells, planned = paper_.cells(*TABLES), counts(all_tables)
    loops = [(cell, loop) for cell in cells for loop in range(1, 1 + paper_.loops(cell.method, cell.schedule))]
    reading = [cell for cell in cells if paper_.method(cell.method).cea is not None]
    scored = sum(paper_.scored(cell.method, cell.schedule, loop) for cell, loop in loops)
    assert (len(cells), len(loops), scored, len(reading)) == (381, 1008, 843, 141)
    assert planned["select_first"] + planned["select"] == 147 + 627 == len(loops) - len(cells) + 147
    assert planned["embed_pool"] + planned["score"] + planned["score_predicting"] == 9 + 615
    assert planned["caption"] + planned["join_captions"] == 3  # ImageNet's is written in 64 parts
    assert planned["embed_text"] == 8
    assert planned["pretrained"] == 9


@pytest.fixture(scope="session")
def paper_(paper):
    return paper


def test_every_cell_of_the_paper_has_one_evaluation_and_can_be_one_job_of_a_cluster(fresh, paper_):
    """Also cells whose steps do not wait for each other, such as random selections: words must agree in a group."""
    assert counts(paper(fresh, "cells", "--profile", "slurm"))["evaluate"] == len(paper_.cells())


def test_the_demo_plans_every_method_schedule_and_seed_once(fresh, demo):
    planned, cells = rules(fresh.plan(overlay={"shows": demo.exhibits()})), demo.cells()
    assert planned["evaluate"] == planned["finetune_last"] == len(cells) == 40
    assert planned["finetune"] == sum(demo.loops(cell.method, cell.schedule) - 1 for cell in cells)
    for step in ("pool", "caption", "thumbnails"):
        assert planned[step] == 1
    for step in ("embed_text", "pretrained", "embed_pool"):
        assert planned[step] == 2 + (
            step == "embed_text"
        )  # table 5 has two encoders and two backbones, table 3 a prompt
    assert set(selection.names()) == {demo.method(cell.method).selector for cell in cells}


def test_an_exhibit_without_a_module_is_refused_in_words(fresh):
    mine = {"title": "Mine", "kind": "table", "blocks": [{"methods": ["random"], "datasets": {"digits": ["5pct"]}}]}
    overlay = {"shows": ["mine"], "exhibits": {"mine": mine}}
    text = fresh.snakemake("-n", "results/demo/tables/mine.md", overlay=overlay, check=False).text
    assert "No module draws them, left out: the exhibits mine" in text
    assert "mine cannot be made: no module vecaf/reporting/mine.py draws it" in text


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_a_target_and_plans_its_own_cells_alone(fresh, paper_, name):
    planned = counts(paper(fresh, name))
    assert (planned["table"], planned["metrics"]) == (1, 1)
    assert planned.get("evaluate", 0) == len(paper_.cells(name))


def test_a_table_that_the_configuration_does_not_show_is_refused_in_words(fresh):
    done = fresh.snakemake("-n", "table2", check=False)
    assert done.returncode != 0
    assert "this configuration shows no table2; it has: table1, extensions" in done.text


def test_a_prompt_shifts_the_pool_before_the_first_selection(fresh):
    cell = "results/demo/cells/digits/vit_digits/vecaf_snow/5pct/3loops/seed0/metrics.json"
    planned = rules(fresh.plan(cell))
    assert planned["augment_first"] == planned["select_first"] == planned["embed_text"] == 1
    assert planned["augment"] == 2
    assert "augment_first" not in rules(fresh.plan(cell.replace("vecaf_snow", "vecaf")))


def test_what_augmentation_costs_is_recorded_for_every_selector_that_reads_its_embeddings(fresh):
    """Entropy reads logits, which are made of the shifted embeddings."""
    turns = [{"selector": "random", "share": "1/3"}, {"share": "1/3"}, {"share": "1/3"}]
    shifted = {"extends": "vecaf", "title": "E", "selector": "entropy", "cea": {"in_finetune": False}}
    overlay = {"methods": {"shifted": shifted | {"schedules": {"3loops": turns}}}}
    cell = f"{CELLS}/shifted/5pct/3loops/seed0"
    text = fresh.snakemake("-n", "-p", f"{cell}/metrics.json", overlay=overlay).text
    assert f"--augmentations {cell}/loop2/augment.json {cell}/loop3/augment.json --texts results" in text


def test_trained_selectors_start_from_the_shared_random_set_and_score_what_they_need(fresh):
    needed = {"select_first": 1, "finetune": 2, "finetune_last": 1, "select": 2, "evaluate": 1}
    for method, more in {
        "learning_loss": {"score_predicting": 2},
        "ta_vaal": {"score_predicting": 2, "thumbnails": 1},
        "alfa_mix": {"score": 2},
        "entropy": {"score": 2},
    }.items():
        jobs = fresh.plan(f"{CELLS}/{method}/5pct/3loops/seed0/metrics.json")
        planned = rules(jobs)
        shared = {"pool", "pretrained", "embed_pool", "head"} & set(planned)
        assert {name: count for name, count in planned.items() if name not in shared} == needed | more
        assert [job["selection"].split("-")[0] for job in jobs if job["rule"] == "select_first"] == ["random"]
    single = rules(fresh.plan(f"{CELLS}/learning_loss/5pct/single/seed0/metrics.json"))
    assert (single["finetune"], single["finetune_last"], single["score_predicting"]) == (1, 1, 1)


def test_a_selection_of_three_times_the_ratio_is_that_of_the_ratio(fresh):
    """`single_3x` at 5 % and `single` at 15 % share their selection."""
    jobs = fresh.plan(*(f"{CELLS}/activeft/{where}/seed0/metrics.json" for where in ("5pct/single_3x", "15pct/single")))
    assert [job["ratio"] for job in jobs if job["rule"] == "select_first"] == ["15pct"]
    assert rules(jobs)["evaluate"] == 2


def test_controls_are_asked_for_by_name(fresh):
    tables = {job["exhibit"] for job in fresh.plan("all_tables") if job["rule"] == "table"}
    assert tables == {"table1"}
    assert {job["exhibit"] for job in fresh.plan("extensions") if job["rule"] == "table"} == {"extensions"}
    assert {job["exhibit"] for job in fresh.plan() if job["rule"] == "table"} == {"table1", "extensions"}


def test_planned_commands_can_be_pasted(fresh):
    text = fresh.snakemake("-n", "-p", "--quiet", "progress").text
    commands = re.findall(r"-m scripts\.(\w+) (.*)", text)
    assert {name for name, _ in commands} >= {"pool", "select", "finetune", "evaluate", "metrics", "table"}
    assert all("'{" in line or "'[" in line for name, line in commands if name in ("select", "finetune"))


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("results/demo/cells/digits/vit_digits/vecaf/5pct/3loops/seed0/loop4/selection.parquet", "there is no loop 4"),
        (f"{CELLS}/vecaf/5pct/3loops/seed0/loop1/stylized.parquet", "No rule to produce"),
        (
            f"{CELLS}/ta_vaal/5pct/2loops/seed0/metrics.json",
            "its first loop selects with ta_vaal, which chooses only after",
        ),
        (f"{CELLS}/vecav/5pct/3loops/seed0/metrics.json", "there is no method 'vecav'; did you mean vecaf?"),
        (
            f"{CELLS}/vecaf/5/3loop/0/metrics.json",
            "ratio '5' is written 1pct, 0.5pct; there is no schedule '3loop'; did you mean 3loops?",
        ),
        (
            f"{CELLS}/vecaf/5pct/3loops/seed0/metric.json",
            "a cell has no file 'metric.json'; did you mean metrics.json?",
        ),
        (
            f"{CELLS}/vecaf/5pct/3loops",
            "a cell is dataset/backbone/method/ratio/schedule/seedN, and its target metrics",
        ),
        (CELLS.replace("/demo", "") + "/vecaf/5pct/3loops/seed0/metrics.json", "lie below results/demo/cells/; name"),
        ("tabel1", "there is no target 'tabel1'; did you mean table1?"),
    ],
)
def test_impossible_targets_are_refused_in_words(fresh, target, sentence):
    done = fresh.snakemake("-n", target, check=False)
    assert done.returncode == 1
    assert sentence in done.text
    assert not {"Traceback", "Exception", ".smk"} & set(re.findall(r"\w+|\.smk", done.text))


def test_configuration_mistakes_stop_before_any_job(fresh):
    before = sorted((fresh.folder / "results").rglob("*"))  # other tests may have run something here
    done = fresh.snakemake(overlay={"gpuz": 1, "datasets": {"digits": {"batches": "90"}}}, check=False)
    assert done.returncode != 0
    assert "2 problems in the configuration" in done.text
    assert "gpuz: unknown key" in done.text
    assert "datasets.digits.batches: '90'" in done.text
    assert sorted((fresh.folder / "results").rglob("*")) == before


def test_values_from_the_command_line_keep_their_type_or_are_refused(fresh):
    done = fresh.snakemake("-n", "--config", "gpus=two", check=False)
    assert done.returncode != 0
    assert "gpus: 'two' is not allowed" in done.text


def test_missing_data_is_reported_together_when_a_run_starts_and_never_in_a_dry_run(fresh):
    overlay = {
        "exhibits": {
            "table1": {
                "blocks": [
                    {
                        "datasets": {"cifar10": ["1pct"], "caltech101": ["5pct"]},
                        "methods": ["random"],
                        "schedules": ["single"],
                    }
                ]
            }
        }
    }
    fresh.snakemake("-n", overlay=overlay)
    done = fresh.snakemake(overlay=overlay, check=False)
    assert done.returncode != 0
    assert "datasets.cifar10:" in done.text
    assert "datasets.caltech101:" in done.text
    assert "datasets.imagenet:" not in done.text
    assert not list((fresh.folder / "results").glob("demo/pool/*"))


def test_the_slurm_profile_names_only_rules_that_exist(fresh):
    import yaml

    profile = yaml.safe_load((fresh.folder / "slurm/config.v9+.yaml").read_text())
    text = paper(fresh, "--list-rules")
    known = set(text.split())
    assert set(profile["set-resources"]) <= known
    # Every rule that is told a device runs on a GPU there, those that inherit it included.
    blocks = re.findall(r"^(?:use )?rule (\w+)(?: as (\w+))?.*?(?=^\S|\Z)", _rules(fresh), re.MULTILINE | re.DOTALL)
    told = {name for name in known if f"rule {name}:" in _rules(fresh) and "device=device" in _block(fresh, name)}
    assert {alias or name for name, alias in blocks if name in told} <= set(profile["set-resources"])
    assert not any("gpu_model" in str(key) for key in profile["default-resources"])


def _rules(project):
    return "\n".join(path.read_text() for path in (project.folder / "rules").glob("*.smk"))


def _block(project, rule):
    return re.search(rf"^rule {rule}:\n(.*?)(?=^\S|\Z)", _rules(project), re.MULTILINE | re.DOTALL)[1]


def test_a_training_seed_of_its_own_starts_another_head_and_shares_the_selection(fresh):
    overlay = {"methods": {"vecaf_t1": {"extends": "vecaf", "title": "VeCAF, trained under 1", "training_seed": 1}}}
    cells = [f"results/demo/cells/digits/vit_digits/{name}/5pct/single/seed0" for name in ("vecaf", "vecaf_t1")]
    text = fresh.snakemake("-n", "-p", *(f"{cell}/metrics.json" for cell in cells), overlay=overlay).text
    for cell, seed in zip(cells, (0, 1), strict=True):
        start = "--weights results/demo/pretrained/digits/vit_digits/weights.safetensors"
        head = "results/demo/pretrained/digits/vit_digits/random/multiclass/seed{}/head.safetensors"
        assert re.search(rf"{start} {head.format(seed)} .*{cell}/weights.safetensors", text)
    assert len(re.findall(r"python -m scripts\.select ", text)) == 1
