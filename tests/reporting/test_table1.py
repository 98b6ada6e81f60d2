import csv
import io
import itertools
import re

import pandas as pd
import pytest
from collected import check_latex

from vecaf.errors import ArtifactError, ConfigError
from vecaf.reporting import paper, table1
from vecaf.reporting.entries import COLUMNS

TITLES = {"cifar10": "CIFAR-10", "caltech101": "Caltech-101", "imagenet": "ImageNet-1K"}
METHODS = {"activeft": "ActiveFT", "full": "Full data", "vecaf": "VeCAF", "random": "Random"}


def cell(method, ratio, top1, *, dataset="cifar10", backbone="deit_b_dino", schedule="3loops", **changes):
    """One row a seed: ``top1`` is a list of fractions, or of the status of a seed without result."""
    rows = []
    for seed, value in enumerate(top1):
        measured = not isinstance(value, str)
        row = dict.fromkeys(COLUMNS) | {"dataset": dataset, "backbone": backbone, "method": method, "ratio": ratio}
        row |= {"schedule": schedule, "seed": seed, "status": "measured" if measured else value, "origin": "run"}
        rows.append(
            row | {"top1": value if measured else None, "mean_per_class": value if measured else None} | changes
        )
    return rows


def layout(names, columns, **changes):
    return {
        "title": "Table 1",
        "rows": [{"method": method, "schedule": schedule} for method, schedule in names],
        "columns": [{"dataset": d, "dataset_title": TITLES.get(d, "Digits"), "ratio": r} for d, r in columns],
        "methods": METHODS,
        "config_digest": "0123456789abcdef",
    } | changes


def frame(cells):
    return pd.DataFrame(list(itertools.chain(*cells)))


def build(cells, names, columns, **changes):
    return table1.build(frame(cells), layout(names, columns, **changes))


def lines(built):
    return list(csv.DictReader(io.StringIO(built.to_csv_text())))


def line(built, **wanted):
    (found,) = (row for row in lines(built) if wanted.items() <= row.items())
    return found


@pytest.fixture(scope="module")
def whole():
    """The paper's own table as if every seed had reproduced it to the digit."""
    reported = paper.reported("table1")
    rows = [
        cell(
            row.method,
            row.ratio,
            ["not reported"] * 3 if pd.isna(row.value) else [row.value / 100] * 3,
            dataset=row.dataset,
            schedule=row.schedule,
        )
        for row in reported.itertuples()
    ]
    names = list(dict.fromkeys(zip(reported["method"], reported["schedule"], strict=True)))
    columns = list(dict.fromkeys(zip(reported["dataset"], reported["ratio"], strict=True)))
    columns = [column for column in columns if column[1] != "100pct"]
    return build(rows, names, columns)


def test_the_paper_joins_every_printed_value_once(whole):
    assert len(lines(whole)) == 84
    printed = [row for row in lines(whole) if row["paper"]]
    assert len(printed) == 76
    assert {row["verdict"] for row in printed} == {"reproduced"}
    assert {float(row["difference"]) for row in printed} == {0.0}
    assert [row["status"] for row in lines(whole) if not row["paper"]] == ["not reported"] * 8


def test_best_of_the_papers_own_table_is_vecaf_in_every_column(whole):
    best = [row for row in lines(whole) if row["best"] == "yes"]
    assert [row["method"] for row in best] == ["vecaf"] * 9  # and not full, at 93.64 above VeCAF's 93.57


def test_full_data_has_one_entry_for_each_dataset(whole):
    full = [row for row in lines(whole) if row["method"] == "full"]
    assert [(row["dataset"], row["ratio"]) for row in full] == [(name, "100pct") for name in TITLES]
    assert r"Full data & single & \multicolumn{3}{c}{93.64 $\pm$ 0.00} &" in whole.to_latex()
    row = next(text for text in whole.to_markdown().splitlines() if text.startswith("| Full data"))
    assert row.count("93.64 ± 0.00") == 3
    assert "Full data (100 %): one value under each heading" in whole.to_markdown()
    assert len(re.findall(r"^\| 100 % \| Full data +\| single", whole.to_markdown(), flags=re.MULTILINE)) == 3


