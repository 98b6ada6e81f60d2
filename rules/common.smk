"""Shared by all rules: the study, the paths of every artifact, and what makes a job run again."""

import os
import shlex
import sys

sys.path.insert(0, workflow.basedir)  # so that `vecaf` is importable wherever snakemake is started from

from snakemake.logging import logger

from vecaf import artifacts, config as vecaf_config
from vecaf.code_digest import code_digest, step_version
from vecaf.config.schema import RATIO
from vecaf.errors import ConfigError
from vecaf.grid import EMBEDDED, Cell
from vecaf.study import Study


def refuse(sentence):
    """End with a sentence; an exception would come with a place in these files, or a trace of snakemake's insides."""
    logger.error(sentence)
    sys.exit(1)


try:
    study = Study(vecaf_config.load(config))
except ConfigError as error:
    refuse(str(error))

# Steps never download, wherever they run: what is missing is told at the start, and `snakemake download` fetches it.
prefix = "export HF_HUB_OFFLINE=1; "
# The environment that runs the workflow also runs its steps, unless conda is asked to make one.
if not workflow.deployment_settings.deployment_method:
    prefix += f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; "
shell.prefix(prefix)
root = study.config.root
device = study.config.device
keep = study.config.keep
only_finished = study.config.cells == "finished"

# Several GPUs: one finetuning task starts one process for each that it sees, the global batch stays the same. A
# resource, not a parameter: changing it retrains nothing. Steps of a cell that may run beside finetuning name it, too,
# since the members of a group must agree on the text of their resources.
LAUNCHER = "scripts.finetune"
if study.config.gpus > 1 and device != "cpu":
    LAUNCHER = f"vecaf.launch {study.config.gpus} {LAUNCHER}"


