import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vecaf import config
from vecaf.config.merging import merge
from vecaf.errors import ConfigError
from vecaf.study import Study

ROOT = Path(__file__).resolve().parent.parent


def problems(raw, **changes):
    with pytest.raises(ConfigError) as caught:
        config.load(merge(raw, changes))
    return str(caught.value)


def test_unknown_keys_name_what_is_known(paper_raw):
    text = problems(
        paper_raw, colour="red", datasets={"cifar10": {"batchs": 3}}, methods={"vecaf": {"ods": {"lamda": 1}}}
    )
    assert "colour: unknown key (value 'red'); known here: root, device" in text
    assert "datasets.cifar10.batchs: unknown key (value 3); known here: title, source" in text
    assert "methods.vecaf.ods.lamda: unknown key" in text
    assert "diversity" in text


def test_all_problems_are_reported_at_once(paper_raw):
    text = problems(
        paper_raw,
        gpus="2",
        datasets={"cifar10": {"batches": 0, "backbone": "deit_xl", "seeds": [0, 0]}},
        methods={"vecaf": {"encoder": "clip_xl"}, "mine": {"title": "Mine", "selector": "no_such"}},
        schedules={"uneven": [{"share": "1/2"}, {"share": "1/3"}]},
        exhibits={"table7": {"blocks": [{"datasets": {"cifar10": ["0.001pct", "101pct"]}, "methods": ["vecav"]}]}},
    )
    for expected in (
        "gpus: '2' is not allowed (Input should be a valid integer; a value given on the command line arrives as text)",
        "datasets.cifar10.batches: 0 is not allowed",
        "datasets.cifar10.backbone: 'deit_xl' is not one of deit_b_dino",
        "datasets.cifar10.seeds: [0, 0] names a seed twice",
        "methods.vecaf.encoder: 'clip_xl' is not one of bert_l",
        "methods.mine.selector: 'no_such' is not one of",
        "schedules.uneven: the shares 1/2, 1/3 do not sum to 1",
        "0.001pct of 50000 images gives K = 0",
        "'101pct' is outside (0pct, 100pct]",
        "exhibits.table7.blocks.0.methods: 'vecav' is not one of",
    ):
        assert expected in text, f"{expected!r} is missing in:\n{text}"
    head = text.splitlines()[0]
    assert int(head.split()[0]) == len(text.splitlines()) - 1
    assert "problems in the configuration" in head


def test_a_mistake_that_others_inherit_is_reported_once(paper_raw):
    text = problems(paper_raw, methods={"vecaf": {"ods": {"diversity": "high"}}})
    assert "methods.vecaf.ods.diversity: 'high' is not allowed" in text
    assert text.startswith("1 problem ")


@pytest.mark.parametrize("section", ["datasets", "methods"])
@pytest.mark.parametrize("written", [None, [], ["vecaf"], "vecaf", 1])
def test_a_section_that_is_no_mapping_is_a_sentence(paper_raw, section, written):
    assert f"- {section}: " in problems(paper_raw, **{section: written})
    without = {key: value for key, value in paper_raw.items() if key != section}
    assert f"- {section}: missing, and it has no default" in problems(without)


@pytest.mark.parametrize(
    "root", ["my results", "a;b", "$HOME", "a&b", "(a)", "it's", 'a"b', "a*", "{a}", "~/a", "-a", ""]
)
def test_a_folder_that_a_shell_would_read_otherwise_is_refused(paper_raw, root):
    text = problems(paper_raw, root=root)
    assert f"- root: {root!r} is not allowed" in text
    assert "; write letters, digits, . _ - /)" in text


@pytest.mark.parametrize("root", ["results/demo", "/scratch/me/vecaf-2.1", "../größer", "."])
def test_a_folder_is_a_plain_path(paper_raw, root):
    assert config.load(merge(paper_raw, {"root": root})).root == root


def test_more_loops_than_batches(paper_raw):
    text = problems(paper_raw, datasets={"cifar10": {"batches": 4}})
    assert "schedule '5loops' has 5 loops, but datasets.cifar10.batches is 4" in text


def test_selectors_that_choose_nothing_twice_need_a_large_enough_pool(paper_raw):
    block = {"datasets": {"cifar10": ["40pct"]}, "methods": ["alfa_mix", "activeft"], "schedules": ["3loops"]}
    text = problems(paper_raw, exhibits={"table7": {"blocks": [block]}})
    assert "alfa_mix never chooses a sample twice, but 3 times K = 20000 at 40pct is more than the 50000 images" in text
    assert text.startswith("1 problem ")


