"""Write one caption per image of the pool, or of one shard of it; a killed job goes on where it was."""

from itertools import repeat
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vecaf import artifacts, command
from vecaf.data.images import Images
from vecaf.models import captioners
from vecaf.models.captioners.progress import Progress
from vecaf.provenance import Stage, began_before

BATCH = 256  # images a captioner is given at once, and captions that a kill can cost


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "kind of captioner, its own parameters, seed")
    command.pool_arguments(parser)
    command.device_argument(parser)
    parser.add_argument("--source", help="file of the captions that come with a dataset; `none` without one")
    parser.add_argument("--batch-size", type=int, help="images per forward pass of a model")
    command.shard_argument(parser)
    parser.add_argument("--step-version", default="0", help="version of this step: progress of another is not used")
    parser.add_argument("--resume", type=Path, help="file of the progress so far; deleted when the captions are whole")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet table of id and caption")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON on what the captions come from")
    args = parser.parse_args(argv)
    import pandas as pd

    pool, test = (Images.open(*args.pool, split=split, root=args.root) for split in ("pool", "test"))
    captioner = captioners.build(args.params, file=args.source, batch_size=args.batch_size)
    positions = positions_of(*args.shard, len(pool))
    with Stage("caption") as stage:
        facts = captioner.prepare(pool.files, test.files, command.torch_device(args.device))
        depends = [args.params, facts, args.step_version, artifacts.file_hash(args.pool[0]), args.shard]
        progress = Progress(args.resume, artifacts.digest(depends))
        began_before(progress)
        captions = captions_of(captioner, pool, positions, progress)
        if args.shard[1] == 1:
            captions = captioner.finish(captions)
    artifacts.write_table(args.out, pd.DataFrame({"id": pool.ids[positions], "caption": captions}))
    record = {"params": args.params, "facts": facts, "pool": len(pool), "rows": len(captions), "stages": [stage.record]}
    artifacts.write_json(args.record, record | {"captions_hash": artifacts.file_hash(args.out)})
    progress.remove()
    return f"{len(captions)} captions, {len(set(captions))} distinct; the first: {next(iter(captions), 'none')}"


def positions_of(shard: int, shards: int, count: int) -> np.ndarray:
    """Return the positions of one shard: whole batches, so that no image meets other companions in its batch."""
    mine = np.array_split(np.arange(0, count, BATCH), shards)[shard - 1]
    return np.arange(mine[0], min(mine[-1] + BATCH, count)) if len(mine) else np.arange(0)


def captions_of(captioner: captioners.Captioner, pool: Images, positions: np.ndarray, progress: Progress) -> list[str]:
    """Return the captions of some images, after those that the progress holds; each batch is noted when it is made."""
    captions = progress.read()
    batches = [positions[start : start + BATCH] for start in range(len(captions), len(positions), BATCH)]
    images = pool.batches(batches) if captioner.needs_images else repeat(None)
    with tqdm(initial=len(captions), total=len(positions), unit="image", disable=None, leave=False) as bar:
        for batch, seen in zip(batches, images, strict=False):
            said = captioner.caption(seen, pool.labels[batch], pool.classes, pool.ids[batch])
            progress.add(said)
            captions += said
            bar.update(len(said))
    return captions


if __name__ == "__main__":
    command.run(main)
