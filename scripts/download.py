"""Fetch what a study reads and this machine does not have: datasets, weights, language models, ImageNet-C."""

from pathlib import Path

from vecaf import artifacts, command, preflight
from vecaf.data import downloads, sources
from vecaf.errors import DataError, VecafError
from vecaf.models import fetching


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "what is needed, as the rules gather it (see vecaf/preflight.py)")
    parser.add_argument("--registry", type=Path, default=downloads.REGISTRY, help="JSON of files, mirrors, checksums")
    args = parser.parse_args(argv)
    needs, problems, fetched = args.params, [], []

    def attempt(what: str, fetch, *words) -> None:
        print(f"{what} …", flush=True)
        try:
            fetch(*words)
            fetched.append(what)
        except VecafError as error:
            problems.append(f"{what}: {error}")

    for name, (source, root) in needs["datasets"].items():
        if sources.root_problem(source, root):
            attempt(f"dataset {name}", downloads.dataset, source, root)
    for name, root in needs["corrupted"].items():
        if not Path(root).is_dir():
            registry = artifacts.read_json(args.registry)
            attempt(f"corrupted images of {name}", downloads.archive, registry["imagenet_c"], Path(root))
    for finding in preflight.models(needs):
        if finding.needed is not None and finding.level == "FAILED":
            attempt(finding.about, fetching.model, finding.needed)
    if problems:
        raise DataError("\n  ".join([f"{len(problems)} could not be fetched:", *problems]))
    return f"{len(fetched)} fetched" if fetched else "nothing is missing"


if __name__ == "__main__":
    command.run(main)
