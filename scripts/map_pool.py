"""Map a pool's embeddings to two dimensions with UMAP."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.reporting import embedding_map


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "neighbors, min_distance, metric, seed")
    parser.add_argument("--embeddings", type=Path, required=True, help="(N, d) array, row = id")
    parser.add_argument("--out", type=Path, required=True, help="output: (N, 2) array, row = id")
    args = parser.parse_args(argv)

    found = embedding_map.coordinates(artifacts.read_array(args.embeddings), **args.params)
    artifacts.write_array(args.out, found)
    return f"{len(found)} samples mapped"


if __name__ == "__main__":
    command.run(main)
