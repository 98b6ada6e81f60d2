"""Index the labelled pool and the test set of a dataset, after checking every image."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.data import mislabelling, planting, pool, sources


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "dataset, source, split_rule, pool_size, judged_on, planted, mislabelled, seeds")
    parser.add_argument("--root", required=True, help="folder of the images; `none` for embedded ones")
    parser.add_argument("--index", type=Path, required=True, help="output: Parquet table of ids, files and labels")
    parser.add_argument(
        "--images", type=Path, required=True, help="output: packed images, empty when they are read from files"
    )
    parser.add_argument("--meta", type=Path, required=True, help="output: JSON with classes and sizes")
    args = parser.parse_args(argv)
    params, seeds = args.params, args.params["seeds"]

    root = None if args.root == "none" else args.root
    source = sources.load(params["source"], root, split_rule=params["split_rule"], seed=seeds["split"])
    planted = params.get("planted")
    if planted:
        source = planting.sample(source, planted["images"], planted["seed"])
    index, images, meta = pool.build_pool(
        source, dataset=params["dataset"], tuning_seed=seeds["tuning"], pool_size=params["pool_size"]
    )
    if params["judged_on"] == "tuning":
        index, images, meta = pool.judged_on_tuning(index, images, meta)
    if planted:
        index, images, meta = planting.plant(index, images, meta, planted)
    if told := params.get("mislabelled"):
        index, meta = mislabelling.mislabel(index, meta, told)
    artifacts.write_array(args.images, images)
    artifacts.write_table(args.index, index)
    artifacts.write_json(args.meta, meta)
    counts = f"{meta['pool_size']} pool and {meta['test_size']} test images, {len(meta['classes'])} classes"
    return f"{params['dataset']}: {counts}"


if __name__ == "__main__":
    command.run(main)
