"""The specification curve: which readings stand on it, against what, and that a drawing holds nothing but its CSV."""

import csv
import io

import pytest
from collected import collected, contrasted

from vecaf import config
from vecaf.reporting import contrasts, specification_curve
from vecaf.reporting.specification_curve import FAMILIES
from vecaf.study import Study


def numbers(cell):
    """Return an accuracy that falls with the length of the method's name, and a low one for two of ActiveFT's."""
    value = {"activeft": 0.80, "activeft_paper": 0.70, "activeft_accumulate": 0.60}.get(cell.method)
    value = 0.9 - 0.005 * len(cell.method) + 0.01 * cell.seed if value is None else value
    recall = 0.5 + 0.001 * len(cell.method) if "_cat" in cell.method else None
    return {"top1": value, "mean_per_class": value, "recall_argmax": recall}


@pytest.fixture(scope="module")
def layout(paper):
    return contrasted(paper, "specification_curve")


@pytest.fixture(scope="module")
def rows(paper):
    return collected(paper, "specification_curve", numbers)


@pytest.fixture(scope="module")
def specs(rows, layout):
    return specification_curve.specifications(contrasts.build(rows, layout))


@pytest.fixture(scope="module")
def drawn(rows, layout):
    return specification_curve.build(rows, layout)


def of(specs, label, place="CIFAR-10, 2 %"):
    return next(spec for spec in specs if (spec.label, spec.place) == (label, place))


def markers(figure):
    return [line for line in figure.canvas.axes[0].lines if line.get_marker() not in ("None", "", None)]


def test_every_reading_of_vecaf_and_of_activeft_alone_stands_once(specs, layout):
    """All of VeCAF's on CIFAR-10 and one on each other place; of ActiveFT's the one that VeCAF does not share."""
    of_vecaf = [spec for spec in layout["contrasts"] if spec["root"] == "vecaf"]
    assert len(specs) == len(of_vecaf) + 1
    assert len({(spec.label, spec.place) for spec in specs}) == len(specs)
    assert not [spec for spec in specs if "top_k_loss" in spec.label]
    assert [spec.label for spec in specs if spec.label.startswith("activeft")] == ["activeft.objective = paper"]
    places = [spec.place for spec in specs if spec.place != "CIFAR-10, 2 %"]
    assert sorted(places) == [
        *("CIFAR-10, resize 256 and crop 224, 2 %", "Caltech-101, 30 a class, 5 %", "Caltech-101, 5 %"),
    ]


def test_a_reading_on_another_pool_says_whose_it_is(laid_over):
    study = Study(config.load(laid_over("config/small_images.yaml", "config/study_vit_tiny.yaml")))
    layout = contrasted(study, "specification_curve")
    found = contrasts.build(collected(study, "specification_curve", numbers), layout)
    specs = specification_curve.specifications(found)
    assert len({(spec.label, spec.place) for spec in specs}) == len(specs)
    elsewhere = {spec.label for spec in specs if "mislabelled" in spec.place}
    canvas = specification_curve.build(collected(study, "specification_curve", numbers), layout).canvas
    canvas.draw_without_rendering()
    assert canvas._suptitle.get_window_extent().x1 <= canvas.bbox.x1  # the pool's name and "or as named" fit
    others = ("vecaf_uniform: ", "vecaf_within_class: ", "vecaf_accumulate: ")
    assert elsewhere == {f"{whose}mislabelled = 0.05" for whose in ("", *others)}


def test_differences_are_those_under_the_same_choices(specs):
    """Accuracies of VeCAF fall with the length of the name by half a point a letter: 87.5 and up 0, 1, 2 by seed."""
    default = of(specs, "default")
    assert (default.reference, default.difference.n) == ("activeft", 3)
    assert default.difference.estimate == pytest.approx(0.875 + 0.01 - 0.80)
    union = of(specs, "loop.accumulate = true")
    assert union.reference == "activeft_accumulate"
    assert union.difference.estimate == pytest.approx(0.9 - 0.005 * len("vecaf_accumulate") + 0.01 - 0.60)
    own = of(specs, "activeft.objective = paper")
    assert own.reference == "activeft_paper"
    assert own.difference.estimate == pytest.approx(0.875 + 0.01 - 0.70)  # VeCAF's default, against this ActiveFT
    recall = of(specs, "vecaf_cat: objective.form = sum")
    assert (recall.metric, recall.reference) == ("recall_argmax", "activeft_cat_sum")
    assert recall.difference.estimate == pytest.approx(0.001 * (len("vecaf_cat_sum") - len("activeft_cat_sum")))
    assert of(specs, "objective.one_vs_all = cat").reference == "activeft_cat"


def test_they_are_sorted_from_the_lowest(specs):
    estimates = [spec.difference.estimate for spec in specs]
    assert estimates == sorted(estimates)
    assert estimates[0] < 0 < estimates[-1]


@pytest.mark.parametrize(
    ("label", "family"),
    [
        ("default", "default"),
        ("ods.rows = 1000, ods.until_convergence = false", "ods"),
        ("cea.noise = 0.001, cea.step = 1.2", "cea"),
        ("cea = none", "cea"),
        ("captioner = blip2_shuffled", "captioner"),
        ("captioner = class_name, encoder = one_hot", "captioner"),
        ("loop.optimizer_state = reset", "loop"),
        ("recipe = released", "loop"),
        ("recipe.head_lr_multiplier = 20.0", "loop"),
        ("vecaf_cat: objective.form = sum", "other"),
        ("objective.one_vs_all = cat", "other"),
        ("activeft.objective = paper", "other"),
    ],
)
def test_a_reading_is_of_the_family_of_its_key(specs, label, family):
    assert of(specs, label).family == family


