"""Score a pool: the embedding of every image and, with trained heads, its loss and the loss that is predicted."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.data.images import Images
from vecaf.data.transforms import EvalTransform
from vecaf.models import backbone
from vecaf.models.head import resolve_objective
from vecaf.provenance import Stage
from vecaf.training import score


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "backbone, input_size, eval_transform, precision, dtype, objective, loss_head")
    command.pool_arguments(parser)
    command.device_argument(parser)
    command.checkpoint_arguments(parser)
    parser.add_argument(
        "--weights", type=Path, required=True, help="safetensors of the backbone, with its head or without"
    )
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--embeddings", type=Path, required=True, help="output: (N, d) array, row = id")
    parser.add_argument("--losses", type=Path, help="output: (N,) losses; needs weights with a head")
    parser.add_argument("--head", type=Path, help="output: the head behind the losses, weight (C, d) and bias (C,)")
    parser.add_argument("--predicted", type=Path, help="output: (N,) array; needs weights with a loss head")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with cost")
    args = parser.parse_args(argv)
    params, device = args.params, command.torch_device(args.device)
    checkpoint = command.checkpoint(args, args.pool[0], args.weights, batch=args.batch_size, losses=bool(args.losses))

    with Stage("score", device) as stage:
        pool = Images.open(*args.pool, split="pool", root=args.root)
        classes = artifacts.read_json(args.pool[2])["classes"]
        state = artifacts.read_weights(args.weights)
        model = backbone.build(
            params["backbone"],
            len(classes) if args.losses else 0,
            input_size=params["input_size"],
            state=state,
            loss_head=params.get("loss_head"),
        ).to(device)
        transform = EvalTransform(
            params["input_size"], params["eval_transform"], **backbone.data_config(params["backbone"])
        )
        shape = (len(pool), model.width)
        predicted = np.empty(len(pool), dtype=np.float32) if args.predicted else None
        with artifacts.array_writer(args.embeddings, shape, params["dtype"]) as embeddings:
            losses = score.score(
                model,
                pool,
                transform,
                device=device,
                batch_size=args.batch_size,
                objective=resolve_objective(params["objective"], classes) if args.losses else None,
                embeddings=embeddings,
                predicted_losses=predicted,
                precision=params["precision"],
                checkpoint=checkpoint,
            )
        if args.losses:
            artifacts.write_array(args.losses, losses)
            artifacts.write_weights(args.head, {"weight": model.head.weight, "bias": model.head.bias})
        if predicted is not None:
            artifacts.write_array(args.predicted, predicted)
    artifacts.write_json(args.record, {"stage": stage.record, "weights_hash": artifacts.file_hash(args.weights)})
    checkpoint.remove()
    mean = f", mean loss {losses.mean():.3f}" if args.losses else ""
    return f"{shape[0]} images embedded, width {shape[1]}{mean}"


if __name__ == "__main__":
    command.run(main)
