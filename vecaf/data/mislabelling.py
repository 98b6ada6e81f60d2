"""Wrong labels of a known share: what do selections that follow losses make of them, and what does it cost?"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from vecaf.artifacts import digest
from vecaf.data import splits
from vecaf.seeds import derive, keyed_uniform

if TYPE_CHECKING:
    import pandas as pd


def mislabel(
    index: pd.DataFrame, facts: Mapping[str, Any], told: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return index and facts of ``pool.build_pool`` with a share of the pool's labels replaced by another class.

    told: share, seed. A stratified draw; each of the other classes is as likely. The index has a column ``mislabelled``
    (bool); images, their captions and the test set stay as they are. Of a single class nothing changes.
    """
    labels, number = index["label"].to_numpy().copy(), len(facts["classes"])
    pool = np.flatnonzero(index["split"] == "pool")  # row = id
    drawn = splits.stratified(labels[pool], Fraction(str(told["share"])), derive(told["seed"], "mislabelled"))
    wrong = pool[drawn & (number > 1)]
    further = np.floor(keyed_uniform(derive(told["seed"], "class"), index["id"].to_numpy()[wrong]) * (number - 1))
    labels[wrong] = (labels[wrong] + 1 + further.astype(labels.dtype)) % number
    marks = np.zeros(len(index), dtype=bool)
    marks[wrong] = True
    changed = {
        "mislabelled": dict(told),
        "mislabelled_size": len(wrong),
        "pool_counts": np.bincount(labels[pool], minlength=number).tolist(),
        "index_hash": digest([facts["index_hash"], "mislabelled", dict(told)]),
    }
    return index.assign(label=labels, mislabelled=marks), dict(facts) | changed
