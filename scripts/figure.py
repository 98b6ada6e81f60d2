"""Draw one exhibit as PNG and PDF, and write the numbers behind it as CSV and its caption as Markdown."""

import importlib
from pathlib import Path

from vecaf import artifacts, command


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "the exhibit's layout: title, what it shows, notes")
    parser.add_argument("--rows", type=Path, help="tidy metrics of the exhibit's cells")
    parser.add_argument("--curves", type=Path, help="training curves of the exhibit's cells")
    parser.add_argument("--samples", type=Path, help="the pool's samples with what the exhibit's methods selected")
    parser.add_argument("--selected", type=Path, nargs="+", help="images of first selections, a file a dataset")
    for name in ("png", "pdf", "csv", "md"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="output")
    args = parser.parse_args(argv)

    exhibit = importlib.import_module(f"vecaf.reporting.{args.params['exhibit']}")
    given = {name: file for name in ("rows", "curves", "samples") if (file := getattr(args, name))}
    more = {name: artifacts.read_table(file) for name, file in given.items()}
    if args.selected:
        more["selected"] = [artifacts.read_table(file) for file in args.selected]
    figure = exhibit.build(layout=args.params, **more)
    with artifacts.atomic(args.png) as png, artifacts.atomic(args.pdf) as pdf:
        figure.save(png, pdf)
    artifacts.write_text(args.csv, figure.to_csv_text())
    artifacts.write_text(args.md, f"**{args.params['title']}**\n\n{figure.caption}\n")
    return f"{args.params['exhibit']}: {len(figure.records)} records behind it"


if __name__ == "__main__":
    command.run(main)
