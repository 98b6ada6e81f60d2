"""Draw one exhibit as PNG and PDF, and write the numbers behind it as CSV."""

import importlib
from pathlib import Path

from vecaf import artifacts, command


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "the exhibit's layout: title, what it shows, notes")
    parser.add_argument("--rows", type=Path, required=True, help="tidy metrics of the exhibit's cells")
    for name in ("png", "pdf", "csv"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="output")
    args = parser.parse_args(argv)

    exhibit = importlib.import_module(f"vecaf.reporting.{args.params['exhibit']}")
    figure = exhibit.build(artifacts.read_table(args.rows), args.params)
    with artifacts.atomic(args.png) as png, artifacts.atomic(args.pdf) as pdf:
        figure.save(png, pdf)
    artifacts.write_text(args.csv, figure.to_csv_text())
    return f"{args.params['exhibit']}: {len(figure.records)} points drawn"


if __name__ == "__main__":
    command.run(main)
