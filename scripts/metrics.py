"""Collect the cells of one exhibit into one tidy table, and tell stale cells from current ones."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.reporting.metrics import SELECTION, VALUES, check_metrics, table_row


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "list of [cell, digest, status, reason]; digest null: the cell plans no job")
    parser.add_argument("--cells", type=Path, required=True, help="folder of all cells")
    parser.add_argument("--domains", nargs="*", default=[], help="corruptions that the cells were judged on, too")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, one row per cell")
    args = parser.parse_args(argv)
    import pandas as pd

    rows = [row(args.cells, *expected) | ood(args.cells, *expected[:2], args.domains) for expected in args.params]
    artifacts.write_table(args.out, pd.DataFrame(rows))
    counts = pd.Series([row["status"] for row in rows]).value_counts()
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def row(folder: Path, cell: str, digest: str | None, status: str | None, reason: str | None) -> dict:
    """Return the tidy row of one cell: its numbers, or why there are none."""
    dataset, backbone, method, ratio, schedule, seed = cell.split("/")
    empty = {
        "dataset": dataset,
        "backbone": backbone,
        "method": method,
        "ratio": ratio,
        "schedule": schedule,
        "seed": int(seed.removeprefix("seed")),
        "status": status or "not run",
        "reason": reason,
        **dict.fromkeys((*VALUES, *SELECTION)),
        "ids": None,
        "origin": None,
        "digest": None,
    }
    file = folder / cell / "metrics.json"
    if digest is None or not file.exists():
        return empty
    metrics = artifacts.read_json(file)
    check_metrics(metrics, file)
    found = metrics["provenance"]["digest"]
    if found != digest:
        changed = f"run with configuration {found}, the study now says {digest}"
        return empty | {"status": "stale", "reason": changed, "digest": found}
    return table_row(metrics)


def ood(folder: Path, cell: str, digest: str | None, domains: list[str]) -> dict:
    """Return a cell's accuracy on each domain, its mean and that of each severity; None where there is no such file."""
    found = {}
    for domain in domains:
        file = folder / cell / "ood" / f"{domain}.json"
        found[domain] = None
        if digest is not None and file.exists():
            judged = artifacts.read_json(file)
            if judged["provenance"]["digest"] != digest:
                continue
            found[domain] = judged["accuracy"][domain]["mean"]["top1"]
            severities = judged["accuracy"][domain]["severities"].items()
            found |= {f"{domain}_{severity}": values["top1"] for severity, values in severities}
    return found


if __name__ == "__main__":
    command.run(main)