def test_mean_error_and_missing_seeds():
    built = build([cell("vecaf", "1pct", [0.930, 0.934, "not run"])], [("vecaf", "3loops")], [("cifar10", "1pct")])
    row = line(built, method="vecaf")
    assert (row["mean"], row["se"], row["sd"]) == ("93.2000", "0.2000", "0.2828")
    assert (row["n"], row["seeds"], row["planned"]) == ("2", "0 1", "3")
    assert (row["paper"], row["difference"], row["z"]) == ("93.5700", "-0.3700", "-1.8408")
    text = built.to_markdown()
    assert "93.20 ± 0.20 (2 of 3)" in text
    assert "−0.37" in text
    assert "(2 of 3): 2 of 3 planned seeds are measured" in text


def test_one_seed_shows_no_error():
    built = build([cell("vecaf", "1pct", [0.93])], [("vecaf", "3loops")], [("cifar10", "1pct")])
    assert "93.00 ± n/a" in built.to_markdown()
    assert r"93.00 $\pm$ n/a" in built.to_latex()
    assert line(built, method="vecaf")["se"] == line(built, method="vecaf")["z"] == ""
    assert line(built, method="vecaf")["verdict"] == "outside margin"  # −0.57, and no baseline is measured
    assert "± 0.00" not in built.to_markdown()


def test_every_status_is_told_apart_and_explained():
    rows = [
        cell("vecaf", "1pct", ["not run"]),
        cell("vecaf", "2pct", ["stale"], reason="cea.step"),
        cell("ta_vaal", "1pct", ["not reported"], dataset="imagenet", reason="the paper prints “-”"),
        cell("ta_vaal", "1pct", [0.5]),
    ]
    columns = [("cifar10", "1pct"), ("cifar10", "2pct"), ("imagenet", "1pct")]
    built = build(rows, [("vecaf", "3loops"), ("ta_vaal", "3loops")], columns)
    statuses = ["not run", "stale", "not planned", "measured", "not planned", "not reported"]
    assert [row["status"] for row in lines(built)] == statuses
    text = " ".join(built.to_markdown().split())
    assert "Of 4 cells" in text
    assert "1 measured, 1 stale, 1 not run, 1 not reported" in text
    for reason in ("cea.step (1)", "the paper prints “-” (1)"):
        assert reason in text
    assert "cea.step (1)" in built.to_latex()


def test_schedules_are_explained_and_forms_of_one_method_named():
    schedules = {"single": "own selection for all batches", "3loops (TA-VAAL)": "random first"}
    cells = [cell("vecaf", "1pct", [0.9]), cell("vecaf", "1pct", [0.9], schedule="single")]
    built = build(cells, [("vecaf", "3loops"), ("vecaf", "single")], [("cifar10", "1pct")], schedules=schedules)
    text = built.to_markdown()
    assert "- single: own selection for all batches." in text
    assert "- 3 loops: 3 times a selection, each followed by 1/3" in text
    assert "- 3 loops (TA-VAAL): random first." in text


def test_many_reasons_stay_readable():
    cells = [cell("vecaf", f"{i}pct", ["stale"], reason=f"digest {i} changed") for i in range(1, 8)]
    built = build(cells, [("vecaf", "3loops")], [("cifar10", f"{i}pct") for i in range(1, 8)])
    text = " ".join(built.to_markdown().split())
    assert "digest 4 changed (1); 3 more, all in the CSV." in text
    assert line(built, ratio="7pct")["reason"] == "digest 7 changed"


def test_a_partly_stale_cell_averages_only_what_holds():
    built = build([cell("vecaf", "1pct", [0.9, "stale", "stale"])], [("vecaf", "3loops")], [("cifar10", "1pct")])
    assert "90.00 ± n/a (1 of 3)" in built.to_markdown()


