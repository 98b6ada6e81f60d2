"""Choose K ids of the pool with one selector."""

from pathlib import Path

from vecaf import artifacts, command, selection
from vecaf.provenance import Stage
from vecaf.ratio import subset_size


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "selector, its params, ratio, loop, seeds")
    command.device_argument(parser)
    command.checkpoint_arguments(parser)
    parser.add_argument("--index", type=Path, required=True, help="Parquet index of the pool")
    parser.add_argument("--embeddings", type=Path, help="(N, d) embeddings, augmented or not")
    parser.add_argument("--losses", type=Path, help="(N,) losses")
    parser.add_argument("--head", type=Path, help="safetensors with weight (C, d) and bias (C,), behind the embeddings")
    parser.add_argument("--predicted-losses", type=Path, help="(N,) losses as the loss head predicts them")
    parser.add_argument("--images", type=Path, help="(N, S, S, 3) small images")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], help="selections of the loops before, in order")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet table of the chosen ids")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with diagnostics and cost")
    args = parser.parse_args(argv)
    params = args.params
    command.claim_gpu(args.device)
    import pandas as pd

    selector = selection.build(params["selector"], params["params"])
    if not selector.resumes:
        args.resume = None  # hashing the inputs would take longer than the selection
    checkpoint = command.checkpoint(args, args.index, args.predicted_losses, args.images, *args.earlier)
    with Stage("select") as stage:
        known = {"mislabelled"} & set(artifacts.table_columns(args.index))
        index = artifacts.read_table(args.index, columns=["id", "label", "split", *known])
        index = index[index["split"] == "pool"]
        inputs = selection.Inputs(
            ids=index["id"].to_numpy("int64"),
            labels=index["label"].to_numpy("int64"),
            earlier=tuple(artifacts.read_table(file)["id"].to_numpy("int64") for file in args.earlier),
            loop=params["loop"],
            device=args.device,
            checkpoint=checkpoint,
            **arrays(args, selector),
        )
        k = subset_size(params["ratio"], len(index))
        ids, diagnostics = selection.choose(selector, inputs, k, params["seeds"])
        if known:  # of the pool's labels; no selector is told
            diagnostics["mislabelled_share"] = float(index["mislabelled"][index["id"].isin(ids)].mean())
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
    checkpoint.remove()
    return f"{params['selector']} chose {k} of {len(index)} ids in loop {params['loop']}"


def arrays(args, selector: selection.Selector) -> dict:
    """Return the arrays of a selection; logits are those of the embeddings under the head."""
    found = {
        name: artifacts.read_array(file)
        for name in ("embeddings", "losses", "predicted_losses", "images")
        if (file := getattr(args, name))
    }
    if args.head:
        head = artifacts.read_weights(args.head)
        found["head"] = (head["weight"].numpy(), head["bias"].numpy())
        if "logits" in selector.needs:
            found["logits"] = selection.Logits(found["embeddings"], *found["head"])
    return found


if __name__ == "__main__":
    command.run(main)
