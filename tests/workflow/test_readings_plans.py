"""What the exhibits of readings plan: each cell and each selection once for all three, and the studies in config/."""

import json
import re
import shlex
from collections import Counter
from itertools import takewhile

import pytest
import warm

from vecaf import config
from vecaf.study import Study

EXHIBITS = ("readings", "deviations", "specification_curve")
LONGEST = 128 * 1024  # bytes of one argument on Linux: a command is one argument of the shell


def jobs(project, *arguments):
    """Return rule, inputs, outputs and command of every job that the paper's study, or another, plans."""
    done = warm.snakemake("-n", "-p", *arguments, folder=project.folder)
    assert done.returncode == 0, done.text[-2000:]
    found = []
    for block in re.split(r"\n(?=(?:local)?rule )", done.text):
        if name := re.match(r"(?:local)?rule (\w+):", block):
            listed = {key: re.search(rf"^    {key}: (.*)$", block, re.MULTILINE) for key in ("input", "output")}
            files = {key: match[1].split(", ") if match else [] for key, match in listed.items()}
            command = re.search(r"-m scripts\.\w+ .*", block)
            found.append({"rule": name[1], **files, "command": command[0] if command else ""})
    return found


def of(found, *rules):
    return [job for job in found if job["rule"] in rules]


def metrics_of(study, *exhibits):
    return {f"{study.config.root}/cells/{cell}/metrics.json" for cell in study.cells(*exhibits)}


@pytest.fixture(scope="module")
def planned(fresh):
    return jobs(fresh, *EXHIBITS)


def test_every_cell_is_run_once_for_all_three_exhibits(planned, paper):
    evaluated = [file for job in of(planned, "evaluate") for file in job["output"] if file.endswith("metrics.json")]
    assert len(evaluated) == len(set(evaluated)) == 192
    assert set(evaluated) == metrics_of(paper, "readings")
    collected = of(planned, "metrics")
    assert len(collected) == 3
    assert all(set(job["input"]) == set(evaluated) for job in collected)


def test_nothing_is_planned_twice_and_nothing_beside_the_exhibits(planned):
    outputs = Counter(file for job in planned for file in job["output"])
    assert set(outputs.values()) == {1}
    counts = Counter(job["rule"] for job in planned)
    assert {rule: counts[rule] for rule in ("ids", "table", "figure", *EXHIBITS)} == {
        **{"ids": 1, "table": 2, "figure": 1},
        **dict.fromkeys(EXHIBITS, 1),
    }


def test_what_variants_share_is_made_once(planned):
    """Of the four datasets two variants: the one with other pixels shares captions, the one with another split none."""
    counts = Counter(job["rule"] for job in planned)
    assert counts["pool"] == counts["pretrained"] == counts["embed_pool"] == 4
    # CIFAR-10: BLIP-2, shuffled, told the class, attributes alone, class names; Caltech-101 with each of its splits.
    assert counts["caption"] == counts["embed_text"] == 5 + 2
    # Heads of three seeds: random, class means, and random scored in two forms of one class; random on three more.
    assert counts["head"] == 3 * (4 + 3)
    assert (counts["finetune_last"], counts["finetune"], counts["select"]) == (192, 2 * 192, 2 * 192)


def test_ids_of_every_selection_are_read_once(planned):
    (job,) = of(planned, "ids")
    made = [file for other in of(planned, "select", "select_first") for file in other["output"]]
    assert not set(job["input"]) ^ {file for file in made if file.endswith("selection.parquet")}
    assert len(job["input"]) == len(set(job["input"])) == 2 * 192 + 96  # first selections are shared
    words = shlex.split(job["command"])
    told = list(takewhile(lambda word: not word.startswith("--"), words[words.index("--selections") + 1 :]))
    assert len(told) == len(job["input"])
    assert not set(told) ^ set(job["input"])


def test_only_the_table_of_readings_is_given_ids(planned):
    given = {job["output"][0].rpartition("/")[2]: "--ids" in job["command"] for job in of(planned, "table", "figure")}
    assert given == {"readings.csv": True, "deviations.csv": False, "specification_curve.png": False}


def test_every_command_fits_a_shell(planned):
    commands = {job["rule"]: len(job["command"].encode()) for job in planned}
    assert max(commands.values()) < LONGEST / 2  # paths may be longer elsewhere


def test_layouts_are_told_with_their_contrasts(planned, paper):
    for job in of(planned, "table", "figure"):
        words = shlex.split(job["command"])
        told = json.loads(words[words.index("--params") + 1])
        assert len(told["contrasts"]) == 64
        assert told["config_digest"] == paper.digests[told["exhibit"]]
        assert told["choices"]["ods.diversity"] == 0.1


def test_the_curve_alone_needs_no_ids(fresh):
    figure = "results/demo/figures/specification_curve.pdf"
    planned = Counter(job["rule"] for job in fresh.plan(figure, overlay={"shows": ["specification_curve"]}))
    assert (planned["figure"], planned["metrics"], planned["evaluate"]) == (1, 1, 5)
    assert planned["ids"] == planned["table"] == 0


def test_a_study_without_tuning_says_what_it_shows(fresh):
    done = fresh.snakemake("-n", "tuning", check=False)
    assert done.returncode != 0
    assert "there is no target 'tuning'; this configuration shows table1, " in done.text


@pytest.fixture(scope="module")
def of_files(laid_over):
    return lambda *files: Study(config.load(laid_over(*files)))


def test_the_study_of_every_reading_on_the_digits(fresh, of_files):
    files = ("config/digits.yaml", "config/readings_digits.yaml")
    found = jobs(fresh, "--configfile", *files, "--", *EXHIBITS)
    evaluated = {file for job in of(found, "evaluate") for file in job["output"] if file.endswith("metrics.json")}
    assert evaluated == metrics_of(of_files(*files))
    assert len(evaluated) == (58 + 2) * 3
    assert all(file.startswith("results/readings_digits/") for job in found for file in job["output"])
    # All that the two variants of the dataset share but the pool, whose index names its dataset.
    counts = Counter(job["rule"] for job in found)
    assert (counts["pool"], counts["pretrained"], counts["caption"], counts["ids"]) == (2, 2, 4, 1)


def test_the_study_of_what_was_chosen_on_tuning_splits(fresh, of_files):
    files = ("config/digits.yaml", "config/small_images.yaml", "config/tuning.yaml")
    found = jobs(fresh, "--configfile", *files, "--", "tuning")
    study = of_files(*files)
    evaluated = {file for job in of(found, "evaluate") for file in job["output"] if file.endswith("metrics.json")}
    assert evaluated == metrics_of(study)
    assert {"/seed100/", "/seed101/"} < {match for file in evaluated for match in re.findall("/seed[0-9]+/", file)}
    pools = of(found, "pool")
    assert len(pools) == 3
    assert all('"judged_on":"tuning"' in job["command"] for job in pools)
    (ids,) = of(found, "ids")
    assert ids["output"] == ["results/tuning/ids/tuning.parquet"]


def test_the_demos_readings_are_the_cells_of_its_table_6(fresh, demo):
    """Nothing more is run for them, and the table of readings has their ids."""
    assert set(demo.cells("readings")) == set(demo.cells("table6"))
    shown = ["readings", "specification_curve", "table6"]
    planned = Counter(job["rule"] for job in fresh.plan(*shown, overlay={"shows": shown}))
    assert (planned["evaluate"], planned["table"], planned["figure"], planned["ids"]) == (5, 2, 1, 1)