def test_a_schedule_begins_with_a_selector_that_can(paper_raw):
    block = {"datasets": {"cifar10": ["1pct"]}, "methods": ["ta_vaal"], "schedules": ["2loops"]}
    text = problems(paper_raw, exhibits={"table7": {"blocks": [block]}})
    assert "schedule '2loops' of ta_vaal begins with ta_vaal, which cannot choose before anything is trained" in text
    assert "methods.ta_vaal.schedules.2loops" in text


def test_a_selector_that_is_trained_along_acts_in_its_own_methods(paper_raw):
    turns = [{"share": "1/2"}, {"selector": "learning_loss", "share": "1/2"}]
    text = problems(paper_raw, schedules={"mixed": turns}, methods={"random": {"schedules": {"2loops": turns}}})
    assert "schedules.mixed: learning_loss is trained along in finetuning" in text
    assert "methods.random.schedules.2loops: learning_loss is trained along in finetuning" in text


def test_parameters_of_selectors_on_a_dataset_are_checked(paper_raw):
    selectors = {"activeft": {"rowz": 3}, "adam": {}, "alfa_mix": {"cap_step": 2.0}}
    text = problems(paper_raw, datasets={"cifar10": {"selectors": selectors}})
    assert "datasets.cifar10.selectors.activeft.rowz" in text
    assert "datasets.cifar10.selectors: 'adam' is not one of activeft" in text
    assert "datasets.cifar10.selectors.alfa_mix.cap_step: 2.0 is not allowed" in text


def test_a_multiple_of_the_ratio_stays_within_the_pool(paper_raw):
    block = {"datasets": {"cifar10": ["40pct"]}, "methods": ["random"], "schedules": ["single_3x"]}
    text = problems(paper_raw, exhibits={"table7": {"blocks": [block]}})
    assert "schedule 'single_3x' chooses 120% of the pool at 40pct" in text


def test_values_of_the_wrong_type_are_not_coerced(paper_raw):
    text = problems(
        paper_raw, datasets={"cifar10": {"seeds": ["5"], "batches": "750"}}, keep={"final_weights": "false"}
    )
    assert "datasets.cifar10.seeds.0: '5'" in text
    assert "datasets.cifar10.batches: '750'" in text
    assert "keep.final_weights: 'false'" in text


def test_extends_starts_from_another_method(paper_raw):
    methods = {"mine": {"extends": "vecaf_released", "title": "Mine", "ods": {"diversity": 0.5}}}
    loaded = config.load(merge(paper_raw, {"methods": methods})).methods
    assert loaded["mine"].ods.diversity == 0.5
    assert loaded["mine"].ods.objective == "released"
    assert loaded["mine"].cea.step == 1.2
    assert loaded["vecaf_no_cea"].cea is None
    assert loaded["vecaf"].cea is not None


def test_extends_in_a_circle_or_from_nothing(paper_raw):
    methods = {
        "a": {"extends": "b", "title": "A", "selector": "random"},
        "b": {"extends": "a", "title": "B", "selector": "random"},
        "c": {"extends": "nobody", "title": "C", "selector": "random"},
    }
    text = problems(paper_raw, methods=methods)
    assert "is a circle" in text
    assert "methods.c.extends: 'nobody' is not one of" in text
    for base in (["vecaf"], {"vecaf": 1}, 3):
        assert "methods.vecaf_long.extends: " in problems(
            paper_raw, methods={"vecaf_long": {"extends": base, "budget": "4"}}
        )


def test_a_study_shows_the_exhibits_that_it_names_in_the_order_of_their_definition(paper_raw):
    study = Study(config.load(merge(paper_raw, {"shows": ["specification_curve", "table7"]})))
    assert study.exhibits() == ["table7", "specification_curve"]
    assert study.exhibits("figure") == ["specification_curve"]
    assert {cell.method for cell in study.cells() if cell.dataset == "imagenet"} == set()


def test_exhibits_that_are_not_shown_may_be_anything(paper_raw):
    loaded = config.load(merge(paper_raw, {"shows": ["table7"], "exhibits": {"table1": {"blocks": "later"}}}))
    assert [name for name, exhibit in loaded.exhibits.items() if exhibit] == ["table7"]


def test_a_study_that_names_no_exhibits_shows_all(paper_raw):
    assert list(config.load(merge(paper_raw, {"shows": None})).exhibits) == list(paper_raw["exhibits"])


def test_unknown_exhibits_are_reported_with_the_rest(paper_raw):
    text = problems(paper_raw, shows=["table7", "tabel1", "figure9"], gpus="two", datasets={"cifar10": {"batches": 0}})
    assert text.startswith("4 problems ")
    assert "shows: 'tabel1' is not one of table1, table2, table3" in text
    assert "shows: 'figure9' is not one of table1" in text
    assert "gpus: 'two' is not allowed" in text
    assert "datasets.cifar10.batches: 0 is not allowed" in text


