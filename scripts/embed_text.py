"""Embed the captions of a pool with a frozen text encoder."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.errors import DataError
from vecaf.models import text_encoders
from vecaf.provenance import Stage


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "kind of encoder, its own parameters, prompt, seed")
    command.device_argument(parser)
    parser.add_argument("--captions", type=Path, required=True, help="Parquet table of id and caption")
    parser.add_argument("--out", type=Path, required=True, help="output: (N, width) embeddings, row = id")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with hashes and sizes")
    args = parser.parse_args(argv)

    captions = text_encoders.suffix(_captions(args.captions), args.params["prompt"])
    encoder = text_encoders.build(args.params)
    # torch takes seconds to import, only to find out that an encoder without it has no use for a GPU
    device = command.torch_device(args.device) if encoder.uses_gpu else "cpu"
    with Stage("embed_text", device) as stage:
        shape = (len(captions), encoder.width)
        with artifacts.array_writer(args.out, shape, "float32") as out:
            encoder.encode(captions, out=out, device=device)
    record = {
        "captions_hash": artifacts.file_hash(args.captions),
        "text_hash": artifacts.file_hash(args.out),
        "rows": shape[0],
        "width": shape[1],
        "params": args.params,
        "encoder": encoder.facts(),
        "stage": stage.record,
    }
    artifacts.write_json(args.record, record)
    return f"{shape[0]} captions embedded, width {shape[1]}"


def _captions(path: Path) -> list[str]:
    """Return the captions by id; raises DataError naming ids without one."""
    table = artifacts.read_table(path)
    ids = table["id"].to_numpy()
    if not np.array_equal(ids, np.arange(len(ids))):
        raise DataError(f"{path}: ids must count 0..N−1 without gaps; write one caption for every image")
    empty = table["caption"].isna() | (table["caption"].str.strip() == "")
    if empty.any():
        first = ", ".join(map(str, ids[empty.to_numpy()][:10]))
        raise DataError(f"{path}: {empty.sum()} images have no caption (ids {first}); add one for each")
    return table["caption"].tolist()


if __name__ == "__main__":
    command.run(main)
