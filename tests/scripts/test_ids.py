"""The ids step: every distinct selection once, under the hash that metrics name it by."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from scripts import ids
from vecaf import artifacts
from vecaf.errors import ArtifactError


def joined(folder, *selections):
    """Write each selection as the select step does, join them, and return what is said and the table."""
    files = [folder / f"cell{number}" / "selection.parquet" for number in range(len(selections))]
    for file, chosen in zip(files, selections, strict=True):
        artifacts.write_table(file, pd.DataFrame({"id": np.array(chosen, dtype=np.int64)}))
    said = ids.main(["--selections", *map(str, files), "--out", str(folder / "ids.parquet")])
    return said, artifacts.read_table(folder / "ids.parquet")


def sets(table):
    return {name: group["id"].tolist() for name, group in table.groupby("ids_hash")}


def test_each_selection_stands_once_under_its_hash(tmp_path):
    said, table = joined(tmp_path, [3, 1, 2], [7], [1, 2, 3], [7, 70_000_000_000])
    assert said == "3 distinct selections in 4 files"
    assert list(table.columns) == ["ids_hash", "id"]
    assert len(table) == 3 + 1 + 2
    assert {name: sorted(found) for name, found in sets(table).items()} == {
        artifacts.ids_hash(np.array(chosen)): chosen for chosen in ([1, 2, 3], [7], [7, 70_000_000_000])
    }


def test_the_hash_is_that_of_the_sorted_ids_as_eight_bytes_each(tmp_path):
    """As evaluation names the ids of a loop in metrics.json."""
    _, table = joined(tmp_path, [2, 1])
    assert set(table["ids_hash"]) == {hashlib.sha256(b"\1" + b"\0" * 7 + b"\2" + b"\0" * 7).hexdigest()}


def test_an_exhibit_without_cells_has_an_empty_table_of_the_same_columns(tmp_path):
    assert ids.main(["--out", str(tmp_path / "ids.parquet")]) == "0 distinct selections in 0 files"
    table = artifacts.read_table(tmp_path / "ids.parquet")
    assert (list(table.columns), len(table), str(table["id"].dtype)) == (["ids_hash", "id"], 0, "int64")
    assert sets(table) == {}


def test_a_missing_selection_is_named_and_nothing_written(tmp_path):
    missing = tmp_path / "selection.parquet"
    with pytest.raises(ArtifactError, match=rf"cannot read {missing}"):
        ids.main(["--selections", str(missing), "--out", str(tmp_path / "ids.parquet")])
    assert not list(tmp_path.iterdir())
