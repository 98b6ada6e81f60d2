"""What the report reads, and what it says of where numbers come from. Functions only.

Commands, rules and scripts are told as the workflow itself has them, never as a copy of them.
"""

import re
from pathlib import Path


def report_inputs(wildcards):
    """Return all that is shown on one page: what can be made of the exhibits, and the rows behind it."""
    cells = [name for name in study.exhibits() if can_be_shown(name)]
    cells = [name for name in cells if not study.config.exhibits[name].selections_only]
    return {
        "tables": [file for file in made("table") if file.endswith(".html")],
        "figures": [file for file in made("figure") if file.endswith((".png", ".md"))],
        "claims": [rules.claims.output.html] if study.config.claims.statements else [],
        "rows": [f"{root}/metrics/{name}.parquet" for name in cells],
        "published": sorted({file for name in cells for file in bundle_of(name, bundle.RECORDS)}),
    }


def report_settings():
    """Return what the report says beside results: titles, the end of a command line, rules with their scripts."""
    shown = [name for name in study.exhibits() if can_be_shown(name)]
    cells = [cell for name in shown for cell in study.shown(name)]
    loops = {}
    for cell in cells:
        loops.setdefault(cell.method, set()).update(
            study.selector(cell.method, cell.schedule, loop)
            for loop in range(1, study.loops(cell.method, cell.schedule) + 1)
        )
    return {
        "title": "VeCAF, re-run",
        "root": root,
        "options": command_options(),
        "exhibits": [
            {
                "name": name,
                "title": study.config.exhibits[name].title,
                "kind": study.config.exhibits[name].kind,
                "label": label_of(name),
                "digest": study.digests[name],
            }
            for name in shown
        ],
        "rules": scripts_of_rules(),
        "methods": {
            method: {
                "title": study.title(method),
                "selectors": sorted(selectors),
                "cea": study.method(method).cea is not None,
            }
            for method, selectors in loops.items()
        },
        "datasets": {cell.dataset: study.dataset(cell.dataset).title for cell in cells},
    }


def quoted():
    """Return the digest of every file whose lines the report may quote: docstrings and line numbers, too."""
    folders = (Path(workflow.basedir, name) for name in ("scripts", "vecaf"))
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return artifacts.digest([[str(path.relative_to(workflow.basedir)), artifacts.file_hash(path)] for path in files])


def label_of(exhibit):
    """Return what the paper calls a table or figure, with a colon; nothing for one that the paper does not have."""
    found = re.fullmatch(r"(table|figure)(\d+[a-z]?)(_.*)?", exhibit)
    return f"{found[1].capitalize()} {found[2]}: " if found else ""


def command_options():
    """Return how a command line ends that reads this configuration."""
    files = [os.path.relpath(file, workflow.basedir) for file in workflow.overwrite_configfiles]
    values = [f"{key}={value}" for key, value in workflow.config_settings.config.items()]
    parts = ["--configfile", *files] if files else []
    parts += ["--config", *values] if values else []
    return shlex.join([*parts, "--cores", "all"])


def scripts_of_rules():
    """Return the rules that run a script, as they stand in the files: name, file, script."""
    found = []
    for job in workflow.rules:
        command = (job.shellcmd or "").replace("{resources.launcher}", LAUNCHER.split()[-1])
        if script := re.match(r"python -m scripts\.(\w+)", command):
            file = os.path.relpath(job.snakefile, workflow.basedir)
            found.append({"name": job.name, "file": file, "script": script[1]})
    return found
