"""Collect the numbers of one measure that claims ask for, from the training curves of an exhibit and its costs."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.errors import ConfigError
from vecaf.flops.cell import by_model
from vecaf.reporting import measures


def main(argv: list[str]) -> str:
    parser = command.parser(
        __doc__, "measure: its name; levels: accuracies by dataset; models: pairs of cell and models"
    )
    parser.add_argument("--curves", type=Path, required=True, help="training curves of the exhibit's cells")
    parser.add_argument("--costs", type=Path, required=True, help="what every step of these cells costs")
    parser.add_argument("--profiles", type=Path, nargs="+", required=True, help="counts of the models (profile_flops)")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, a row for each cell and seed")
    args = parser.parse_args(argv)

    curves, name, levels = artifacts.read_table(args.curves), args.params["measure"], args.params["levels"]
    if name == "batches_to_accuracy":
        table = measures.batches_to_accuracy(curves, levels)
    elif name == "flops":
        models = {tuple(cell): told for cell, told in args.params["models"]}
        counts = by_model(map(artifacts.read_json, args.profiles))
        table = measures.flops(curves, artifacts.read_table(args.costs), levels, models, counts)
    elif name == "probe_loss":
        table = measures.probe_loss(curves)
    else:
        raise ConfigError(f"no measure {name} is made of curves; there are batches_to_accuracy, flops, probe_loss")
    artifacts.write_table(args.out, table)
    return f"{name}: {len(table)} cells"


if __name__ == "__main__":
    command.run(main)
