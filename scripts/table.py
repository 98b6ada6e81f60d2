"""Write the table of one exhibit as CSV, Markdown, LaTeX and a part of the report."""

import importlib
from pathlib import Path

from vecaf import artifacts, command


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "the exhibit's layout: rows, columns, titles, readings, notes")
    parser.add_argument("--rows", type=Path, help="tidy metrics of the exhibit's cells")
    parser.add_argument("--selected", type=Path, nargs="+", help="images of first selections, a file a dataset")
    parser.add_argument("--ids", type=Path, help="ids that the exhibit's cells selected")
    parser.add_argument("--costs", type=Path, help="seconds and multiply-accumulates of the exhibit's cells")
    parser.add_argument("--profiles", type=Path, nargs="+", help="counts of the models behind them")
    for name in ("csv", "md", "tex", "html"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="output")
    args = parser.parse_args(argv)

    exhibit = importlib.import_module(f"vecaf.reporting.{args.params['exhibit']}")
    tables = {name: getattr(args, name) for name in ("rows", "ids", "costs")}
    more = {name: artifacts.read_table(file) for name, file in tables.items() if file}
    if args.selected:
        more["selected"] = [artifacts.read_table(file) for file in args.selected]
    if args.profiles:
        more["profiles"] = [artifacts.read_json(file) for file in args.profiles]
    table = exhibit.build(layout=args.params, **more)
    artifacts.write_text(args.csv, table.to_csv_text())
    artifacts.write_text(args.md, table.to_markdown())
    artifacts.write_text(args.tex, table.to_latex())
    artifacts.write_text(args.html, table.to_html())
    return f"{args.params['exhibit']}: {table.summary()}"


if __name__ == "__main__":
    command.run(main)
