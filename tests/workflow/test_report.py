"""The report as its reader has it: numbers that lead to their code, on a page of which no browser complains."""

import html
import importlib
import inspect
import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest
from planning import ROOT, rules

from scripts import report as script
from vecaf import artifacts
from vecaf.reporting import table1
from vecaf.reporting.entries import COLUMNS
from vecaf.reporting.metrics import SELECTION, VALUES

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = 375
EXHIBIT = {"datasets": {"digits": ["5pct"]}, "methods": ["random", "activeft", "vecaf"], "seeds": [0, 1]}
OVERLAY = {"shows": ["table1"], "exhibits": {"table1": {"blocks": [EXHIBIT]}}}


def params_of(text, name):
    """Return the JSON parameters with which a plan would start a script."""
    command = next(line for line in text.splitlines() if f"python -m scripts.{name} " in line)
    words = shlex.split(command)
    return json.loads(words[words.index("--params") + 1])


@pytest.fixture(scope="module")
def told(fresh):
    """What the real rules tell the scripts of the table and of the report."""
    text = fresh.snakemake("-n", "-p", "report", overlay=OVERLAY).text
    return {name: params_of(text, name) for name in ("metrics", "table", "report")}


@pytest.fixture(scope="module")
def page(told, tmp_path_factory):
    """A report of cells with made-up accuracies, written by the script; one seed of one method has not run."""
    folder = tmp_path_factory.mktemp("report")
    rows = []
    for cell, digest, *_ in told["metrics"]:
        *key, seed = cell.split("/")
        row = dict(zip(("dataset", "backbone", "method", "ratio", "schedule"), key, strict=True))
        row |= {"seed": int(seed.removeprefix("seed")), "reason": None, **dict.fromkeys((*VALUES, *SELECTION))}
        missing = (row["method"], row["seed"]) == ("random", 1)
        value = None if missing else 0.8 + 0.01 * len(row["method"]) + 0.001 * row["seed"]
        row |= {"top1": value, "mean_per_class": value, "status": "not run" if missing else "measured"}
        row |= {"origin": None if missing else "run", "digest": None if missing else digest, "published_top1": None}
        rows.append(row)
        if not missing:
            artifacts.write_json(folder / "cells" / cell / "metrics.json", record(digest))
    frame = pd.DataFrame(rows)
    artifacts.write_table(folder / "rows.parquet", frame)
    artifacts.write_text(folder / "table1.html", table1.build(frame, told["table"]).to_html())
    arguments = ["--tables", folder / "table1.html", "--rows", folder / "rows.parquet", "--cells", folder / "cells"]
    arguments += ["--params", json.dumps(told["report"]), "--out", folder / "report.html"]
    assert "1 tables, 0 figures" in script.main(list(map(str, arguments)))
    return folder / "report.html"


def record(digest):
    stages = {f"loop1/{name}": {"seconds": 1.5} for name in ("score", "select", "finetune")} | {
        "evaluate": {"seconds": 0.5}
    }
    facts = {"git": {"commit": "c0ffee", "dirty": False}, "device": "cpu"}
    facts["host"] = {"cpu": "a CPU", "cores": 2, "instructions": ["avx2", "avx512f"]}
    return {"provenance": {"digest": digest, "stages": stages, "threads": 2, "versions": {"python": "3.11"}, **facts}}


class Page(HTMLParser):
    """The articles of a page by id: their text, their links and their preformatted lines."""

    def __init__(self, text):
        super().__init__()
        self.articles, self.ids, self.links, self.outside, self._now, self._pre = {}, set(), [], [], None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs["id"]} if "id" in attrs else set()
        self.outside += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag == "article":
            self._now = self.articles.setdefault(attrs["id"], {"text": "", "links": [], "pre": []})
        if tag == "a":
            self.links.append((attrs["href"], attrs.get("class")))
            if self._now is not None:
                self._now["links"].append(attrs["href"].removeprefix("#"))
        if tag == "pre" and self._now is not None:
            self._pre = True
            self._now["pre"].append("")

    def handle_endtag(self, tag):
        self._now = None if tag == "article" else self._now
        self._pre = False if tag == "pre" else self._pre

    def handle_data(self, data):
        if self._now is not None:
            self._now["text"] += data
            if self._pre:
                self._now["pre"][-1] += data


@pytest.fixture(scope="module")
def read(page):
    return Page(page.read_text())


def test_every_link_has_its_place_and_nothing_comes_from_a_network(read):
    assert all(address.startswith(("#", "data:")) for address in read.outside)
    assert {address.removeprefix("#") for address, _ in read.links} <= read.ids


def test_what_the_cells_ran_on_is_told(page):
    assert "a CPU, 2 cores, avx2, avx512f" in page.read_text()


def followed(read, method):
    """Return the article of the cells that the number of a method leads to."""
    address = next(link for link, kind in read.links if kind == "source" and f"/{method}/" in link)
    return read.articles[address.removeprefix("#")]


