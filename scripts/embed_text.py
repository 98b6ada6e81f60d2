"""Embed the captions of a pool with a frozen text encoder."""

from pathlib import Path

import numpy as np

from vecaf import artifacts, command
from vecaf.errors import DataError
from vecaf.models import text_encoders


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "kind of encoder, its own parameters, prompt, seed")
    command.device_argument(parser)
    parser.add_argument("--captions", type=Path, required=True, help="Parquet table of id and caption")
    parser.add_argument("--out", type=Path, required=True, help="output: (N, width) embeddings, row = id")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with hashes and sizes")
    args = parser.parse_args(argv)

    table = artifacts.read_table(args.captions)
    ids = table["id"].to_numpy()
    if not np.array_equal(ids, np.arange(len(ids))):
        raise DataError(f"{args.captions}: ids must count 0..N−1 without gaps; write one caption for every image")
    empty = table["caption"].isna() | (table["caption"].str.strip() == "")
    if empty.any():
        first = ", ".join(map(str, ids[empty.to_numpy()][:10]))
        raise DataError(f"{args.captions}: {empty.sum()} images have no caption (ids {first}); add one for each")
    captions = text_encoders.suffix(table["caption"].tolist(), args.params["prompt"])
    text = text_encoders.build(args.params).encode(captions)
    if not np.isfinite(text).all():
        bad = int(np.flatnonzero(~np.isfinite(text).all(axis=1))[0])
        raise DataError(f"the text encoder gave a non-finite embedding for id {bad}: {captions[bad]!r}")
    artifacts.write_array(args.out, text.astype(np.float32, copy=False))
    record = {
        "captions_hash": artifacts.file_hash(args.captions),
        "text_hash": artifacts.file_hash(args.out),
        "rows": len(text),
        "width": int(text.shape[1]),
        "params": args.params,
    }
    artifacts.write_json(args.record, record)
    return f"{len(text)} captions embedded, width {text.shape[1]}"


if __name__ == "__main__":
    command.run(main)
