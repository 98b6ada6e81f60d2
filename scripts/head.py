"""Make the head a cell starts from, and the losses of the pool under it."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.models import head


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "head (random or class_mean), objective, seed")
    command.pool_arguments(parser)
    parser.add_argument("--embeddings", type=Path, required=True, help="(N, d) embeddings of the pretrained backbone")
    parser.add_argument("--head", type=Path, required=True, help="output: safetensors with weight (C, d) and bias (C,)")
    parser.add_argument("--losses", type=Path, required=True, help="output: (N,) losses of the pool")
    args = parser.parse_args(argv)

    embeddings = artifacts.read_array(args.embeddings)
    index = artifacts.read_table(args.pool[0])
    labels = index.loc[index["split"] == "pool", "label"].to_numpy("int64")
    classes = artifacts.read_json(args.pool[2])["classes"]
    if args.params["head"] == "class_mean":
        weight, bias = head.class_mean_head(embeddings, labels, len(classes))
    else:
        weight, bias = head.random_head(len(classes), embeddings.shape[1], args.params["seed"])
    objective = head.resolve_objective(args.params["objective"], classes)
    losses = head.losses_from_embeddings(embeddings, weight, bias, labels, objective)
    artifacts.write_weights(args.head, {"weight": weight, "bias": bias})
    artifacts.write_array(args.losses, losses)
    return f"{args.params['head']} head for {len(classes)} classes, mean loss {losses.mean():.4f}"


if __name__ == "__main__":
    command.run(main)
