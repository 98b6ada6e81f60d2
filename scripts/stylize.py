"""Restyle the images of a selection with a trained CLIPstyler: training images with the ids and labels they had."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from vecaf import artifacts, command
from vecaf.data import image_sets
from vecaf.data.images import Images
from vecaf.errors import ArtifactError
from vecaf.models.clipstyler import networks, training
from vecaf.provenance import Stage
from vecaf.seeds import keyed_uniform


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "share of the images that is restyled, seed that draws it, quality of JPEG")
    command.pool_arguments(parser)
    command.device_argument(parser)
    command.shard_argument(parser)
    parser.add_argument("--selection", type=Path, nargs="+", required=True, help="ids; several files: their union")
    parser.add_argument("--styler", type=Path, required=True, help="trained decoder")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, one encoded image per row")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with facts and cost")
    args = parser.parse_args(argv)
    params, device = args.params, command.torch_device(args.device)

    with Stage("stylize", device) as stage:
        pool = Images.open(*args.pool, split="pool", root=args.root)
        ids = np.unique(
            np.concatenate([artifacts.read_table(file)["id"].to_numpy(np.int64) for file in args.selection])
        )
        shard, shards = args.shard
        mine = pool.subset(np.array_split(ids, shards)[shard - 1])
        behind = artifacts.read_weights_metadata(args.styler)
        size = behind["options"]["size"]
        styler = load(args.styler, behind).to(device)
        restyled = keyed_uniform(params["seed"], mine.ids) < params["share"]
        encoded = []
        images = (batch[0] for batch in mine.batches([[position] for position in range(len(mine))], prefetch=32))
        for image, chosen in zip(tqdm(images, total=len(mine), unit="image", disable=None), restyled, strict=True):
            made = training.stylise(styler, image, size) if chosen else training.resize(image, size).permute(1, 2, 0)
            encoded.append(image_sets.encode(np.ascontiguousarray(made), params["quality"]))
    facts = params | {
        "text": behind["options"]["text"],
        "styler_hash": artifacts.file_hash(args.styler),
        "count": len(ids),
        "ids_hash": artifacts.ids_hash(ids),
        "index_hash": artifacts.read_json(args.pool[2])["index_hash"],
    }
    artifacts.write_table(args.out, image_sets.table(mine, encoded, facts))
    record = {"facts": facts, "shard": args.shard, "restyled": int(restyled.sum()), "stage": stage.record}
    artifacts.write_json(args.record, record | {"set_hash": artifacts.file_hash(args.out)})
    return f"{restyled.sum()} of {len(mine)} images restyled as “{facts['text']}”"


def load(path: Path, behind: dict) -> networks.Styler:
    """Return a trained styler; raises ArtifactError when VGG's weights are not those that it was trained on."""
    styler = networks.build(networks.vgg_state(behind["options"]["vgg"]), behind["seed"])
    if networks.hash_of(styler.encoder) != behind["vgg_hash"]:
        raise ArtifactError(
            f"{path} decodes the features of other weights of VGG-19 than {behind['options']['vgg']} has now; delete "
            "it and run its target again"
        )
    styler.load_state_dict(artifacts.read_weights(path))
    return styler


if __name__ == "__main__":
    command.run(main)
