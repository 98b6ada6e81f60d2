"""Write the test images of a dataset under one corruption and severity, or one shard of them.

They are made from the dataset's own images (the same bytes however they are sharded), or packed unchanged from a
released ImageNet-C.
"""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.data import corrupted, corruptions, image_sets, sources
from vecaf.data.images import Images
from vecaf.provenance import Stage


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "corruption, severity, seed, quality of JPEG (null: lossless)")
    command.pool_arguments(parser)
    command.shard_argument(parser)
    parser.add_argument("--split", default="test", choices=["pool", "test"])
    parser.add_argument("--selection", type=Path, help="only these ids of the split; Parquet table of id")
    parser.add_argument("--released", default="none", help="root of a released ImageNet-C; `none` to make the images")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, one encoded image per row")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with facts and cost")
    args = parser.parse_args(argv)
    corruption, severity = args.params["corruption"], args.params["severity"]
    corruptions.check(corruption, severity)

    with Stage("corrupt") as stage:
        split = Images.open(*args.pool, split=args.split, root=args.root)
        whole = split.subset(artifacts.read_table(args.selection)["id"]) if args.selection else split
        shard, shards = args.shard
        positions = np.array_split(np.arange(len(whole)), shards)[shard - 1]
        mine = whole.subset(positions)
        if args.released == "none":
            own = {"seed": args.params["seed"], "quality": args.params["quality"], "crop": corrupted.crop_of(split)}
            encoded = corrupted.generate(mine, corruption, severity, **own)
        else:
            own = {"crop": corrupted.CROPPED}
            files = sources.released_corruption(args.released, corruption, severity, whole.files)
            encoded = corrupted.collect([Path(args.released) / files[position] for position in positions])
    facts = own | {
        "corruption": corruption,
        "severity": severity,
        "source": "generated" if args.released == "none" else "released",
        "split": args.split,
        "count": len(whole),
        "ids_hash": artifacts.ids_hash(whole.ids),
        "index_hash": artifacts.read_json(args.pool[2])["index_hash"],
    }
    artifacts.write_table(args.out, image_sets.table(mine, encoded, facts))
    record = {"facts": facts, "shard": args.shard, "stage": stage.record, "set_hash": artifacts.file_hash(args.out)}
    artifacts.write_json(args.record, record)
    size = sum(map(len, encoded)) / max(1, len(encoded)) / 1000
    return f"{corruption} {severity}: {len(encoded)} images of {size:.1f} kB"


if __name__ == "__main__":
    command.run(main)
