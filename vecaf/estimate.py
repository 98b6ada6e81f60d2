"""What a study will cost before it is run: its jobs, each once however many cells share it, their hours and their disk.

Multiply-accumulates come from the same counts and formulas as table 4, steps and sizes from the grid; nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecaf.config.schema import Dataset, Estimate
from vecaf.errors import ConfigError
from vecaf.flops import cell as flops
from vecaf.flops.cell import ONCE, Counts
from vecaf.grid import Cell
from vecaf.ratio import subset_size
from vecaf.study import CORRUPTING, Study

# Steps that the cluster profile gives a GPU.
ON_GPU = frozenset({"caption", "embed_text", "pretrained", "score", "select", "finetune", "evaluate", "evaluate_ood"})
_AS_FAST = {"evaluate_ood": "evaluate"}
_FLOAT, _ID = 4, 8  # bytes
# Bytes of what is small and hardly varies: an image's line of predictions, a batch's line of the log, a caption, a
# record; of an image at 224 px as JPEG.
_PREDICTION, _BATCH, _CAPTION, _RECORD, _JPEG = 20, 50, 60, 20_000, 30_000
_LARGEST_TEST_SET = 50_000


@dataclass(frozen=True)
class Job:
    """One job. macs: 0 where it has none worth counting; images: that it has to decode; kept, passing: bytes.

    passing: bytes of what is deleted once the next steps have read it.
    """

    step: str
    macs: float = 0.0
    images: int = 0
    kept: float = 0.0
    passing: float = 0.0


@dataclass(frozen=True)
class Total:
    """What some jobs cost. Seconds of jobs, on a GPU and elsewhere; bytes at the end and at the highest."""

    cells: int
    jobs: int
    gpu_seconds: float
    cpu_seconds: float
    final: float
    peak: float


Jobs = Mapping[tuple, Job]


def pool_size(study: Study, dataset: str) -> int:
    """Return N of a dataset: what the configuration states, else what it assumes for an estimate.

    Raises ConfigError where it says neither.
    """
    name: str | None = dataset
    while name is not None:
        spec = study.dataset(name)
        if spec.pool_size or study.config.estimate.pool_sizes.get(name):
            return spec.pool_size or study.config.estimate.pool_sizes[name]
        name = spec.extends
    raise ConfigError(f"how large is the pool of {dataset}? Say estimate.pool_sizes.{dataset}, or its pool_size")


def jobs(study: Study, exhibits: Iterable[str], counts: Counts) -> dict[tuple, Job]:
    """Return the jobs of the cells of some exhibits; what tells a job from others → the job.

    Tables, figures and their collecting steps are left out: they take seconds.
    """
    found: dict[tuple, Job] = {}
    for exhibit in exhibits:
        for cell in study.cells(exhibit):
            for key, job in _of_cell(study, cell, counts):
                found[key] = job
            if exhibit in CORRUPTING:
                found.update(_corrupted(study, cell, counts))
    return found


def total(found: Jobs, study: Study, speed: Rates) -> Total:
    """Return what jobs cost together."""
    spec, gpu, cpu = study.config.estimate, 0.0, 0.0
    for job in found.values():
        seconds = speed.start + max(
            job.macs / speed.macs_per_second[_AS_FAST.get(job.step, job.step)] if job.macs else 0.0,
            job.images / (spec.images_per_second * study.config.threads.heavy),
        )
        on_gpu = job.step in ON_GPU and study.config.device != "cpu"
        gpu, cpu = gpu + seconds * on_gpu, cpu + seconds * (not on_gpu)
    cells: dict[Any, float] = {}
    for key, job in found.items():
        if job.passing:
            cells[key[1]] = max(cells.get(key[1], 0.0), job.passing)
    final = sum(job.kept for job in found.values())
    # What passes is there for the cells that run at once: the largest of them.
    peak = final + sum(sorted(cells.values(), reverse=True)[: spec.parallel])
    evaluated = sum(key[0] == "evaluate" for key in found)
    return Total(evaluated, len(found), gpu, cpu, final, peak)


def _of_cell(study: Study, cell: Cell, counts: Counts) -> Iterator[tuple[tuple, Job]]:
    """Yield (key, job) of everything that a cell needs, shared or its own."""
    parameters, size = study.resolved(cell), pool_size(study, cell.dataset)
    profiles = flops.profiles_of(cell.backbone, parameters, counts)
    chosen = [{"k": subset_size(told["ratio"], size), "pool_size": size} for told in parameters["selection"]]
    work = {(done.loop, done.step): done.macs or 0 for done in flops.work(parameters, chosen, profiles)}
    place, spec = (cell.dataset, cell.backbone), study.dataset(cell.dataset)
    image, width = profiles.backbone["macs"], profiles.backbone["width"]
    weights = profiles.backbone["parameters"] * _FLOAT
    embeddings = size * width * (2 if spec.embedding_dtype == "float16" else 4)
    read = size if spec.source in ("imagenet", "caltech101", "image_folder") else 0
    test = _tested(size)

    yield ("pool", cell.dataset), Job("pool", images=read, kept=size * 20 + (0 if read else 1.2 * size * _packed(spec)))
    yield ("pretrained", *place), Job("pretrained", kept=weights)
    yield ("embed_pool", *place), Job("score", image * size, read, embeddings)
    head = study.head(cell.dataset, cell.method, cell.schedule)
    objective = study.objective(cell.method)
    yield ("head", *place, head, objective, cell.seed), Job("head", kept=size * _FLOAT)
    if parameters["text"] is not None and (ONCE, "caption") in work:
        yield from _text(study, cell, work, read, size, profiles)

    loops = len(parameters["selection"])
    between = 3 * weights + 2 * embeddings  # weights, state of the optimiser, embeddings plain and augmented
    for loop in range(1, loops + 1):
        told, trained = parameters["selection"][loop - 1], parameters["finetune"][loop - 1]
        needs = study.needs(cell.method, cell.schedule, loop)
        if "images" in needs:
            side = told["params"]["image_size"]
            yield ("thumbnails", cell.dataset, side), Job("thumbnails", images=read, kept=size * side * side * 3)
        shifted = study.augments_pool(cell.method, loop) and bool(needs & {"embeddings", "logits"})
        if loop == 1:
            if shifted:
                name = study.first_augmentation(cell)
                yield ("augment", *place, name), Job("augment", work[loop, "augment"], kept=embeddings)
            key = ("select_first", *place, study.first_selection(cell), told["ratio"], cell.seed)
        else:
            if study.scored(cell.method, cell.schedule, loop):
                yield ("score", cell, loop), Job("score", work.get((loop, "score"), 0), read, passing=between)
            if shifted:
                yield ("augment", cell, loop), Job("augment", work[loop, "augment"])
            key = ("select", cell, loop)
        yield key, Job("select", work.get((loop, "select"), 0), kept=chosen[loop - 1]["k"] * _ID + _RECORD)
        drawn = (trained["stop"] - trained["start"]) * flops.batch_size(parameters)
        curve = trained["curve"]
        looks = curve["points"] * (trained["stop"] - trained["start"]) / trained["total"]
        seen = looks * (min(curve["test_images"], test) + min(curve["probe_images"], size))
        last = loop == loops
        kept = (weights * study.config.keep.final_weights + trained["total"] * _BATCH) if last else 0
        finetune = Job("finetune", work[loop, "finetune"] + seen * image, drawn if read else 0, kept, between)
        yield ("finetune", cell, loop), finetune
    yield ("evaluate", cell), Job("evaluate", image * test, test if read else 0, test * _PREDICTION + _RECORD)


def _corrupted(study: Study, cell: Cell, counts: Counts) -> Iterator[tuple[tuple, Job]]:
    """Yield the corrupted copies of a cell's test set, which all cells of a dataset share, and its judging on them."""
    dataset, ood = study.dataset(cell.dataset), study.config.ood
    test = _tested(pool_size(study, cell.dataset))
    image = flops.profiles_of(cell.backbone, study.resolved(cell), counts).backbone["macs"]
    part = test // dataset.corruption_shards
    for domain in ood.corruptions:
        for severity in ood.severities:
            for shard in range(dataset.corruption_shards):
                yield ("corrupt", cell.dataset, domain, severity, shard), Job("corrupt", 0, part, part * _JPEG)
        judged = len(ood.severities) * test
        yield ("evaluate_ood", cell, domain), Job("evaluate_ood", image * judged, judged, judged * _PREDICTION)


