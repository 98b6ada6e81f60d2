"""Write small square copies of the pool's images, for selectors that look at pixels."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.data import thumbnails
from vecaf.data.images import Images


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "size: side of the copies, pixels")
    command.pool_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="output: (N, size, size, 3) array of uint8, row = id")
    args = parser.parse_args(argv)

    size = args.params["size"]
    pool = Images.open(*args.pool, split="pool", root=args.root)
    with artifacts.array_writer(args.out, (len(pool), size, size, 3), "uint8") as out:
        thumbnails.write(pool, size, out)
    return f"{len(pool)} images at {size} px"


if __name__ == "__main__":
    command.run(main)