@pytest.mark.parametrize(
    ("shows", "refused"),
    [("table7", "shows: 'table7'"), ([7], "shows.0: 7"), ([["table7"]], "shows.0: ['table7']")],
)
def test_what_is_no_list_of_names_is_refused_in_words(paper_raw, shows, refused):
    assert f"{refused} is not allowed (Input should be a valid " in problems(paper_raw, shows=shows)


def test_a_dataset_is_judged_on_its_test_set_unless_it_says_otherwise(paper_raw):
    variant = {"extends": "cifar10", "title": "Tuning", "judged_on": "tuning"}
    loaded = config.load(merge(paper_raw, {"datasets": {"cifar10_tuning": variant}}))
    assert {spec.judged_on for name, spec in loaded.datasets.items() if name != "cifar10_tuning"} == {"test"}
    assert loaded.datasets["cifar10_tuning"].judged_on == "tuning"
    text = problems(paper_raw, datasets={"cifar10": {"judged_on": "validation"}})
    assert "datasets.cifar10.judged_on: 'validation' is not allowed (Input should be 'test' or 'tuning'" in text


def test_the_schema_for_editors_is_the_typed_one():
    """Regenerate with `python -m vecaf.config > config.schema.json`."""
    assert json.loads((ROOT / "config.schema.json").read_text()) == config.schema()


def test_the_paper_and_the_demo_agree_with_the_schema_for_editors(paper_raw, demo_raw):
    jsonschema = pytest.importorskip("jsonschema")
    for raw in (paper_raw, demo_raw):
        jsonschema.validate(raw, config.schema())


def test_the_study_in_the_docs_is_a_valid_one(paper_raw):
    block = (ROOT / "docs/own-study.md").read_text().split("```yaml")[1].split("```")[0]
    study = Study(config.load(merge(paper_raw, yaml.safe_load(block))))
    assert len(study.cells("table1")) == 18


def test_parsing_imports_nothing_heavy():
    code = "import sys, vecaf.study, vecaf.config, vecaf.data.sources; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    heavy = {"torch", "torchvision", "timm", "transformers", "pandas", "sklearn", "scipy", "matplotlib"}
    assert heavy & set(loaded.split()) == set()


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "gpus": st.one_of(st.integers(0, 8), st.text(max_size=3), st.none()),
            "device": st.sampled_from(["cpu", "cuda", "tpu", 3]),
            "threads": st.dictionaries(st.sampled_from(["light", "heavy", "x"]), st.integers(-1, 4)),
            "shows": st.one_of(
                st.text(max_size=3),
                st.lists(st.one_of(st.sampled_from(["table1", "x"]), st.integers(), st.lists(st.none())), max_size=3),
            ),
            "prompts": st.dictionaries(st.text(max_size=4), st.one_of(st.text(max_size=5), st.integers())),
            "datasets": st.fixed_dictionaries({"cifar10": st.fixed_dictionaries({"batches": st.integers(-1, 9)})}),
            "methods": st.dictionaries(
                st.sampled_from(["vecaf", "new"]),
                st.dictionaries(
                    st.sampled_from(["title", "selector", "cea", "x"]), st.one_of(st.none(), st.text(max_size=4))
                ),
            ),
        },
    )
)
def test_any_configuration_is_accepted_or_refused_in_words(paper_raw, changes):
    try:
        config.load(merge(paper_raw, changes))
    except ConfigError as error:
        assert len(str(error).splitlines()) >= 2  # noqa: PT017  (either outcome is right)


def test_figures_that_need_more_than_cells_say_what_is_missing(paper_raw):
    text = problems(
        paper_raw,
        datasets={"cifar10": {"b2a_levels": []}, "imagenet": {"b2a_levels": [120]}},
        exhibits={"figure6": {"weights_of": "random"}},
    )
    assert "datasets.cifar10.b2a_levels: missing; the accuracies in percent that figure5_b2a counts batches to" in text
    assert "datasets.imagenet.b2a_levels.0: 120 is not allowed" in text
    assert "exhibits.figure6.weights_of: 'random' is not one of its methods, activeft, vecaf" in text


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"datasets": {"cifar10": ["1pct", "2pct"]}}, "shows 2 places; with weights_of it has one dataset"),
        ({"schedules": ["single"]}, "schedule 'single' of activeft has one loop"),
        ({"methods": ["vecaf", "activeft_cat"]}, "activeft_cat has another objective than vecaf"),
        ({"methods": ["vecaf", "ta_vaal"]}, "ta_vaal reads more than embeddings, losses and a head"),
    ],
)
def test_selecting_on_one_methods_scores_needs_one_place_two_loops_and_what_is_kept(paper_raw, block, sentence):
    whole = {"datasets": {"cifar10": ["1pct"]}, "methods": ["activeft", "vecaf"]} | block
    text = problems(paper_raw, exhibits={"figure6": {"blocks": [whole]}})
    assert f"exhibits.figure6.blocks: {sentence}" in text


