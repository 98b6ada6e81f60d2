"""Write one caption per image of the pool."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.data.images import Images
from vecaf.models import captioners

CHUNK = 1024


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "kind of captioner, its own parameters, seed")
    command.pool_arguments(parser)
    command.device_argument(parser)
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet table of id and caption")
    args = parser.parse_args(argv)
    import pandas as pd

    pool = Images.open(*args.pool, split="pool", root=args.root)
    classes = artifacts.read_json(args.pool[2])["classes"]
    captioner = captioners.build(args.params)
    chunks = np.array_split(np.arange(len(pool)), max(1, -(-len(pool) // CHUNK)))
    captions = []
    for rows, images in zip(chunks, pool.batches(chunks), strict=True):
        captions += captioner.caption(images, pool.labels[rows], classes, pool.ids[rows])
    captions = captioner.finish(captions)
    artifacts.write_table(args.out, pd.DataFrame({"id": pool.ids, "caption": captions}))
    return f"{len(captions)} captions, {len(set(captions))} distinct; the first: {captions[0]}"


if __name__ == "__main__":
    command.run(main)
