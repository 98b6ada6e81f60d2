"""Train CLIPstyler's decoder for one text on the images of a pool; its labels are not used."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.data.images import Images
from vecaf.models.clipstyler import networks, training
from vecaf.models.clipstyler.guidance import Guide
from vecaf.models.clipstyler.options import options
from vecaf.provenance import Stage


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "text, seed, and what else vecaf.models.clipstyler.options knows")
    command.pool_arguments(parser)
    command.device_argument(parser)
    parser.add_argument("--out", type=Path, required=True, help="output: decoder and scale of the features")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with losses, weights behind it, cost")
    args = parser.parse_args(argv)
    chosen = options({key: value for key, value in args.params.items() if key != "seed"})
    seed, device = args.params["seed"], command.torch_device(args.device)

    with Stage("train_styler", device) as stage:
        pool = Images.open(*args.pool, split="pool", root=args.root)
        state = networks.vgg_state(chosen.vgg)
        styler = networks.build(state, seed).to(device)
        guide = Guide(chosen.clip, chosen.revision, chosen.source, chosen.text, device)
        losses = training.train(styler, guide, pool, chosen, seed=seed, device=device)
    behind = {"options": chosen.model_dump(), "seed": seed, "vgg_hash": networks.hash_of(styler.encoder)}
    artifacts.write_weights(args.out, styler.state_dict(), behind)
    ends = {name: [float(np.mean(part)) for part in (steps[:10], steps[-10:])] for name, steps in losses.items()}
    record = behind | {"clip": guide.facts, "first_and_last_ten": ends, "losses": losses, "stage": stage.record}
    artifacts.write_json(args.record, record | {"weights_hash": artifacts.file_hash(args.out)})
    first, last = (sum(part[end] for name, part in ends.items() if name.startswith("style/")) for end in (0, 1))
    return f"“{chosen.text}”: in {chosen.steps} steps the loss went from {first:.3f} to {last:.3f}"


if __name__ == "__main__":
    command.run(main)
