"""Figures as files: the same bytes on any day, a caption inside, and a CSV that a spreadsheet reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vecaf.reporting import figure

ROOT = Path(__file__).resolve().parent.parent.parent
CAPTION = "λ = 0.1, VeCAF − ActiveFT (n = 3)"

DRAW = f"""
import sys
from pathlib import Path
from vecaf.reporting import figure

canvas, axes = figure.canvas(4, 2)
axes.plot([0, 1, 2], [1, 3, 2], "o-", color=figure.COLOURS["blue"], label="θ, 0.5 %")
axes.set_title("Ångström −1.5")
canvas.legend(loc="outside lower center")
figure.Figure(canvas, (), {CAPTION!r}).save(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The files of one figure, made by two processes at two times."""
    folder = tmp_path_factory.mktemp("drawn")
    made = []
    for epoch, hashing in (("86400", "1"), ("1700000000", "2")):
        files = [folder / f"{epoch}.{ending}" for ending in ("png", "pdf")]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": hashing}
        subprocess.run([sys.executable, "-c", DRAW, *map(str, files)], cwd=ROOT, env=environment, check=True)
        made.append(files)
    return made


@pytest.mark.parametrize("position", [0, 1], ids=["png", "pdf"])
def test_two_processes_at_two_times_write_the_same_bytes(drawn, position):
    first, second = (files[position].read_bytes() for files in drawn)
    assert len(first) > 5000
    assert first == second


def test_neither_file_says_when_or_with_what_it_was_made(drawn):
    for file in drawn[0]:
        content = file.read_bytes()
        for word in (b"CreationDate", b"Creator", b"Producer", b"Software", b"tIME"):
            assert word not in content


def test_the_caption_is_inside(drawn):
    png, pdf = drawn[0]
    assert Image.open(png).text["Description"] == CAPTION
    assert CAPTION.encode("utf-16-be") in pdf.read_bytes().replace(rb"\(", b"(").replace(rb"\)", b")")


def test_the_size_is_in_inches(drawn):
    assert Image.open(drawn[0][0]).size == (800, 400)


def test_a_canvas_has_one_look_whatever_was_set_before():
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 30, "axes.grid": False})
    canvas, axes = figure.canvas(3, 2, ncols=2)
    assert (plt.rcParams["font.size"], plt.rcParams["axes.grid"], plt.rcParams["pdf.fonttype"]) == (8, True, 42)
    assert canvas.get_size_inches().tolist() == [3, 2]
    assert len(axes) == 2
    assert canvas.get_layout_engine() is not None
    plt.close(canvas)


def test_records_as_csv():
    """Empty for None, six significant digits, quotes where a comma is, no decimals of whole numbers."""
    records = ({"reading": "a, b", "n": 3, "low": None, "p": 1 / 3}, {"reading": "“c”", "n": 2, "low": -2e-9, "p": 1.0})
    made = figure.Figure(None, records, "")
    assert made.to_csv_text() == 'reading,n,low,p\n"a, b",3,,0.333333\n“c”,2,-2e-09,1\n'


@pytest.mark.parametrize(
    "labels", [["Random (n = 3)"] * 5 + ["Random, 4 × the batches (n = 3)"], ["VeCAF (n = 3)"] * 9]
)
def test_a_legend_is_no_wider_than_its_figure(labels):
    canvas, axes = figure.canvas(figure.PAGE, 2)
    for number, label in enumerate(sorted(labels, reverse=True)):
        axes.plot([0], [number], "o", label=f"{label[:-1]}, {number})")
    figure.legend_below(canvas, [axes])
    canvas.draw_without_rendering()
    (legend,) = canvas.legends
    extent = legend.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= canvas.bbox.x1
