"""Say how much disk a study takes at most, by its estimate, so that preflight can compare it with what is free."""

from pathlib import Path

from vecaf import artifacts, command, config, estimate
from vecaf.errors import ConfigError
from vecaf.study import Study


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "study: the whole configuration, as it was loaded; jobs that run at one time")
    parser.add_argument("--out", type=Path, required=True, help="output: JSON, bytes or why they are unknown")
    args = parser.parse_args(argv)
    study = Study(config.load(args.params["study"]))
    try:
        found = {"bytes": estimate.highest(study, args.params["jobs"]), "unknown": None}
    except ConfigError as error:  # a pool whose size nobody knows yet is no reason to stop a preflight
        found = {"bytes": 0, "unknown": str(error)}
    artifacts.write_json(args.out, found)
    return found["unknown"] or f"at most {found['bytes'] / 1e9:.3g} GB"


if __name__ == "__main__":
    command.run(main)
