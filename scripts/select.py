"""Choose K ids of the pool with one selector."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command, selection
from vecaf.provenance import Stage
from vecaf.ratio import subset_size


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "selector, its params, ratio, loop, seeds")
    command.device_argument(parser)
    parser.add_argument("--index", type=Path, required=True, help="Parquet index of the pool")
    parser.add_argument("--embeddings", type=Path, help="(N, d) embeddings, augmented or not")
    parser.add_argument("--losses", type=Path, help="(N,) losses")
    parser.add_argument("--previous", type=Path, help="selection of the loop before")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet table of the chosen ids")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with diagnostics and cost")
    args = parser.parse_args(argv)
    params = args.params
    import pandas as pd

    with Stage("select") as stage:
        index = artifacts.read_table(args.index, columns=["id", "label", "split"])
        index = index[index["split"] == "pool"]
        inputs = selection.Inputs(
            ids=index["id"].to_numpy("int64"),
            labels=index["label"].to_numpy("int64"),
            embeddings=artifacts.read_array(args.embeddings) if args.embeddings else None,
            losses=artifacts.read_array(args.losses) if args.losses else None,
            labelled=artifacts.read_table(args.previous)["id"].to_numpy("int64") if args.previous else np.empty(0, int),
            loop=params["loop"],
            device=args.device,
        )
        selector = selection.build(params["selector"], params["params"])
        k = subset_size(params["ratio"], len(index))
        ids, diagnostics = selection.choose(selector, inputs, k, params["seeds"])
    record = {
        "selector": params["selector"],
        "loop": params["loop"],
        "k": k,
        "pool_size": len(index),
        "ids_hash": artifacts.ids_hash(ids),
        "diagnostics": diagnostics,
        "stage": stage.record,
    }
    artifacts.write_table(args.out, pd.DataFrame({"id": ids}))
    artifacts.write_json(args.record, record)
    return f"{params['selector']} chose {k} of {len(index)} ids in loop {params['loop']}"


if __name__ == "__main__":
    command.run(main)
