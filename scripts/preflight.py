"""List what a study needs and this machine may lack, with a fix beside each failure; exits with 1 if there is one."""

from pathlib import Path

from vecaf import artifacts, command, preflight
from vecaf.errors import VecafError


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "what is needed, as the rules gather it (see vecaf/preflight.py)")
    parser.add_argument("--disk", type=Path, required=True, help="JSON: how much the study takes at most")
    args = parser.parse_args(argv)
    findings = preflight.run(args.params | {"disk": artifacts.read_json(args.disk)})
    print(*findings, sep="\n")
    bad = preflight.problems(findings)
    if bad:
        raise VecafError(f"{len(bad)} of {len(findings)} checks failed; nothing was started")
    warnings = sum(finding.level == "warning" for finding in findings)
    return f"{len(findings)} checks, none failed" + (f", {warnings} to look at" if warnings else "")


if __name__ == "__main__":
    command.run(main)
