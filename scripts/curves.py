"""Join the training curves of one exhibit's cells into one tidy table, with what they had cost by every batch."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.errors import ArtifactError
from vecaf.reporting import curves


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="tidy metrics: their measured cells are joined")
    parser.add_argument("--cells", type=Path, required=True, help="folder of all cells")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, a row for every batch of every cell")
    args = parser.parse_args(argv)
    import pandas as pd

    rows = artifacts.read_table(args.rows)
    measured = rows[(rows["status"] == "measured") & (rows["origin"] == "run")]
    tables = [cell(args.cells, dict(row)) for row in measured[list(curves.CELL)].to_dict("records")]
    joined = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(curves.COLUMNS))
    artifacts.write_table(args.out, joined)
    return f"{len(tables)} of {len(rows)} cells joined, {len(joined)} rows"


def cell(folder: Path, key: dict):
    """Return the rows of one cell."""
    place = folder.joinpath(*(str(value) for value in list(key.values())[:-1]), f"seed{key['seed']}")
    stages = artifacts.read_json(place / "metrics.json")["provenance"]["stages"]
    batches, curve = (artifacts.read_table(place / name) for name in ("batches.parquet", "curve.parquet"))
    try:
        joined = curves.join(batches, curve, stages)
    except ArtifactError as error:
        raise ArtifactError(f"{place}: {error}; train it again: snakemake -R finetune_last -- {place}") from error
    return joined.assign(**key)[list(curves.COLUMNS)]


if __name__ == "__main__":
    command.run(main)
