"""Shift the embeddings of a whole pool towards those of their captions (CEA, equations 8 and 9)."""

from pathlib import Path

from vecaf import artifacts, augmentation, command
from vecaf.provenance import Stage


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "cea (the readings), seed of the projection")
    parser.add_argument("--embeddings", type=Path, required=True, help="(N, d) embeddings of the pool")
    parser.add_argument("--text", type=Path, required=True, help="(N, t) embeddings of its captions, record beside")
    parser.add_argument("--out", type=Path, required=True, help="output: (N, d) augmented embeddings")
    parser.add_argument("--record", type=Path, required=True, help="output: JSON with cost and diagnostics")
    args = parser.parse_args(argv)

    text, _ = artifacts.read_recorded(args.text, "text_hash")
    with Stage("augment") as stage:
        from vecaf.augmentation import cea

        embeddings = artifacts.read_array(args.embeddings)
        readings = augmentation.Readings(**args.params["cea"])
        with artifacts.array_writer(args.out, embeddings.shape, embeddings.dtype.name) as augmented:
            diagnostics = cea.augment_pool(embeddings, text, readings, args.params["seed"], out=augmented)
    artifacts.write_json(args.record, {"stage": stage.record, "diagnostics": diagnostics})
    return f"{len(embeddings)} embeddings augmented"


if __name__ == "__main__":
    command.run(main)
