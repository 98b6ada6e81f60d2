"""Publish finished cells: write their records, selections and logs into the bundle that git keeps.

    python -m tools.publish --root results
    python -m tools.publish --root results 'cifar10/*' 'caltech101/deit_b_dino/vecaf/*'

A clone then makes every table and figure of these cells from the bundle and runs none of them. A cell that is published
again replaces what the bundle had of it. Publishing all cells also publishes what figures of selections are drawn from:
a map of the pool and who selected what (figure 6), captions and small images of digits (figure 3). Images that a user
has to fetch are never published.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from vecaf import artifacts, command
from vecaf.errors import ArtifactError
from vecaf.reporting import bundle
from vecaf.reporting.layout import seed_path
from vecaf.reporting.metrics import check_metrics, selection_hashes

EVERY = ["*"]


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__)
    parser.add_argument("--root", type=Path, default=Path("results"), help="folder of the study's results")
    parser.add_argument("--out", type=Path, default=Path("results/published"), help="folder of the bundle")
    parser.add_argument("cells", nargs="*", default=EVERY, metavar="CELL", help="cells by path, with wildcards; all")
    args = parser.parse_args(argv)

    found = {cell: folder for cell, folder in cells(args.root) if any(fnmatch(cell, asked) for asked in args.cells)}
    if not found:
        raise ArtifactError(
            f"no finished cell below {args.root}/cells fits {', '.join(args.cells)}; nothing is published"
        )
    new, lost = tables_of(args.root, found)
    tables = bundle.merged(args.out, new)
    # They are of whole exhibits, and no cell's.
    tables |= exhibits(args.root) if args.cells == EVERY else {}
    bundle.write(args.out, tables)
    size = sum((args.out / file).stat().st_size for file in tables) / 1e6
    total = tables[bundle.RECORDS]["cell"].nunique()
    missing = f"; {lost} selections are no longer there and left out" if lost else ""
    return f"{args.out}: {len(found)} cells published, {total} in all, {size:.1f} MB{missing}"


def tables_of(root: Path, found: dict[str, Path]) -> tuple[dict[str, pd.DataFrame], int]:
    """Return the tables of a bundle of some finished cells, and how many of their selections are nowhere.

    found: cell → its folder below the root.
    """
    records = pd.DataFrame(
        [record for cell, folder in found.items() for record in records_of(cell, folder)],
        columns=["cell", "file", "digest", "text"],
    )
    ids, lost = ids_of(root, records)
    new = {bundle.RECORDS: records, bundle.IDS: ids, bundle.CURVES: joined(found, bundle.CURVE)}
    return new | {bundle.BATCHES: joined(found, bundle.BATCHES, ["batch", "loop", "loss"])}, lost


def cells(root: Path):
    """Yield (cell, folder) of every cell that has metrics, sorted."""
    for file in sorted((root / "cells").glob(f"*/*/*/*/*/*/{bundle.METRICS}")):
        yield file.parent.relative_to(root / "cells").as_posix(), file.parent


def records_of(cell: str, folder: Path):
    """Yield the records of a cell as rows; raises ArtifactError for metrics that are incomplete or another cell's."""
    for file in (folder / bundle.METRICS, *sorted((folder / "ood").glob("*.json"))):
        content = artifacts.read_json(file)
        if file.name == bundle.METRICS:
            check_metrics(content, file)
            key = content["cell"]
            if (named := seed_path(key)) != cell:
                raise ArtifactError(f"{file} is that of {named}, not of its folder; delete it and run its target again")
        name = file.relative_to(folder).as_posix()
        yield cell, name, content["provenance"]["digest"], artifacts.canonical(content)


def joined(folders: dict[str, Path], file: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the rows of one file of cells under their names; columns: those that are published, or all."""
    tables = [
        artifacts.read_table(folder / file, columns=columns).assign(cell=cell) for cell, folder in folders.items()
    ]
    table = pd.concat(tables or [pd.DataFrame({"cell": pd.Series(dtype=str)})], ignore_index=True)
    return table[["cell", *table.columns.drop("cell")]]


def exhibits(root: Path) -> dict[str, pd.DataFrame]:
    """Return what exhibits of selections draw from, as it is published: place below the root → table."""
    files = [file for pattern in bundle.EXHIBITS for file in sorted(root.glob(pattern))]
    return {file.relative_to(root).as_posix(): bundle.exhibit_table(artifacts.read_table(file)) for file in files}


def ids_of(root: Path, records: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the ids of every selection that the records name, each once, and how many are nowhere."""
    folders = [*root.glob("first/*/*/*/*/*"), *root.glob("cells/*/*/*/*/*/*/loop*")]
    known = {
        artifacts.read_json(folder / "selection.json")["ids_hash"]: folder
        for folder in folders
        if (folder / "selection.json").exists()
    }
    texts = records.loc[records["file"] == bundle.METRICS, "text"]
    named = sorted({name for text in texts for name in selection_hashes(bundle.parsed(text, "records"))})
    tables = [pd.DataFrame({"ids_hash": pd.Series(dtype=str), "id": pd.Series(dtype="int64")})]
    for name in (name for name in named if name in known):
        ids = artifacts.read_table(known[name] / "selection.parquet")["id"].to_numpy("int64")
        if artifacts.ids_hash(ids) != name:
            raise ArtifactError(f"{known[name]}/selection.parquet is not what its record says; run its target again")
        tables.append(pd.DataFrame({"ids_hash": name, "id": ids}))
    return pd.concat(tables, ignore_index=True), len(named) - len(tables) + 1


if __name__ == "__main__":
    command.run(main)
