"""The published bundle: results of cells in four Parquet files, read wherever a cell's own files are not there.

What exhibits of selections draw from (``EXHIBITS``) lies beside them as it lies below a study's root, one file each,
with the digest of the configuration behind it.

``records.parquet`` holds the JSON files of cells as text, with their provenance, so that a published number is as good
as a measured one: columns cell, file (``metrics.json``, ``ood/snow.json``), digest of the cell's configuration, text.
``ids.parquet`` holds selections under their hashes: ids_hash, id. ``curves.parquet``: cell, and a curve's own columns.
``batches.parquet``: cell, and of the log of its batches batch (from 0), loop, loss (nats).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vecaf import artifacts
from vecaf.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd

RECORDS, IDS, CURVES, BATCHES = "records.parquet", "ids.parquet", "curves.parquet", "batches.parquet"
EXHIBITS = ("samples/*.parquet", "selected/*/*.parquet")
METRICS, CURVE = "metrics.json", "curve.parquet"  # of a cell, whose log of batches has the name of the bundle's


class Found(NamedTuple):
    """A record of a cell. origin: ``run`` for the cell's own file, ``published`` for the bundle's."""

    content: dict[str, Any]
    place: str
    origin: str


class Records:
    """The records of cells: their own files, else those of a bundle.

    A cell that has metrics of its own has nothing else from the bundle: two runs are never mixed in one cell.
    """

    def __init__(self, cells: Path, published: Sequence[Path] = (), wanted: Collection[str] | None = None):
        """Look below ``cells`` and in the records of a bundle; wanted: the cells that will be asked for, or all."""
        self._cells = cells
        self._texts = {key: (text, file) for file in published for key, text in _texts(file, wanted).items()}

    def find(self, cell: str, file: str = METRICS) -> Found | None:
        """Return a record of a cell, None if it has none. Raises ArtifactError for what is no JSON."""
        own = self._cells / cell / file
        if own.exists():
            return Found(artifacts.read_json(own), str(own), "run")
        if (cell, file) not in self._texts or (self._cells / cell / METRICS).exists():
            return None
        return self._published(cell, file)

    def other(self, cell: str) -> Found | None:
        """Return the published metrics of a cell that has its own, too, of another run; else None."""
        own = self._cells / cell / METRICS
        if (cell, METRICS) not in self._texts or not own.exists():
            return None
        found = self._published(cell, METRICS)
        return None if found.content == artifacts.read_json(own) else found

    def _published(self, cell: str, file: str) -> Found:
        text, bundle = self._texts[cell, file]
        place = f"{bundle}, {cell}/{file}"
        return Found(parsed(text, place), place, "published")


class Logs:
    """The curves and batches of cells, with the rule of ``Records``: all from their own files, or all from a bundle."""

    def __init__(self, cells: Path, published: Mapping[str, Path], wanted: Collection[str]):
        """Look below ``cells`` and in the files of a bundle by name; wanted: the cells that will be asked for."""
        self._cells = cells
        self._parts: dict[tuple[str, str], pd.DataFrame] = {}
        for file in (CURVES, BATCHES) if published else ():
            table = artifacts.read_table(published[file])
            for cell, rows in table[table["cell"].isin(set(wanted))].groupby("cell", sort=False):
                self._parts[cell, file] = rows.drop(columns="cell").reset_index(drop=True)

    def find(self, cell: str, file: str) -> pd.DataFrame:
        """Return the table ``CURVE`` or ``BATCHES`` of a cell that has metrics; raises ArtifactError if it has none."""
        if (self._cells / cell / METRICS).exists():
            return artifacts.read_table(self._cells / cell / file)
        held = CURVES if file == CURVE else file
        if (cell, held) not in self._parts:
            raise ArtifactError(f"neither its own {file} nor the published {held} is there")
        return self._parts[cell, held]


def digests(records: Path) -> dict[tuple[str, str], str]:
    """Return (cell, file) → digest of all that a bundle holds; the texts, nearly all of the file, are not read."""
    table = artifacts.read_table(records, columns=["cell", "file", "digest"])
    return {(cell, file): digest for cell, file, digest in table.itertuples(index=False)}


def exhibit_digest(file: Path) -> str | None:
    """Return the digest that a file of an exhibit names, None if it names none; reads no row of it."""
    return artifacts.table_attributes(file).get("digest")


def exhibit_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return what is published of a file of an exhibit: no image of a dataset that its user has to fetch."""
    table.attrs["origin"] = "published"
    if "thumbnail" in table and not table.attrs["embedded"]:
        table["thumbnail"] = None
    return table


def said(table: pd.DataFrame) -> str:
    """Return that a file of an exhibit is the published one as a sentence, nothing for the study's own."""
    return "From the published bundle." if table.attrs.get("origin") == "published" else ""


def _texts(records: Path, wanted: Collection[str] | None) -> dict[tuple[str, str], str]:
    table = artifacts.read_table(records, columns=["cell", "file", "text"])
    if wanted is not None:
        table = table[table["cell"].isin(set(wanted))]
    return {(cell, file): text for cell, file, text in table.itertuples(index=False)}


def parsed(text: str, place: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"{place} is not valid JSON ({error}); restore the bundle: git checkout") from error


def merged(folder: Path, new: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables of a bundle with new ones laid over it: file → table, sorted, whatever came first.

    new: file → table. A cell that is new replaces what was published of it; ids that no record names are left out.
    """
    import pandas as pd

    from vecaf.reporting.metrics import selection_hashes

    def both(file: str, keep) -> pd.DataFrame:
        old = artifacts.read_table(folder / file) if (folder / file).exists() else new[file][:0]
        parts = [table for table in (old[keep(old)], new[file]) if len(table)]
        return pd.concat(parts or [new[file]], ignore_index=True)

    cells = set(new[RECORDS]["cell"])
    records = both(RECORDS, lambda table: ~table["cell"].isin(cells)).sort_values(["cell", "file"])
    curves, batches = (
        both(file, lambda table: ~table["cell"].isin(cells)).sort_values("cell", kind="stable")
        for file in (CURVES, BATCHES)
    )
    named = {
        name
        for text in records.loc[records["file"] == METRICS, "text"]
        for name in selection_hashes(parsed(text, RECORDS))
    }
    ids = both(IDS, lambda table: ~table["ids_hash"].isin(set(new[IDS]["ids_hash"])))
    ids = ids[ids["ids_hash"].isin(named)].sort_values(["ids_hash", "id"])
    return {RECORDS: records, IDS: ids, CURVES: curves, BATCHES: batches}


# Numbers that increase are kept as their differences; the bytes of losses, alike in their exponents, by their place.
_ENCODINGS = {
    IDS: {"use_dictionary": ["ids_hash"], "column_encoding": {"id": "DELTA_BINARY_PACKED"}},
    BATCHES: {
        "use_dictionary": ["cell", "loop"],
        "column_encoding": {"batch": "DELTA_BINARY_PACKED", "loss": "BYTE_STREAM_SPLIT"},
    },
}


def write(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write the tables of a bundle, compressed hard: they are to be small enough for git."""
    for file, table in tables.items():
        options = _ENCODINGS.get(file, {})
        with artifacts.atomic(folder / file) as temporary:
            table.to_parquet(temporary, index=False, compression="zstd", compression_level=19, **options)