def test_best_marks_ties_of_the_print_and_no_lonely_row():
    rows = [
        cell("vecaf", "1pct", [0.93001, 0.93001]),
        cell("activeft", "1pct", [0.92999, 0.92999]),
        cell("random", "1pct", [0.92, 0.92]),
        cell("vecaf", "2pct", [0.95, 0.95]),
        cell("activeft", "2pct", ["not run", "not run"]),
        cell("full", "100pct", [0.99, 0.99], schedule="single"),
    ]
    names = [("vecaf", "3loops"), ("activeft", "3loops"), ("random", "3loops"), ("full", "single")]
    with pytest.raises(ArtifactError, match="no place"):
        build(rows, names[:3], [("cifar10", "1pct"), ("cifar10", "2pct")])
    built = build(rows, names, [("cifar10", "1pct"), ("cifar10", "2pct")])
    best = [(row["method"], row["ratio"]) for row in lines(built) if row["best"] == "yes"]
    assert best == [("vecaf", "1pct"), ("activeft", "1pct")]
    assert built.to_markdown().count("**93.00 ± 0.00**") == 2
    assert built.to_latex().count(r"\textbf{93.00 $\pm$ 0.00}") == 2
    assert "not in the competition: Full data" in " ".join(built.to_markdown().split())


def test_verdicts_against_the_reference_row():
    rows = [
        cell("vecaf", "1pct", [0.95, 0.95]),  # paper 93.57, best baseline there ActiveFT 92.79
        cell("activeft", "1pct", [0.90, 0.90]),  # below VeCAF, as in the paper
        cell("activeft", "1pct", [0.96, 0.96], schedule="single"),  # paper 90.91: above VeCAF here only
        cell("full", "100pct", [0.99, 0.99], schedule="single"),  # above VeCAF at 1 % only: 93.64 against 95.27
        cell("random", "1pct", [0.8, 0.8]),
        cell("vecaf", "2pct", [0.953, 0.953]),
    ]
    names = [("vecaf", "3loops"), ("activeft", "3loops"), ("activeft", "single"), ("full", "single")]
    built = build(rows, [*names, ("random", "3loops")], [("cifar10", "1pct"), ("cifar10", "2pct")])
    verdicts = {
        (row["method"], row["schedule"], row["ratio"]): row["verdict"] for row in lines(built) if row["planned"] != "0"
    }
    assert verdicts == {
        ("vecaf", "3loops", "1pct"): "same direction",
        ("activeft", "3loops", "1pct"): "same direction",
        ("activeft", "single", "1pct"): "not reproduced",
        ("full", "single", "100pct"): "not reproduced",
        ("random", "3loops", "1pct"): "—",
        ("vecaf", "3loops", "2pct"): "reproduced",
    }


def test_a_dataset_the_paper_does_not_report_is_not_compared():
    rows = [cell(method, "10pct", [0.9, 0.92], dataset="digits", backbone="tiny") for method in ("vecaf", "random")]
    built = build(rows, [("vecaf", "3loops"), ("random", "3loops")], [("digits", "10pct")])
    text = built.to_markdown()
    assert "Paper and measurement" not in text
    assert "These are not the paper's numbers: it reports nothing for Digits with backbone tiny" in text
    assert "reproduced" not in text
    assert text.index("These are not") < text.index("Numbers are")  # the first thing a reader is told
    assert {(row["paper"], row["verdict"]) for row in lines(built)} == {("", "—")}


def test_mean_per_class_stands_beside_top1_where_it_differs():
    rows = [cell("vecaf", "2pct", [0.66, 0.68], dataset="caltech101", mean_per_class=0.6)]
    built = build(rows, [("vecaf", "3loops")], [("caltech101", "2pct")])
    assert line(built, method="vecaf")["mean_per_class"] == "60.0000"
    assert "| Mean per class |" in built.to_markdown()
    assert "60.00" in built.to_latex()


def test_published_values_are_marked():
    rows = [cell("vecaf", "1pct", [0.93, 0.94], origin="published"), cell("activeft", "1pct", [0.92, 0.93])]
    built = build(rows, [("vecaf", "3loops"), ("activeft", "3loops")], [("cifar10", "1pct")])
    assert "93.50 ± 0.50†" in built.to_markdown()
    assert r"$^\dagger$" in built.to_latex()
    assert "(2 of 4 measured cells)" in " ".join(built.to_markdown().split())


