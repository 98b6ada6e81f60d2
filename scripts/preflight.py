"""List what a study needs and this machine may lack, with a fix beside each failure; exits with 1 if there is one."""

from vecaf import command, preflight
from vecaf.errors import VecafError


def main(argv: list[str]) -> str:
    parser = command.parser(__doc__, "what is needed, as the rules gather it (see vecaf/preflight.py); study, jobs")
    args = parser.parse_args(argv)
    needs = args.params
    expected = preflight.study_bytes(needs["study"], needs["jobs"])
    findings = preflight.run(needs | {"bytes": expected})
    print(*findings, sep="\n")
    bad = preflight.problems(findings)
    if bad:
        raise VecafError(f"{len(bad)} of {len(findings)} checks failed; nothing was started")
    warnings = sum(finding.level == "warning" for finding in findings)
    return f"{len(findings)} checks, none failed" + (f", {warnings} to look at" if warnings else "")


if __name__ == "__main__":
    command.run(main)
