"""Fetch or make the pretrained weights of a backbone at a dataset's input size."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.data.images import Images
from vecaf.flops import backbones
from vecaf.models import backbone
from vecaf.provenance import Stage


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "backbone (timm name, weights, args, width), input_size, pretraining, seed")
    command.pool_arguments(parser, required=False)
    command.device_argument(parser)
    parser.add_argument("--out", type=Path, required=True, help="output: safetensors without the classifier")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON on where the weights come from")
    args = parser.parse_args(argv)
    spec, input_size = args.params["backbone"], args.params["input_size"]

    with Stage("pretrained") as stage:
        if spec["weights"] == "self_supervised":
            from vecaf.models import pretraining

            pool = Images.open(*args.pool, split="pool", root=args.root).in_memory()
            test = Images.open(*args.pool, split="test", root=args.root).in_memory()
            device = command.torch_device(args.device)
            state, info = pretraining.pretrain(
                spec, input_size, pool, test, seed=args.params["seed"], device=device, **args.params["pretraining"]
            )
        else:
            state, info = backbone.load_pretrained(spec, input_size)
        info["macs_per_image"] = backbones.forward(backbone.build(spec, 0, input_size=input_size), input_size).macs
    artifacts.write_weights(args.out, state)
    artifacts.write_json(args.record, {"info": info, "stage": stage.record, "hash": artifacts.file_hash(args.out)})
    return f"{spec['timm']}: {info.get('source', spec['weights'])}, {info['macs_per_image'] / 1e6:.1f} M MACs an image"


if __name__ == "__main__":
    command.run(main)
