"""Tabulate what the cells of one exhibit cost: seconds measured and multiply-accumulates counted, by loop and step."""

from collections.abc import Iterator
from pathlib import Path

from vecaf import artifacts, command
from vecaf.flops import cell as flops
from vecaf.reporting.bundle import Found, Records
from vecaf.reporting.costs import COLUMNS
from vecaf.reporting.metrics import check_metrics, selections_of


def main(argv: list[str]) -> str:
    parser = command.parser(
        __doc__, "list of [cell, digest, status, reason, domain → digest]; digest null: the cell plans no job"
    )
    parser.add_argument("--cells", type=Path, required=True, help="folder of all cells")
    parser.add_argument("--published", type=Path, nargs="*", default=[], help="records of the published bundle")
    parser.add_argument("--profiles", type=Path, nargs="+", required=True, help="counts of the models (profile_flops)")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, one row per cell, loop and step")
    args = parser.parse_args(argv)
    import pandas as pd

    counts = flops.by_model(map(artifacts.read_json, args.profiles))
    records = Records(args.cells, args.published, [cell for cell, *_ in args.params])
    cells = [list(rows_of(records.find(cell), digest, counts)) for cell, digest, *_ in args.params]
    rows = pd.DataFrame([row for cell in cells for row in cell], columns=COLUMNS)
    artifacts.write_table(args.out, rows.astype({"loop": "int64", "seconds": "float64", "macs": "float64"}))
    return f"{len(rows)} steps of {sum(map(bool, cells))} cells; {cells.count([])} have not run"


def rows_of(found: Found | None, digest: str | None, counts: dict) -> Iterator[dict]:
    """Yield the rows of one cell; none for a cell that has not run under the present configuration.

    Raises ArtifactError for metrics that do not say how much was selected.
    """
    if digest is None or found is None:
        return
    metrics = found.content
    check_metrics(metrics, found.place)
    provenance, cost = metrics["provenance"], metrics["cost"]
    if provenance["digest"] != digest:
        return
    selections = selections_of(metrics, found.place)
    seconds = {(loop["loop"], step): value for loop in cost["loops"] for step, value in loop["seconds"].items()}
    inside = {step for _, step in seconds}
    seconds |= {(flops.ONCE, step): value for step, value in cost["seconds"].items() if step not in inside}
    cell, parameters = metrics["cell"], provenance["parameters"]
    profiles = flops.profiles_of(cell["backbone"], parameters, counts)
    work = flops.work(parameters, selections, profiles, len(metrics["metrics"]["per_class"]))
    macs = {(done.loop, done.step): done.macs for done in work}
    for loop, step in sorted(seconds.keys() | macs.keys()):
        key = {"loop": loop, "step": step}
        yield cell | key | {"seconds": seconds.get((loop, step)), "macs": macs.get((loop, step))}


if __name__ == "__main__":
    command.run(main)
