"""Write the table of one exhibit as CSV, Markdown and LaTeX."""

import importlib
from pathlib import Path

from vecaf import artifacts, command


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "the exhibit's layout: rows, columns, titles, readings, notes")
    parser.add_argument("--rows", type=Path, required=True, help="tidy metrics of the exhibit's cells")
    parser.add_argument("--ids", type=Path, help="ids that the exhibit's cells selected")
    for name in ("csv", "md", "tex"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="output")
    args = parser.parse_args(argv)

    exhibit = importlib.import_module(f"vecaf.reporting.{args.params['exhibit']}")
    more = {"ids": artifacts.read_table(args.ids)} if args.ids else {}
    table = exhibit.build(artifacts.read_table(args.rows), args.params, **more)
    artifacts.write_text(args.csv, table.to_csv_text())
    artifacts.write_text(args.md, table.to_markdown())
    artifacts.write_text(args.tex, table.to_latex())
    return f"{args.params['exhibit']}: {table.summary()}"


if __name__ == "__main__":
    command.run(main)
