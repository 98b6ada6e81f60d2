"""The published bundle: results of cells in three Parquet files, read wherever a cell's own files are not there.

``records.parquet`` holds the JSON files of cells as text, with their provenance, so that a published number is as good
as a measured one: columns cell, file (``metrics.json``, ``ood/snow.json``), digest of the cell's configuration, text.
``ids.parquet`` holds selections under their hashes: ids_hash, id. ``curves.parquet``: cell, and a curve's own columns.
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

RECORDS, IDS, CURVES = "records.parquet", "ids.parquet", "curves.parquet"
METRICS = "metrics.json"


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
        text, bundle = self._texts[cell, file]
        place = f"{bundle}, {cell}/{file}"
        return Found(parsed(text, place), place, "published")


def digests(records: Path) -> dict[tuple[str, str], str]:
    """Return (cell, file) → digest of all that a bundle holds; the texts, nearly all of the file, are not read."""
    table = artifacts.read_table(records, columns=["cell", "file", "digest"])
    return {(cell, file): digest for cell, file, digest in table.itertuples(index=False)}


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

    def both(file: str, keep) -> pd.DataFrame:
        old = [artifacts.read_table(folder / file)] if (folder / file).exists() else []
        return pd.concat([*(table[keep(table)] for table in old if len(table)), new[file]], ignore_index=True)

    cells = set(new[RECORDS]["cell"])
    records = both(RECORDS, lambda table: ~table["cell"].isin(cells)).sort_values(["cell", "file"])
    curves = both(CURVES, lambda table: ~table["cell"].isin(cells)).sort_values("cell", kind="stable")
    named = {
        name for text in records.loc[records["file"] == METRICS, "text"] for name in selections(parsed(text, RECORDS))
    }
    ids = both(IDS, lambda table: ~table["ids_hash"].isin(set(new[IDS]["ids_hash"])))
    ids = ids[ids["ids_hash"].isin(named)].sort_values(["ids_hash", "id"])
    return {RECORDS: records, IDS: ids, CURVES: curves}


def selections(metrics: Mapping[str, Any]) -> list[str]:
    """Return the hashes of a cell's selections, in the order of its loops."""
    ids = metrics["provenance"]["ids"]
    return [ids[loop] for loop in sorted(ids, key=lambda name: int(name.removeprefix("loop")))]


def write(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write the tables of a bundle, small enough for git: texts compressed hard, sorted ids as their differences."""
    of_ids = {"use_dictionary": ["ids_hash"], "column_encoding": {"id": "DELTA_BINARY_PACKED"}}
    for file, table in tables.items():
        options = of_ids if file == IDS else {}
        with artifacts.atomic(folder / file) as temporary:
            table.to_parquet(temporary, index=False, compression="zstd", compression_level=19, **options)
