"""What is said before anything starts: what has no implementation yet, and data that the requested targets miss."""

from snakemake.logging import logger

from vecaf.data.sources import root_problem
from vecaf.models.captioners.dataset_file import file_problem

# Exhibits with an implementation; the others are named in the notice below.
REPORTED = {
    *(*(f"table{number}" for number in range(1, 8)), "extensions"),
    *("prompts", "readings", "tuning", "deviations", "specification_curve"),
    *("figure1b", "figure3", "figure4", "figure5_b2a", "figure6", "accuracy_cost"),
}


ENDINGS = {"table": ("csv", "md", "tex", "html"), "figure": ("png", "pdf", "csv", "md")}


def made(kind, of_the_paper=False):
    """Return the files of every exhibit of a kind that can be made today, or of those that the paper has too."""
    names = [name for name in study.exhibits(kind) if name in REPORTED]
    if of_the_paper:
        names = [name for name in names if name.startswith(kind)]
    return [f"{root}/{kind}s/{name}.{ending}" for name in names for ending in ENDINGS[kind]]


def exhibit_files(exhibit):
    """Return the files of a table or figure; refuse one that this configuration does not show with a sentence."""
    if exhibit not in study.exhibits():
        raise WorkflowError(f"this configuration shows no {exhibit}; it has: {', '.join(study.exhibits())}")
    kind = study.config.exhibits[exhibit].kind
    return [f"{root}/{kind}s/{exhibit}.{ending}" for ending in ENDINGS[kind]]


def table_code(exhibit):
    """Return the digest of what makes a table; refuse one that has no implementation with a sentence."""
    if exhibit not in REPORTED:
        raise WorkflowError(f"{exhibit} has no implementation yet; these have: {', '.join(sorted(REPORTED))}")
    return code_digest("scripts/table.py", f"vecaf/reporting/{exhibit}.py")


def figure_code(exhibit):
    """Return the digest of what draws a figure; refuse one that has no implementation with a sentence."""
    if exhibit not in REPORTED:
        raise WorkflowError(f"{exhibit} has no implementation yet; these have: {', '.join(sorted(REPORTED))}")
    return code_digest("scripts/figure.py", f"vecaf/reporting/{exhibit}.py", "vecaf/reporting/figure.mplstyle")


def notice():
    """Say once which exhibits of the configuration nothing draws."""
    exhibits = [name for name in study.exhibits() if name not in REPORTED]
    if exhibits:
        logger.warning("Not implemented and left out: the exhibits " + ", ".join(exhibits))


if workflow.is_main_process:
    notice()


def check_requested():
    """Report what the requested jobs miss, roots of datasets and files of captions, before the first job starts."""
    wanted, captions = set(), {}
    for job in workflow.dag.needrun_jobs():
        if hasattr(job.resources, "images"):
            wanted.add(job.wildcards.dataset)
            if hasattr(job.resources, "source"):
                captions[job.wildcards.captioner] = caption_aside(job.wildcards, "file", None)
    problems = [
        f"datasets.{name}: {problem}"
        for name in sorted(wanted)
        if (problem := root_problem(study.dataset(name).source, study.dataset(name).root))
    ]
    problems += [
        f"captioners.{name}.params.file: {problem}"
        for name, file in sorted(captions.items())
        if file and (problem := file_problem(file))
    ]
    if problems:
        raise WorkflowError("\n  ".join(["the requested targets miss data:", *problems]))