def test_notes_say_how_far_runs_are_from_their_published_results():
    def notes(*published):
        rows = [cell("vecaf", "1pct", [0.94, 0.93, 0.92]), cell("random", "1pct", [0.9])]
        for row, top1 in zip(itertools.chain(*rows), published, strict=True):
            row["published_top1"] = top1
        built = build(rows, [("vecaf", "3loops"), ("random", "3loops")], [("cifar10", "1pct")])
        return " ".join(built.to_markdown().split())

    said = (
        "Run here and published, too: 2 of these cells; top-1 here minus published −1.00 to +0.50 points, mean −0.25."
    )
    assert said in notes(0.95, 0.925, None, None)
    assert "Run here and published" not in notes(None, None, None, None)


def test_special_characters_are_escaped():
    rows = [cell("vecaf", "1pct", [0.93, 0.94])]
    changes = {
        "rows": [{"method": "vecaf", "schedule": "3loops", "label": r"A&B_50% #1 {x} | *y* λ ≡ \z"}],
        "readings": {"vecaf": {"cea.in_finetune": True, "ods.center": None}},
    }
    built = build(rows, [], [("cifar10", "1pct")], **changes)
    tex = built.to_latex()
    assert r"A\&B\_50\% \#1 \{x\} $|$ *y* $\lambda$ $\equiv$ \textbackslash{}z & 3 loops" in tex
    assert r"Readings of VeCAF: cea.in\_finetune = true, ods.center = none." in tex
    assert r"A&B_50% #1 {x} \| \*y\* λ ≡ \\z |" in " ".join(built.to_markdown().split())
    rows_of_measured = [text for text in built.to_markdown().splitlines() if text.startswith("|")][:3]
    assert {len(re.findall(r"(?<!\\)\|", text)) for text in rows_of_measured} == {4}


def test_latex_is_balanced_and_every_row_fills_its_columns(whole):
    assert check_latex(whole.to_latex()) == 4


def test_same_bytes_whatever_the_order_of_the_rows(whole):
    rows = frame([cell("vecaf", "1pct", [0.931, 0.9342, 0.9377]), cell("activeft", "1pct", [0.9, 0.91])])
    shape = layout([("vecaf", "3loops"), ("activeft", "3loops")], [("cifar10", "1pct")])
    first = table1.build(rows, shape)
    second = table1.build(rows.sample(frac=1, random_state=1), shape)
    assert first.to_csv_text() == second.to_csv_text()
    assert first.to_markdown() == second.to_markdown()
    assert first.to_latex() == second.to_latex()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top1": 93.0}, "fraction from 0 to 1"),
        ({"top1": None}, "is measured, but its top1"),
        ({"status": "failed"}, "status 'failed' is none of"),
        ({"seed": 0}, "more than once"),
    ],
)
def test_contradictory_rows_name_their_cell(change, message):
    rows = [row | change for row in cell("vecaf", "1pct", [0.9, 0.9])]
    with pytest.raises(ArtifactError, match=message) as error:
        build([rows], [("vecaf", "3loops")], [("cifar10", "1pct")])
    assert "cifar10/deit_b_dino/vecaf/1pct/3loops" in str(error.value)


def test_two_backbones_in_one_place_are_refused():
    rows = [cell("vecaf", "1pct", [0.9]), cell("vecaf", "1pct", [0.9], backbone="deit_s")]
    with pytest.raises(ArtifactError, match="several cells"):
        build(rows, [("vecaf", "3loops")], [("cifar10", "1pct")])


def test_missing_columns_and_keys_are_named():
    with pytest.raises(ArtifactError, match="lack reason, origin"):
        table1.build(pd.DataFrame(cell("vecaf", "1pct", [0.9])).drop(columns=["reason", "origin"]), layout([], []))
    with pytest.raises(ConfigError, match="lacks title, config_digest"):
        table1.build(pd.DataFrame(), {"rows": [], "columns": []})


def test_nothing_measured_is_still_a_table():
    built = build([cell("vecaf", "1pct", ["not run"] * 3)], [("vecaf", "3loops")], [("cifar10", "1pct")])
    assert "not run" in built.to_markdown()
    assert line(built, method="vecaf")["paper"] == "93.5700"
