"""Curves of few cells with numbers that can be checked by hand, and what a figure is told about them."""

import numpy as np
import pandas as pd

from vecaf.reporting import curves
from vecaf.reporting.layout import KEYS

FULL = ("digits", "vit", "full", "100pct", "single")


def key(method, ratio="5pct", schedule="2loops", dataset="digits"):
    return (dataset, "vit", method, ratio, schedule)


def cell(key, seed, top1, budget=40, loops=2, macs=1.0, selecting=10.0):
    """Return a cell's rows: top1 at equal steps of the budget; a batch costs macs, a loop's selection ``selecting``."""
    done = np.arange(budget + 1)
    loop = np.maximum(1, np.ceil(done * loops / budget)).astype(int)
    table = pd.DataFrame({"loop": loop, "batch": done, "loss": np.where(done, 3.0 - done / budget, np.nan)})
    table["top1"] = table["probe_loss"] = np.nan
    at = np.linspace(0, budget, len(top1)).astype(int)
    table.loc[at, "top1"] = top1
    table.loc[at, "probe_loss"] = 2.0 - np.asarray(top1)
    table["macs"] = done * macs + loop * selecting
    table["seconds"] = table["macs"] / 2
    return table.assign(shared=0.0, uncounted="select", seed=seed, **dict(zip(KEYS, key, strict=True)))[
        list(curves.COLUMNS)
    ]


def rows_of(table, **top1):
    """Return tidy metrics of the cells of a table: the last accuracy of its curve, or what is given for a method."""
    last = table.dropna(subset=["top1"]).groupby(list(curves.CELL), sort=False)["top1"].last().reset_index()
    last["top1"] = [top1.get(method, value) for method, value in zip(last["method"], last["top1"], strict=True)]
    return last.assign(status="measured", origin="run")


def told(*keys, exhibit="figure1b", **more):
    """Return a layout as ``Study.curves_layout`` says it, for these keys."""
    datasets = list(dict.fromkeys(k[0] for k in keys))
    columns = dict.fromkeys((k[0], k[1], k[3]) for k in keys if k[3] != "100pct")
    columns = columns or dict.fromkeys((k[0], k[1], k[3]) for k in keys)
    methods = list(dict.fromkeys(k[2] for k in keys))
    return {
        "exhibit": exhibit,
        "title": "Of a test",
        "rows": [{"method": m, "schedule": s} for m, s in dict.fromkeys((k[2], k[4]) for k in keys)],
        "columns": [{"dataset": d, "dataset_title": d.title(), "backbone": b, "ratio": r} for d, b, r in columns],
        "methods": {method: method.title() for method in methods},
        "names": {method: method.title() for method in methods},
        "variants": {method: {"of": method} for method in methods},
        "backbones": {"vit": {"title": "ViT"}},
        "curves": {name: {"points": 4, "test_images": 360, "probe_images": 128} for name in datasets},
        "b2a_levels": {name: [50] for name in datasets},
        "notes": ["A note"],
        "config_digest": "abc",
        **more,
    }
