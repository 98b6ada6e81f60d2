"""Join what is known of the images that first selections chose: caption, likeness to prompts, and how some look."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.data import image_sets, thumbnails
from vecaf.data.images import Images
from vecaf.errors import ArtifactError
from vecaf.seeds import keyed_uniform


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "cells, as selections; prompts, as similarities; drawn, first, size, seed, digest")
    command.pool_arguments(parser)
    parser.add_argument("--captions", type=Path, required=True, help="Parquet table of id and caption")
    parser.add_argument("--similarities", type=Path, nargs="*", default=[], help="(N,) cosines, one file a prompt")
    parser.add_argument("--selections", type=Path, nargs="+", required=True, help="ids, one file a cell")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, a row per cell and selected image")
    args = parser.parse_args(argv)
    params = args.params
    if len(args.selections) != len(params["cells"]) or len(args.similarities) != len(params["prompts"]):
        raise ArtifactError(
            f"{len(args.selections)} selections for {len(params['cells'])} cells, "
            f"{len(args.similarities)} similarities for {len(params['prompts'])} prompts; make the target again"
        )
    import pandas as pd

    index = artifacts.read_table(args.pool[0]).query("split == 'pool'").sort_values("id")
    images = Images.open(*args.pool, split="pool", root=args.root)
    pool = pd.DataFrame({"id": images.ids, "class": np.array(images.classes)[images.labels], "file": images.files})
    pool["planted"] = index["planted"].to_numpy() if "planted" in index else False
    pool["caption"] = artifacts.read_table(args.captions).sort_values("id")["caption"].to_numpy()
    for prompt, file in zip(params["prompts"], args.similarities, strict=True):
        pool[f"to_{prompt}"] = artifacts.read_array(file)

    tables, shown = [], {}
    for cell, file in zip(params["cells"], args.selections, strict=True):
        chosen = pool.iloc[np.sort(artifacts.read_table(file)["id"].to_numpy())].assign(**cell)
        # Drawn by id, so that what two methods share is shown for both.
        chance = keyed_uniform(params["seed"], chosen["id"].to_numpy())
        chosen["drawn"] = np.argsort(np.argsort(chance)) < (params["drawn"] if cell["seed"] == params["first"] else 0)
        for number in chosen.loc[chosen["drawn"], "id"]:
            if number not in shown:
                shown[number] = thumbnail(images, number, params["size"])
        chosen["thumbnail"] = chosen["id"].where(chosen["drawn"]).map(shown)
        tables.append(chosen)
    made = pd.concat(tables, ignore_index=True)
    made.attrs = {
        "dataset": params["dataset"],
        "digest": params["digest"],
        "embedded": params["embedded"],
        "pool_size": len(pool),
        "planted_size": int(pool["planted"].sum()),
        "pool_similarity": {prompt: float(pool[f"to_{prompt}"].mean()) for prompt in params["prompts"]},
    }
    artifacts.write_table(args.out, made)
    return f"{params['dataset']}: {len(tables)} selections, {len(shown)} images kept to be shown"


def thumbnail(images: Images, number: int, size: int) -> bytes:
    """Return a small square copy of an image as a PNG file; one that is smaller keeps its size."""
    image = images.read([number])[0]
    small = thumbnails.shrink(image[None], min(size, *image.shape[1:]))[0]
    return image_sets.encode(np.ascontiguousarray(small.permute(1, 2, 0).numpy()), None)


if __name__ == "__main__":
    command.run(main)
