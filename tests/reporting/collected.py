"""The tidy rows of an exhibit of the real configuration, and what is asked of every table made of them."""

import json
import re

import pandas as pd

from vecaf import readings
from vecaf.artifacts import canonical
from vecaf.reporting.entries import COLUMNS
from vecaf.reporting.metrics import SELECTION, VALUES


def collected(study, exhibit, numbers):
    """Return a row for every cell; numbers: of a cell, a fraction, a dict of ``VALUES``, or None if it has not run."""
    rows = []
    for cell in study.shown(exhibit):
        found = numbers(cell)
        found = {"top1": found, "mean_per_class": found} if isinstance(found, float) else found
        row = dict.fromkeys((*COLUMNS, *VALUES, *SELECTION, "ids", "snow", "fog")) | vars(cell)
        row |= {"status": "measured" if found else "not run"}
        rows.append(
            row | ({"origin": "run", "digest": study.digest(cell), "published_top1": None} | found if found else {})
        )
    return pd.DataFrame(rows)


def told(study, exhibit):
    """Return the layout of an exhibit as a table's script is told it: through JSON with sorted keys."""
    return json.loads(canonical(study.layout(exhibit)))


def every_other(numbers):
    """Return the same numbers with every second cell missing, and seed 2 everywhere."""
    met = []

    def some(cell):
        key = (cell.dataset, cell.backbone, cell.method, cell.ratio, cell.schedule)
        if key not in met:
            met.append(key)
        return numbers(cell) if met.index(key) % 2 == 0 and cell.seed < 2 else None

    return some


def one_line(built):
    """Return the whole Markdown without line breaks."""
    return " ".join(built.to_markdown().split())


def check_latex(tex):
    """Check that braces and environments close, that any engine knows the characters, and that rows fill columns."""
    bare = re.sub(r"\\[{}]", "", tex)
    assert bare.count("{") == bare.count("}")
    assert all(ord(character) < 128 for character in tex)
    for environment in ("table*", "tabular", "minipage"):
        assert tex.count(rf"\begin{{{environment}}}") == tex.count(rf"\end{{{environment}}}") > 0
    tabulars = re.findall(r"\\begin\{tabular\}\{((?:[lcr]|p\{[^}]*\})+)\}(.*?)\\end\{tabular\}", tex, flags=re.DOTALL)
    for columns, body in tabulars:
        columns = re.sub(r"\{[^}]*\}", "", columns)
        for row in (row for row in body.splitlines() if row.endswith(r"\\")):
            spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", row))
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + spanned == len(columns), row
    return len(tabulars)


def contrasted(study, exhibit):
    """Return the layout of an exhibit that shows what one choice changes, as its script is told it."""
    spec = study.config.exhibits[exhibit]
    told = {"exhibit": exhibit, "title": spec.title, "notes": spec.notes, "config_digest": study.digests[exhibit]}
    told |= {"contrasts": readings.contrasts(study, exhibit), "choices": readings.defaults(study, exhibit)}
    return json.loads(canonical(told))
