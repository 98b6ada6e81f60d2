"""Join what is known of a pool's samples, seed by seed: margin, which methods selected it, and its place on a map."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.errors import ArtifactError
from vecaf.reporting import margins


def main(argv: list[str]) -> str:
    parser = command.parser(
        __doc__,
        "seeds, in the order of the scores; methods, in the order of a seed's selections; digest",
    )
    parser.add_argument("--index", type=Path, required=True, help="Parquet index of the pool")
    parser.add_argument("--meta", type=Path, required=True, help="facts about the pool, for the names of its classes")
    parser.add_argument("--embeddings", type=Path, nargs="+", required=True, help="(N, d) arrays, one a seed")
    parser.add_argument("--heads", type=Path, nargs="+", required=True, help="the heads behind them")
    parser.add_argument("--selections", type=Path, nargs="+", required=True, help="ids: of every method, seed by seed")
    parser.add_argument(
        "--map", type=Path, required=True, help="(N, 2) array: places in the embeddings of the first seed"
    )
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, a row per seed and sample")
    args = parser.parse_args(argv)
    seeds, methods = args.params["seeds"], args.params["methods"]
    if len(args.selections) != len(seeds) * len(methods):
        raise ArtifactError(f"{len(args.selections)} selections for {len(seeds)} seeds of {len(methods)} methods")
    import pandas as pd

    index = artifacts.read_table(args.index, columns=["id", "label", "split"])
    index = index[index["split"] == "pool"].sort_values("id")
    classes = np.array(artifacts.read_json(args.meta)["classes"])
    pool = pd.DataFrame({"id": index["id"].to_numpy(), "class": classes[index["label"].to_numpy()]})
    places = artifacts.read_array(args.map)
    tables = []
    for number, (seed, embeddings, head) in enumerate(zip(seeds, args.embeddings, args.heads, strict=True)):
        linear = artifacts.read_weights(head)
        of_seed = args.selections[number * len(methods) : (number + 1) * len(methods)]
        chosen = {
            f"by_{method}": pool["id"].isin(artifacts.read_table(file)["id"])
            for method, file in zip(methods, of_seed, strict=True)
        }
        margin = margins.top_two(artifacts.read_array(embeddings), linear["weight"].numpy(), linear["bias"].numpy())
        x, y = places.T if number == 0 else (np.nan, np.nan)
        tables.append(pool.assign(seed=seed, margin=margin, x=x, y=y, **chosen))
    made = pd.concat(tables, ignore_index=True)
    made.attrs = {"digest": args.params["digest"]}
    artifacts.write_table(args.out, made)
    return f"{len(pool)} samples under {len(seeds)} seeds, selected by {', '.join(methods)}"


if __name__ == "__main__":
    command.run(main)