def test_what_lacks_one_side_is_left_out(paper, layout):
    def some(cell):
        return numbers(cell) if cell.method in ("vecaf", "vecaf_reset", "vecaf_lambda_1", "activeft") else None

    found = specification_curve.specifications(contrasts.build(collected(paper, "readings", some), layout))
    assert {spec.label for spec in found if spec.place == "CIFAR-10, 2 %"} == {"default", "ods.diversity = 1.0"}
    alone = collected(paper, "readings", lambda cell: numbers(cell) if cell.method != "activeft" else None)
    labels = [spec.label for spec in specification_curve.specifications(contrasts.build(alone, layout))]
    assert "activeft.objective = paper" in labels
    assert "ods.diversity = 1.0" not in labels


def test_the_csv_is_what_is_drawn(drawn, specs):
    lines = list(csv.DictReader(io.StringIO(drawn.to_csv_text())))
    assert [line["reading"] for line in lines] == [spec.label for spec in specs]
    axes = drawn.canvas.axes[0]
    assert len(markers(drawn)) == len(lines)
    low, high = axes.get_xlim()
    said = [float(text.get_text().replace("−", "-")) for text in axes.texts]
    for height, (line, marker) in enumerate(zip(lines, markers(drawn), strict=True)):
        (x,), (y,) = marker.get_data()
        value = 100 * float(line["difference"])
        assert y == height
        assert marker.get_label() == FAMILIES[line["family"]][0]
        assert low <= x <= high
        if x != pytest.approx(value, abs=1e-3):  # outside the axis: its number stands there
            assert abs(value) > abs(x)
            assert any(abs(number - value) < 0.51 for number in said)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == len(lines)
    assert all(label.startswith(line["reading"]) for label, line in zip(labels, lines, strict=True))
    assert sum("(recall)" in label for label in labels) == sum(line["metric"] != "top1" for line in lines) == 3


def test_every_interval_is_a_line_and_one_seed_has_none(drawn, paper, layout):
    def lines(figure):
        plain = [line for line in figure.canvas.axes[0].lines if line not in markers(figure)]
        return [line.get_xdata() for line in plain if len(set(line.get_ydata())) == 1]

    assert len(lines(drawn)) == len(drawn.records)
    for (low, high), record in zip(lines(drawn), drawn.records, strict=True):
        assert (low, high) == (pytest.approx(100 * record["low"]), pytest.approx(100 * record["high"]))
    single = collected(paper, "readings", lambda cell: numbers(cell) if cell.seed == 1 else None)
    built = specification_curve.build(single, layout)
    assert len(built.records) == len(drawn.records)
    assert lines(built) == []
    assert {record["low"] for record in built.records} == {None}
    assert "(n = 1 seeds" in built.caption


def test_the_headline_counts_what_is_above_and_below_zero(drawn, paper, layout):
    def headline(figure):
        titles = [figure.canvas.axes[0].get_title(loc="left"), getattr(figure.canvas._suptitle, "_text", "")]
        return " ".join(titles)

    differences = [record["difference"] for record in drawn.records]
    assert f"{sum(value > 0 for value in differences)} of {len(differences)} readings" in headline(drawn)

    def known(cell):
        """VeCAF is always one point above, without any spread, but for λ: one point below."""
        value = 0.5 if cell.method.startswith("activeft") else 0.51
        value = 0.49 if "lambda" in cell.method else value
        return {"top1": value, "mean_per_class": value, "recall_argmax": value}

    built = specification_curve.build(collected(paper, "readings", known), layout)
    below = sum("lambda" in spec["method"] for spec in layout["contrasts"])
    assert below == 3
    assert f"{len(built.records) - below} of {len(built.records)} readings" in headline(built)
    assert headline(built).endswith(f"above: {len(built.records) - below}, below: {below}") or (
        f"above zero: {len(built.records) - below}, below: {below}" in headline(built)
    )


def test_the_legend_names_each_family_that_is_drawn_once(drawn, paper, layout):
    (legend,) = drawn.canvas.legends
    assert [text.get_text() for text in legend.get_texts()] == [title for title, _, _ in FAMILIES.values()]
    few = collected(paper, "readings", lambda cell: numbers(cell) if cell.method in ("vecaf", "activeft") else None)
    (legend,) = specification_curve.build(few, layout).canvas.legends
    assert [text.get_text() for text in legend.get_texts()] == ["default", "baseline and evaluation"]


def test_a_study_where_nothing_is_measured_still_draws(paper, layout, tmp_path):
    built = specification_curve.build(collected(paper, "readings", lambda cell: None), layout)
    built.save(tmp_path / "a.png", tmp_path / "a.pdf")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert built.records == ()
    assert markers(built) == []


def test_families_differ_in_colour_and_in_shape():
    colours, shapes = ({family[part] for family in FAMILIES.values()} for part in (1, 2))
    assert len(colours) == len(shapes) == len(FAMILIES)


@pytest.mark.parametrize(
    ("values", "edge"),
    [
        ([-0.8, 0.6, 2.2], 2.2),  # a little beyond the others: the axis widens
        ([-0.8, 0.6, 30.0], 2.0),  # ruined: cut off, with its number
        ([], 2.0),
    ],
)
def test_the_axis_cuts_off_only_what_lies_far_outside(values, edge):
    assert specification_curve._edge(values) == edge
