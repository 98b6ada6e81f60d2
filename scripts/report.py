"""Put tables, figures, claims and where every number comes from on one page that needs no network."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.reporting import report
from vecaf.reporting.bundle import Records


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "title, root, options, exhibits, rules, methods, datasets")
    parser.add_argument("--tables", type=Path, nargs="*", default=[], help="parts of the page, named {exhibit}.html")
    parser.add_argument("--figures", type=Path, nargs="*", default=[], help="{exhibit}.png, its caption .md beside it")
    parser.add_argument("--claims", type=Path, nargs="*", default=[], help="part of the page; none: without claims")
    parser.add_argument("--rows", type=Path, nargs="+", required=True, help="tidy metrics of the exhibits")
    parser.add_argument("--cells", type=Path, required=True, help="folder of all cells")
    parser.add_argument("--published", type=Path, nargs="*", default=[], help="records of the published bundle")
    parser.add_argument("--out", type=Path, required=True, help="output: HTML")
    args = parser.parse_args(argv)

    page = report.build(
        args.params,
        tables={file.stem: artifacts.read_text(file) for file in args.tables},
        figures={file.stem: (file.read_bytes(), artifacts.read_text(file.with_suffix(".md"))) for file in args.figures},
        claims=artifacts.read_text(args.claims[0]) if args.claims else None,
        rows=[artifacts.read_table(file) for file in args.rows],
        records=Records(args.cells, args.published),
    )
    artifacts.write_text(args.out, page)
    return f"{args.out}: {len(args.tables)} tables, {len(args.figures)} figures, {len(page) / 1e6:.1f} MB"


if __name__ == "__main__":
    command.run(main)
