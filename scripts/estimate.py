"""Say what the exhibits of a study cost before it is run: jobs, hours and disk; nothing is planned or run for it."""

from pathlib import Path

from vecaf import artifacts, command, config, estimate
from vecaf.flops import cell as flops
from vecaf.reporting.estimate import build
from vecaf.reporting.metrics import check_metrics, selections_of
from vecaf.study import Study


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "the whole configuration, as it was loaded")
    parser.add_argument("--profiles", type=Path, nargs="+", required=True, help="counts of the models (profile_flops)")
    parser.add_argument("--cells", type=Path, required=True, help="folder of all cells: finished ones tell how fast")
    args = parser.parse_args(argv)
    study = Study(config.load(args.params))
    counts = flops.by_model(map(artifacts.read_json, args.profiles))
    rates = estimate.rates(study.config.estimate, list(told(study, args.cells, counts)))
    shown = sorted(
        study.exhibits(), key=lambda name: (not name.startswith("table"), not name.startswith("figure"), name)
    )
    groups = {name: [name] for name in shown}
    tables = [name for name in groups if name.startswith("table")]
    figures = [name for name in groups if name.startswith("figure")]
    sums = {"all tables of the paper": tables, "all figures of the paper": figures, "everything": list(groups)}
    groups |= {name: some for name, some in sums.items() if some}
    totals = {name: estimate.total(estimate.jobs(study, some, counts), study, rates) for name, some in groups.items()}
    return build(totals, study.config.estimate, rates).to_markdown()


def told(study: Study, folder: Path, counts: flops.Counts):
    """Yield what every finished cell of the study says of its speed; cells of another configuration are passed over."""
    for cell in study.cells():
        file = folder / str(cell) / "metrics.json"
        if not file.exists():
            continue
        metrics = artifacts.read_json(file)
        check_metrics(metrics, file)
        provenance = metrics["provenance"]
        if provenance["digest"] != study.digest(cell):
            continue
        selections = selections_of(metrics, file)
        profiles = flops.profiles_of(cell.backbone, provenance["parameters"], counts)
        macs: dict[str, float] = {}
        for done in flops.work(provenance["parameters"], selections, profiles):
            macs[done.step] = macs.get(done.step, 0.0) + (done.macs or 0)
        macs["evaluate"] = provenance["stages"].get("evaluate", {}).get("macs") or 0.0
        starts = [stage["startup_seconds"] or 0.0 for stage in provenance["stages"].values()]
        yield estimate.Finished(macs, metrics["cost"]["seconds"], sum(starts) / len(starts), provenance["device"])


if __name__ == "__main__":
    command.run(main)