def _tested(pool: int) -> int:
    """Return about how many test images stand beside a pool; nobody knows before they are indexed."""
    return min(pool // 5, _LARGEST_TEST_SET)


def _packed(spec: Dataset) -> int:
    """Return the bytes of one packed image: sources without files keep their images in the pool."""
    return {"digits": 8 * 8 * 3, "cifar10": 32 * 32 * 3}.get(spec.source, 0)


def _text(
    study: Study, cell: Cell, work: Mapping[tuple, float], read: int, size: int, profiles: flops.Profiles
) -> Iterator[tuple[tuple, Job]]:
    """Yield the captions of a dataset, in as many jobs as it asks for, and their embeddings."""
    dataset, captioner = study.captioned(cell.dataset), study.captioner(cell.dataset, cell.method)
    shards = study.dataset(dataset).caption_shards
    job = Job("caption", work[ONCE, "caption"] / shards, read // shards, size * _CAPTION / shards)
    for shard in range(shards):
        yield ("caption", dataset, captioner, shard), job
    if shards > 1:
        yield ("join_captions", dataset, captioner), Job("join_captions")
    encoder, prompt = study.encoder(cell.dataset, cell.method), study.prompt(cell.method)
    kept = size * (profiles.encoder["width"] or 0) * _FLOAT
    yield ("embed_text", dataset, captioner, encoder, prompt), Job("embed_text", work[ONCE, "embed_text"], 0, kept)


# --- how fast ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speed:
    """What a finished cell says: step → MACs and step → seconds over all its loops, seconds to start a job, device."""

    macs: Mapping[str, float]
    seconds: Mapping[str, float]
    start: float
    device: str | None


@dataclass(frozen=True)
class Rates:
    """step → MACs a second; start: seconds that a job takes to begin; measured: the steps told by so many ``cells``."""

    macs_per_second: Mapping[str, float]
    start: float
    device: str
    measured: tuple[str, ...] = ()
    cells: int = 0


def rates(spec: Estimate, finished: Sequence[Speed]) -> Rates:
    """Return how fast steps are: as finished cells tell, and as the configuration assumes where none does."""
    assumed = spec.macs_per_second.model_dump()
    found = {}
    for step in assumed:
        both = [speed for speed in finished if speed.macs.get(step) and speed.seconds.get(step)]
        if both:
            found[step] = sum(speed.macs[step] for speed in both) / sum(speed.seconds[step] for speed in both)
    if not found:
        return Rates(assumed, spec.start_seconds, spec.device)
    start = sum(speed.start for speed in finished) / len(finished)
    devices = " and ".join(sorted({speed.device or "an unknown device" for speed in finished}))
    return Rates(assumed | found, start, devices, tuple(found), len(finished))
