"""Join the ids of many selections into one table, each selection once, under the hash that metrics name it by."""

from pathlib import Path

from vecaf import artifacts, command


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__)
    parser.add_argument("--selections", type=Path, nargs="*", default=[], help="Parquet tables of ids")
    parser.add_argument(
        "--published",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="tidy metrics, and the bundle's ids for them",
    )
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet with columns ids_hash and id")
    args = parser.parse_args(argv)
    import pandas as pd

    found: dict[str, pd.DataFrame] = {}
    for file in args.selections:
        ids = artifacts.read_table(file)["id"].to_numpy("int64")
        name = artifacts.ids_hash(ids)
        found.setdefault(name, pd.DataFrame({"ids_hash": name, "id": ids}))
    if args.published:
        rows, ids = artifacts.read_table(args.published[0]), artifacts.read_table(args.published[1])
        named = {name for text in rows.loc[rows["origin"] == "published", "ids"] for name in text.split()}
        found |= {name: group for name, group in ids.groupby("ids_hash") if name in named}
    none = pd.DataFrame({"ids_hash": pd.Series(dtype=str), "id": pd.Series(dtype="int64")})
    artifacts.write_table(args.out, pd.concat([none, *found.values()], ignore_index=True))
    return f"{len(found)} distinct selections in {len(args.selections)} files{' and the bundle' * bool(args.published)}"


if __name__ == "__main__":
    command.run(main)
