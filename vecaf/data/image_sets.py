"""A set of images that the project made itself, in one Parquet file: corrupted test images, stylised training images.

One row per image with its bytes as a JPEG file. ImageNet-C is published as JPEG files, 50,000 images of 224 pixels take
1 GB so and 7.5 GB as pixels, decoding them runs ahead in threads and costs less than a forward pass, and one file
spares a cluster's file system the 50,000 small ones. Images of 8 pixels lie there in the same way.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vecaf import artifacts
from vecaf.data.images import Images
from vecaf.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd


def encode(pixels: np.ndarray, quality: int | None) -> bytes:
    """Return an image (H, W, 3) uint8 as the bytes of a JPEG file of a quality (1 … 95), or without loss for None."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    image.save(file, "PNG") if quality is None else image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def table(images: Images, encoded: Sequence[bytes], facts: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table of a set, or of one shard of it: id, label, tuning, file (its name in the pool), image (bytes).

    encoded: one file's bytes per image. facts: plain JSON about the whole set, the same in all of its shards, with
    ``ids_hash`` over all of its ids; they are written with the table.
    """
    import pandas as pd

    columns = {"id": images.ids, "label": images.labels, "tuning": images.tuning, "file": images.files}
    made = pd.DataFrame(columns | {"image": pd.Series(list(encoded), dtype=object)})
    made.attrs = dict(facts)
    return made


def read(paths: Sequence[str | Path], classes: Sequence[str]) -> tuple[Images, dict[str, Any]]:
    """Return the images of a set in the order of their ids, and the facts about it.

    paths: the file of a set, or the files of all its shards. classes: names of the labels. The bytes are held in
    memory and decoded when images are read. Raises ArtifactError for a file that is no set of images, for shards of
    different sets and for a set with a shard too few or too many.
    """
    import pandas as pd

    tables = [artifacts.read_table(path) for path in paths]
    facts = tables[0].attrs
    for path, part in zip(paths, tables, strict=True):
        if "image" not in part or "ids_hash" not in part.attrs:
            raise ArtifactError(f"{path} is no set of images; delete it and run its target again")
        if part.attrs != facts:
            raise ArtifactError(f"{path} is of another set of images than {paths[0]}; delete both and run their target")
    whole = pd.concat(tables).sort_values("id", ignore_index=True)
    if artifacts.ids_hash(whole["id"].to_numpy()) != facts["ids_hash"]:
        raise ArtifactError(
            f"{paths[0]} … {paths[-1]}: {len(whole)} images, which are not those of the whole set; give every shard "
            "once, or delete them and run their target again"
        )
    images = Images(
        whole["id"].to_numpy(np.int64),
        whole["label"].to_numpy(np.int64),
        whole["tuning"].to_numpy(bool),
        whole["file"].to_numpy(object),
        classes,
        encoded=whole["image"].tolist(),
    )
    return images, facts