@pytest.mark.parametrize("datasets", [{}, None, ["cifar10"], "cifar10"])
def test_an_exhibit_with_weights_of_and_no_datasets_is_a_sentence(paper_raw, datasets):
    block = {"datasets": datasets, "methods": ["activeft", "vecaf"]}
    text = problems(paper_raw, exhibits={"figure6": {"blocks": [block]}})
    assert "exhibits.figure6.blocks: shows 0 places; with weights_of it has one dataset" in text
    assert ("exhibits.figure6.blocks.0.datasets: " in text) == (datasets != {})
    missing = problems(paper_raw, exhibits={"figure6": {"blocks": [{"methods": ["activeft", "vecaf"]}]}})
    assert "exhibits.figure6.blocks.0.datasets: missing, and it has no default" in missing


def test_where_the_tuning_split_judges_nine_tenths_can_be_selected(paper_raw):
    """0.11 % of 1,000 images is one, of 900 none."""
    tuned = {"extends": "cifar10", "title": "T", "pool_size": 1000, "judged_on": "tuning"}
    block = {"datasets": {"tuned": ["0.11pct"]}, "methods": ["random"]}
    changes = {"datasets": {"tuned": tuned}, "exhibits": {"table7": {"blocks": [block]}}}
    assert "0.11pct of 900 images gives K = 0; K must be in 1..900" in problems(paper_raw, **changes)
    config.load(merge(paper_raw, merge(changes, {"datasets": {"tuned": {"judged_on": "test"}}})))


def test_a_head_that_is_not_the_one_whose_losses_are_read_is_refused(paper_raw):
    changes = {"methods": {"mine": {"extends": "vecaf", "title": "M", "head": "class_mean"}}}
    assert "methods.mine.head: ods finetunes the head whose losses it reads; set ods.first_loop" in problems(
        paper_raw, **changes
    )


def test_stylers_and_planted_pools_are_checked(paper_raw):
    text = problems(
        paper_raw,
        methods={"clipstyler_snow": {"stylize": {"styler": "sand"}}},
        stylers={"snow": {"text": "snowy day", "crop": 512}, "fog": {"text": "foggy day", "steps": 0}},
        datasets={"imagenet_snow": {"planted": {"corruption": "hail", "severity": 6}}},
    )
    for expected in (
        "stylers.fog.steps: 0 is not allowed",
        "crop 512 is larger than size 256",
        "datasets.imagenet_snow.planted.corruption: 'hail' is not allowed",
        "datasets.imagenet_snow.planted.severity: 6 is not allowed",
    ):
        assert expected in text, f"{expected!r} is missing in:\n{text}"
    assert "methods.clipstyler_snow.stylize.styler: 'sand' is not one of fog, snow" in problems(
        paper_raw, methods={"clipstyler_snow": {"stylize": {"styler": "sand"}}}
    )


def test_a_planted_pool_is_as_large_as_it_keeps(paper_raw):
    blocks = [{"datasets": {"imagenet_snow": ["0.005pct"]}, "methods": ["random"]}]
    assert "0.005pct of 10000 images gives K = 0" in problems(paper_raw, exhibits={"table7": {"blocks": blocks}})
    study = Study(config.load(paper_raw))
    assert study.pool_params("imagenet_snow")["pool_size"] == 10_000
    assert study.origin("imagenet_snow") == "imagenet"
    assert study.captioned("imagenet_snow") == "imagenet_snow"


def test_what_a_dataset_sets_of_a_selector_must_fit_what_a_method_sets(paper_raw):
    """One member alone cannot be debiased as released."""
    text = problems(paper_raw, datasets={"cifar10": {"selectors": {"ods": {"ensemble": 1, "debias": "none"}}}})
    assert "datasets.cifar10.selectors.ods under methods.vecaf_literal" in text
    assert "debias literal needs an ensemble of at least 2" in text


STUDIES = [
    ("config/digits.yaml", "config/readings_digits.yaml"),
    ("config/digits.yaml", "config/prompts_digits.yaml"),
    ("config/digits.yaml", "config/small_images.yaml", "config/tuning.yaml"),
    ("config/small_images.yaml", "config/ood_small.yaml"),
    ("config/small_images.yaml", "config/study_vit_tiny.yaml"),
]


@pytest.mark.parametrize("files", STUDIES, ids=lambda files: files[-1])
def test_every_study_that_is_shipped_is_valid_and_shows_what_it_names(laid_over, files):
    raw = laid_over(*files)
    study = Study(config.load(raw))
    assert set(study.exhibits()) == set(raw["shows"])
    assert study.involved()
