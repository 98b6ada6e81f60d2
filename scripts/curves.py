"""Join the training curves of one exhibit's cells into one tidy table, with what they had cost by every batch."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.errors import ArtifactError
from vecaf.reporting import bundle, curves
from vecaf.reporting.layout import seed_path


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="tidy metrics: their measured cells are joined")
    parser.add_argument("--costs", type=Path, required=True, help="what every step of these cells costs")
    parser.add_argument("--cells", type=Path, required=True, help="folder of all cells")
    parser.add_argument(
        "--published", type=Path, nargs="*", default=[], help="curves and batches of the published bundle"
    )
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, a row for every batch of every cell")
    args = parser.parse_args(argv)
    import pandas as pd

    rows, costs = artifacts.read_table(args.rows), artifacts.read_table(args.costs)
    costs = dict(list(costs.groupby(list(curves.CELL))))
    keys = rows.loc[rows["status"] == "measured", list(curves.CELL)].to_dict("records")
    cells = {seed_path(key): key for key in keys}
    logs = bundle.Logs(args.cells, {file.name: file for file in args.published}, cells)
    tables = []
    for cell, key in cells.items():
        try:
            joined = curves.join(
                logs.find(cell, bundle.BATCHES), logs.find(cell, bundle.CURVE), costs[tuple(key.values())]
            )
        except ArtifactError as error:
            place = args.cells / cell
            raise ArtifactError(f"{place}: {error}; train it again: snakemake -R finetune_last -- {place}") from error
        tables.append(joined.assign(**key)[list(curves.COLUMNS)])
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(curves.COLUMNS))
    artifacts.write_table(args.out, table)
    return f"{len(tables)} of {len(rows)} cells joined, {len(table)} rows"


if __name__ == "__main__":
    command.run(main)