def choices(names):
    """Return the pattern of a wildcard that is one of these names; of none, if there are none."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    dataset=choices(study.config.datasets),
    backbone=choices(study.config.backbones),
    captioner=choices(study.config.captioners),
    encoder=choices(study.config.encoders),
    prompt=choices(["none", *study.config.prompts]),
    styler=choices(study.config.stylers),
    method=choices(study.config.methods),
    schedule=choices(study.config.schedules),
    exhibit=choices(study.exhibits()),
    ratio=RATIO[1:-1],
    seed="(?!)" if only_finished else "[0-9]+",  # no rule makes a file of a cell then, whatever asks for it
    loop="[1-9][0-9]?",
    head="random|class_mean",
    objective="[a-z0-9_]+",
    selection=r"[a-z0-9_]+-[0-9a-f]{8}",
    augmentation="cea-[0-9a-f]{8}",
    size="[1-9][0-9]*",
    domain=choices(study.config.ood.corruptions),
    severity="[1-5]",
    shard="[0-9]+",
    shards="[0-9]+",
    by=choices(study.config.methods),
    part="backbone|encoder|captioner",
    name="[a-z0-9_]+",


# --- where every artifact lies: one directory per wildcard, no parameters in names --------------------------------

POOL = f"{root}/pool/{{dataset}}/"
CAPTIONS = f"{root}/captions/{{dataset}}/{{captioner}}.parquet"
WRITTEN = CAPTIONS.removesuffix(".parquet")
SHARD = f"{WRITTEN}/shard{{shard}}of{{shards}}"
# What a killed captioning job had written: not an output, since outputs of a failed job are deleted.
RESUME = WRITTEN.replace(f"{root}/", f"{root}/resume/", 1)
SIMILARITY = f"{root}/text/{{dataset}}/{{captioner}}/{{encoder}}/{{prompt}}_similarity.npy"
SAMPLES = f"{root}/samples/{{exhibit}}.parquet"
SELECTED = f"{root}/selected/{{exhibit}}/{{dataset}}.parquet"
TEXT = f"{root}/text/{{dataset}}/{{captioner}}/{{encoder}}/{{prompt}}.npy"
PRETRAINED = f"{root}/pretrained/{{dataset}}/{{backbone}}/"
HEAD = f"{PRETRAINED}{{head}}/{{objective}}/seed{{seed}}/"
AUGMENTED = f"{PRETRAINED}{{augmentation}}.npy"
FIRST = f"{root}/first/{{dataset}}/{{backbone}}/{{selection}}/{{ratio}}/seed{{seed}}/"
CELL = f"{root}/cells/{{dataset}}/{{backbone}}/{{method}}/{{ratio}}/{{schedule}}/seed{{seed}}/"
LOOP = f"{CELL}loop{{loop}}/"
STYLER = f"{root}/stylers/{{dataset}}/{{styler}}/"
AFTER = CELL.replace(f"{root}/cells/", f"{root}/after/", 1)
BY = f"{AFTER}{{by}}/"
LOGS = f"{root}/logs/"

CORRUPTED = f"{root}/ood/{{dataset}}/{{domain}}/severity{{severity}}/shard{{shard}}of{{shards}}.parquet"
MEASURE = f"{root}/measures/{{measure}}.parquet"
PROFILE = f"{root}/flops/{{part}}/{{name}}.json"

THUMBNAILS = f"{POOL}thumbnails{{size}}.npy"

POOL_FILES = [f"{POOL}index.parquet", f"{POOL}images.npy", f"{POOL}pool.json"]


def log_of(path, step):
    """Return the log of a step: the path of what it makes, below logs/."""
    return f"{LOGS}{os.path.relpath(path, root)}/{step}.log"


def resume_of(path, step):
    """Return where a long step keeps what it has done so far: not an output, since those of a failed job are deleted."""
    return f"{root}/resume/{os.path.relpath(path, root)}/{step}"


def between_loops(path):
    """Mark a file that only the next loop reads: deleted then, unless the configuration keeps intermediates."""
    return path if keep.intermediates else temp(path)


# --- wildcards as cells -----------------------------------------------------------------------------------------


def cell_of(wildcards):
    """Return the cell of a job."""
    return Cell(
        wildcards.dataset,
        wildcards.backbone,
        wildcards.method,
        wildcards.ratio,
        wildcards.schedule,
        int(wildcards.seed),
    )


def in_cell(pattern, cell, **more):
    return pattern.format(**vars(cell), **more)


def has_loop(wildcards):
    """Refuse loop4 of a schedule of three, and cells that cannot start, with a sentence."""
    cell, loop = cell_of(wildcards), int(getattr(wildcards, "loop", 1))
    if not study.can_start(cell.method, cell.schedule):
        refuse(
            f"{cell} cannot run: its first loop selects with {study.selector(cell.method, cell.schedule, 1)}, which "
            f"chooses only after training; give methods.{cell.method}.schedules.{cell.schedule} another first selector"
        )
    if loop > (loops := study.loops(cell.method, cell.schedule)):
        refuse(f"{cell} has {loops} loop(s), there is no loop {loop}")
    return cell, loop


# --- what runs first ----------------------------------------------------------------------------------------------
# Cells that have begun go before others: a study that is stopped has finished cells instead of many half-done ones,
# and few weights wait on the disk.

LAST = 100  # what ends a cell, after any loop


def begun(wildcards):
    """Return the priority of a job of a cell: its loop; 0 where several cells share it."""
    return int(wildcards.get("loop", 0))


# --- what makes a job run again -----------------------------------------------------------------------------------
# Parameters travel as one JSON text: what a script is told is what snakemake compares. Cheap steps add a digest of
# their code; expensive steps the version that people raise (see vecaf/code_digest.py).


def settings(values):
    return artifacts.canonical(values)


def code_of(*files):
    """Return the digest of a step's code as a parameter that only a process with such a job works out."""
    return lambda wildcards: code_digest(*files)


def selector_code(cell, loop):
    name = study.selector(cell.method, cell.schedule, loop)
    return code_digest("scripts/select.py", f"vecaf/selection/{name}.py")


def dataset_of(wildcards):
    return study.dataset(wildcards.dataset)


def images_root(wildcards):
    """Where images lie is a resource, not a parameter: moving a folder must not retrain what came from it."""
    return dataset_of(wildcards).root or "none"


# The conda environment of every rule, used only with --software-deployment-method conda.
ENVIRONMENT = "../envs/environment.yaml"
