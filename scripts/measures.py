"""Collect the numbers of one measure that claims ask for, from the curves, costs or selections of an exhibit."""

from pathlib import Path

from vecaf import artifacts, command
from vecaf.errors import ConfigError
from vecaf.flops.cell import by_model
from vecaf.reporting import measures


def main(argv: list[str]) -> str:
    parser = command.parser(
        __doc__,
        "measure: its name; levels: accuracies by dataset; models: pairs of cell and models; cell: scored",
    )
    parser.add_argument("--curves", type=Path, help="training curves of the exhibit's cells")
    parser.add_argument("--costs", type=Path, help="what every step of these cells costs")
    parser.add_argument("--profiles", type=Path, nargs="+", default=[], help="counts of the models (profile_flops)")
    parser.add_argument("--samples", type=Path, help="a pool's samples with what methods selected on the same scores")
    parser.add_argument("--selected", type=Path, nargs="+", default=[], help="images of first selections, by dataset")
    parser.add_argument("--out", type=Path, required=True, help="output: Parquet, a row for each cell and seed")
    args = parser.parse_args(argv)

    name, levels = args.params["measure"], args.params.get("levels")
    if name == "batches_to_accuracy":
        table = measures.batches_to_accuracy(artifacts.read_table(args.curves), levels)
    elif name == "flops":
        models = {tuple(cell): told for cell, told in args.params["models"]}
        counts = by_model(map(artifacts.read_json, args.profiles))
        table = measures.flops(*map(artifacts.read_table, (args.curves, args.costs)), levels, models, counts)
    elif name == "probe_loss":
        table = measures.probe_loss(artifacts.read_table(args.curves))
    elif name == "margins":
        table = measures.margins(artifacts.read_table(args.samples), args.params["cell"])
    elif name == "planted_domain":
        table = measures.planted_domain([artifacts.read_table(file) for file in args.selected])
    else:
        known = "batches_to_accuracy, flops, probe_loss, margins, planted_domain"
        raise ConfigError(f"no measure {name} is made of exhibits; there are {known}")
    artifacts.write_table(args.out, table)
    return f"{name}: {len(table)} cells"


if __name__ == "__main__":
    command.run(main)
