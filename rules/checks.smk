"""Checks before anything starts: exhibits that no module draws, and data that the requested targets lack."""

from collections import Counter

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from vecaf import manifest, preflight, targets
from vecaf.models import captioners, text_encoders

ENDINGS = {"table": ("csv", "md", "tex", "html"), "figure": ("png", "pdf", "csv", "md")}


def module_of(exhibit):
    return f"vecaf/reporting/{exhibit}.py"


# Exhibits that a module draws, shown here or not; the others are named in the notice below.
REPORTED = {name for name in study.config.exhibits if os.path.exists(f"{workflow.basedir}/{module_of(name)}")}


def made(kind, of_the_paper=False):
    """Return the files of every exhibit of a kind that can be made, or of those that the paper has too."""
    names = [name for name in study.exhibits(kind) if can_be_shown(name)]
    if of_the_paper:
        names = [name for name in names if name.startswith(kind)]
    return [f"{root}/{kind}s/{name}.{ending}" for name in names for ending in ENDINGS[kind]]


def exhibit_files(exhibit):
    """Return the files of a table or figure; refuse one that this configuration does not show with a sentence."""
    if exhibit not in study.exhibits():
        refuse(f"this configuration shows no {exhibit}; it has: {', '.join(study.exhibits())}")
    if exhibit in REPORTED and not can_be_shown(exhibit):
        refuse(f"{exhibit} has nothing to show: none of its cells has finished; drop cells=finished to run them")
    kind = study.config.exhibits[exhibit].kind
    return [f"{root}/{kind}s/{exhibit}.{ending}" for ending in ENDINGS[kind]]


def exhibit_code(exhibit, *files):
    """Return the digest of an exhibit's module and of more files; refuse one that has none with a sentence."""
    if exhibit not in REPORTED:
        refuse(f"{exhibit} cannot be made: no module {module_of(exhibit)} draws it")
    return code_digest(module_of(exhibit), *files)


def notice():
    """Warn once about the exhibits of the configuration that no code draws, and those that have nothing to show yet."""
    left_out = [name for name in study.exhibits() if not can_be_shown(name)]
    for why, names in (
        ("No module draws them", [name for name in left_out if name not in REPORTED]),
        ("Without a finished cell", [name for name in left_out if name in REPORTED]),
    ):
        if names:
            logger.warning(f"{why}, left out: the exhibits {', '.join(names)}")


if workflow.is_main_process:
    notice()


def slurm_needs():
    """Return what the profile asks of SLURM; None where jobs run on this machine."""
    status = getattr(workflow.executor_settings, "status_command", None)
    if status is None:
        return None
    asked = workflow.resource_settings
    partitions = {}
    for resources in (asked.default_resources, *asked.overwrite_resources.values()):
        named = {name: resource.raw for name, resource in resources.items()}
        if partition := named.get("slurm_partition"):
            partitions[partition] = named.get("gpu_model") or partitions.get(partition)
    return {"status": status, "partitions": partitions}


def hub_models(role, names, specs, kinds):
    """Return the models of the Hugging Face hub behind captioners or text encoders."""
    found = []
    for name in sorted(names):
        known = kinds.get(specs[name].kind).Params.model_fields
        if "model" in known and "revision" in known:
            told = {key: specs[name].params.get(key, known[key].default) for key in ("model", "revision")}
            found.append({"role": role, "kind": role.split()[-1], **told})
    return [model for place, model in enumerate(found) if model not in found[:place]]


def clips_of(names):
    """Return the CLIP models by which stylers are trained, each once."""
    specs = [study.config.stylers[name] for name in sorted(names)]
    places = dict.fromkeys((spec.clip, spec.revision) for spec in specs)
    told = {"role": "CLIP of the styler", "kind": "encoder"}
    return [told | {"model": model, "revision": revision} for model, revision in places]


def needs_of(datasets, backbones, captioner_names, encoder_names, styler_names):
    """Return what jobs that read these need of the machine, as vecaf/preflight.py takes it."""
    read = {name: study.dataset(name) for name in sorted(datasets)}
    files = {name: study.caption_aside(name).get("file") for name in sorted(captioner_names)}
    specs = {name: study.backbone(name) for name in sorted(backbones)}
    return {
        "root": root,
        "device": device,
        "gpus": study.config.gpus,
        "datasets": {name: [dataset.source, dataset.root] for name, dataset in read.items()},
        "captions": {name: file for name, file in files.items() if file},
        "corrupted": {name: dataset.corrupted_root for name, dataset in read.items() if dataset.corrupted_root},
        "backbones": {
            name: {"timm": spec.timm, "weights": spec.weights}
            for name, spec in specs.items()
            if spec.weights != "self_supervised"
        },
        "models": [
            *hub_models("captioner", captioner_names, study.config.captioners, captioners),
            *hub_models("text encoder", encoder_names, study.config.encoders, text_encoders),
            *clips_of(styler_names),
        ],
        "stylers": {name: {"vgg": study.config.stylers[name].vgg} for name in sorted(styler_names)},
        "slurm": slurm_needs(),
    }


def needs_of_study():
    """Return what all cells of the study need."""
    parts = {"backbone": set(), "captioner": set(), "encoder": set()}
    for part, name in study.profiles():
        parts[part].add(name)
    cells = study.involved()
    stylers = {study.styler(cell.method) for cell in cells} - {None}
    datasets = {cell.dataset for cell in cells}
    return needs_of(datasets, parts["backbone"], parts["captioner"], parts["encoder"], stylers)


# The steps that read something downloaded, and the wildcard that names it.
FETCHING = {
    "pretrained": "backbone",
    "caption": "captioner",
    "caption_shard": "captioner",
    "embed_text": "encoder",
    "train_styler": "styler",
}


def needs_of_jobs():
    """Return what the jobs that will run need: whatever they read that no other step makes."""
    found = {name: set() for name in ("dataset", "backbone", "captioner", "encoder", "styler")}
    for job in workflow.dag.needrun_jobs():
        if "{resources.images" in (job.rule.shellcmd or ""):
            found["dataset"].add(job.wildcards.dataset)
        if (wildcard := FETCHING.get(job.rule.name)) is not None:
            found[wildcard].add(getattr(job.wildcards, wildcard))
    uses_gpu = any(hasattr(job.resources, "device") for job in workflow.dag.needrun_jobs())
    return needs_of(*found.values()) | ({} if uses_gpu else {"gpus": 0})


def refuse_target(wildcards):
    names = {rule.name for rule in workflow.rules if not rule.has_wildcards()}
    refuse(targets.mistaken(wildcards.mistaken, names, study.config))


def check_requested():
    """Look at what the requested jobs need before the first of them starts; warn, or refuse with all that is missing."""
    findings = preflight.run(needs_of_jobs() | {"disk": {"bytes": 0, "unknown": None}})
    for finding in findings:
        if finding.level == "warning":
            logger.warning(str(finding))
    if bad := preflight.problems(findings):
        raise WorkflowError(
            "\n  ".join(
                [
                    "data that the requested targets need is missing:",
                    *(str(finding).removeprefix(finding.level).strip() for finding in bad),
                ]
            )
        )


run_record = []


def begin_record():
    """Write what this run is; the file is named at its end, in the same process."""
    jobs = Counter(job.rule.name for job in workflow.dag.needrun_jobs())
    run_record.append(manifest.begin(root, sys.argv[1:], study.config.model_dump(mode="json"), jobs))


def end_record(outcome):
    for file in run_record:
        manifest.end(file, outcome)