@pytest.mark.parametrize(
    ("method", "function", "equation"),
    [
        ("vecaf", "vecaf.selection.objectives.separate_terms", "equation 7, normalised: −Σ p_i ⟨e_i, θ_c(i)⟩/τ"),
        ("vecaf", "vecaf.augmentation.cea.augment", "e − η α (e − t), equation 9"),
        ("activeft", "vecaf.selection.objectives.contrastive", "mean_i softplus(R_a(i) + log b − s_i/τ"),
    ],
)
def test_a_number_leads_to_its_command_and_to_the_equation_behind_it(read, told, method, function, equation):
    cells = followed(read, method)
    for seed, command in enumerate(cells["pre"]):
        cell = f"digits/vit_digits/{method}/5pct/3loops/seed{seed}"
        assert command.startswith(f"snakemake results/demo/cells/{cell}/metrics.json --configfile config/digits.yaml ")
    of_method = read.articles[f"method/{method}"]
    assert f"method/{method}" in cells["links"]
    assert f"function/{function}" in of_method["links"]
    module, _, name = function.rpartition(".")
    documented = inspect.getdoc(getattr(importlib.import_module(module), name))
    assert equation in documented
    (shown,) = read.articles[f"function/{function}"]["pre"]
    assert shown == documented


@pytest.mark.parametrize("step", ["select", "finetune", "evaluate"])
def test_a_number_leads_to_the_rules_and_scripts_of_its_steps(read, told, step):
    assert f"step/{step}" in followed(read, "vecaf")["links"]
    shown = read.articles[f"step/{step}"]["text"]
    found = [rule for rule in told["report"]["rules"] if rule["script"] == step]
    assert found
    for rule in found:
        assert rule["name"] in shown
        assert re.search(rf"^(use )?rule .*\b{rule['name']}\b", (ROOT / rule["file"]).read_text(), re.MULTILINE)
    assert inspect.getdoc(importlib.import_module(f"scripts.{step}")) in " ".join(shown.splitlines())


def test_the_command_under_a_number_makes_its_cell(read, fresh):
    command = followed(read, "activeft")["pre"][0]
    program, target, *options = shlex.split(command)
    assert program == "snakemake"
    files = options[options.index("--configfile") + 1 : options.index("--cores")]
    assert files == ["config/digits.yaml", "demo/study.yaml", "overlay.yaml"]
    jobs = fresh.plan(target, overlay=OVERLAY)
    assert rules(jobs)["evaluate"] == 1
    assert {job["method"] for job in jobs if "method" in job} == {"activeft"}


def test_what_has_not_run_is_said_with_the_command_that_runs_it(read, page):
    cells = followed(read, "random")
    assert "not run" in cells["text"]
    assert len(cells["pre"]) == 2
    assert "1 not run" in page.read_text()


def test_the_paper_stands_under_our_number(paper):
    rows = [
        dict.fromkeys(COLUMNS) | vars(cell) | {"status": "measured", "origin": "run", "digest": "d", "top1": 0.9}
        for cell in paper.cells("table1")
    ]
    frame = pd.DataFrame(rows).assign(mean_per_class=0.9)
    text = table1.build(frame, paper.layout("table1")).to_html()
    assert '<a class="source" href="#cell/imagenet/deit_b_dino/vecaf/1pct/3loops">' in text
    compared = re.search(r"<h4>Paper and measurement: ImageNet-1K</h4>.*?</table>", text, re.DOTALL)[0]
    assert ">Verdict</th>" in compared
    assert re.search(r'90\.00 ± 0\.00</b?.*?<small title="printed in the paper">paper \d\d\.\d\d</small>', text)


def test_the_report_of_a_study_asks_for_what_the_study_shows(fresh, demo):
    jobs = fresh.plan("report", overlay=OVERLAY)
    assert {job["exhibit"] for job in jobs if job["rule"] == "table"} == {"table1"}
    assert rules(jobs)["report"] == rules(jobs)["claims"] == 1


PROBE = """
onload = () => {
  const view = document.querySelector("iframe"), page = view.contentDocument;
  const column = () => [...page.querySelectorAll("table.measured tbody tr")].map(row => row.cells[2].dataset.order);
  const told = {width: page.documentElement.scrollWidth, tables: page.querySelectorAll("table").length};
  const first = [...page.querySelectorAll("tbody td:first-child")];
  told.narrowest = Math.min(...first.map(cell => cell.clientWidth));
  const head = page.querySelector("table.measured thead tr:last-child th:nth-child(3)");
  head.click(); told.falling = column();
  head.click(); told.rising = column();
  page.querySelector("a.source").click();
  told.dialog = page.querySelector("dialog").open && page.querySelector("dialog article pre").textContent;
  told.dialog_width = page.querySelector("dialog").scrollWidth;
  const small = page.querySelector("dialog button").getBoundingClientRect();
  told.button = small.width > 0 && small.right <= view.clientWidth;
  document.body.dataset.told = JSON.stringify(told);
};
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_browser_shows_it_at_the_width_of_a_phone_and_complains_of_nothing(page, tmp_path):
    frame = f'<iframe width="{PHONE}" height="800" srcdoc="{html.escape(page.read_text())}"></iframe>'
    (tmp_path / "phone.html").write_text(f"<!doctype html><body>{frame}<script>{PROBE}</script>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=3000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "phone.html").as_uri()]
    done = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, check=False, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    told = json.loads(html.unescape(re.search(r'data-told="([^"]*)"', done.stdout)[1]))
    assert told["width"] <= PHONE
    assert told["dialog_width"] <= PHONE
    assert told["button"]
    assert told["narrowest"] > 80  # no word is set letter under letter
    assert told["tables"] >= 5
    assert told["falling"] == sorted(told["falling"], key=float, reverse=True) == told["rising"][::-1]
    assert told["dialog"].startswith("snakemake results/demo/cells/digits/vit_digits/")
