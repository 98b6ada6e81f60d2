"""Collect the cells of one exhibit into one tidy table, and tell stale cells from current ones."""

from collections.abc import Mapping
from pathlib import Path

from vecaf import artifacts, command
from vecaf.reporting.bundle import Records
from vecaf.reporting.metrics import SELECTION, VALUES, check_metrics, table_row


def main(argv: list[str]) -> str:
    parser = command.parser(
        __doc__, "list of [cell, digest, status, reason, domain → digest]; digest null: the cell plans no job"
    )
    parser.add_argument("--cells", type=Path, required=True, help="folder of all cells")
    parser.add_argument("--published", type=Path, nargs="*", default=[], help="records of the published bundle")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, one row per cell")
    args = parser.parse_args(argv)
    import pandas as pd

    records = Records(args.cells, args.published, [cell for cell, *_ in args.params])
    rows = [row(records, cell, *told) | ood(records, cell, domains) for cell, *told, domains in args.params]
    artifacts.write_table(args.out, pd.DataFrame(rows))
    counts = pd.Series([row["status"] for row in rows]).value_counts()
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def row(records: Records, cell: str, digest: str | None, status: str | None, reason: str | None) -> dict:
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
        "published_top1": None,
    }
    if digest is None or (found := records.find(cell)) is None:
        return empty
    check_metrics(found.content, found.place)
    made = found.content["provenance"]["digest"]
    if made != digest:
        changed = f"{found.origin} with configuration {made}, the study now says {digest}"
        return empty | {"status": "stale", "reason": changed, "digest": made}
    return table_row(found.content, origin=found.origin, published_top1=published_top1(records, cell, digest))


def published_top1(records: Records, cell: str, digest: str) -> float | None:
    """Return the published accuracy of a cell that was run here as well; of one configuration, it may differ."""
    if (other := records.other(cell)) is None or other.content["provenance"]["digest"] != digest:
        return None
    check_metrics(other.content, other.place)
    return other.content["metrics"]["top1"]


def ood(records: Records, cell: str, domains: Mapping[str, str | None]) -> dict:
    """Return a cell's accuracy on each domain, its mean and that of each severity; None where none is current.

    domains: domain → digest of the cell and of the corrupted test sets that the study judges it on.
    """
    found = {}
    for domain, digest in domains.items():
        found[domain] = None
        if digest is not None and (record := records.find(cell, f"ood/{domain}.json")) is not None:
            judged = record.content
            if judged["provenance"]["digest"] != digest:
                continue
            found[domain] = judged["accuracy"][domain]["mean"]["top1"]
            severities = judged["accuracy"][domain]["severities"].items()
            found |= {f"{domain}_{severity}": values["top1"] for severity, values in severities}
    return found


if __name__ == "__main__":
    command.run(main)
