"""Check the paper's claims against the metrics of this study's tables, and against the paper's own printed numbers."""

from collections import Counter
from pathlib import Path

from vecaf import artifacts, command
from vecaf.errors import ArtifactError
from vecaf.reporting import claims
from vecaf.reporting.verdicts import VERDICTS


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "the claims, and the cells that their exhibits show: claims, places, measures, …")
    parser.add_argument("--rows", type=Path, nargs="*", default=[], help="tidy metrics, named {exhibit}.parquet")
    parser.add_argument(
        "--measures", type=Path, nargs="*", default=[], help="numbers that no exhibit has, as they are named"
    )
    for name in ("md", "csv", "html"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="output")
    args = parser.parse_args(argv)

    rows = {file.stem: artifacts.read_table(file) for file in args.rows}
    named = {name: Path(file) for name, file in args.params["measures"].items()}
    measures = {name: read(file) for name, file in named.items() if file in args.measures}
    listing = claims.build(args.params, rows, measures)
    artifacts.write_text(args.md, listing.to_markdown())
    artifacts.write_text(args.csv, listing.to_csv_text())
    artifacts.write_text(args.html, listing.to_html())
    counts = Counter(claims.verdicts(listing).values())
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS)


def read(file: Path):
    """Return the rows of a measure's file, which a person may have written as CSV."""
    if file.suffix != ".csv":
        return artifacts.read_table(file)
    import pandas as pd

    try:
        return pd.read_csv(file)
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise ArtifactError(f"{file} is not a readable CSV table ({error}); correct it or take it away") from error


if __name__ == "__main__":
    command.run(main)
