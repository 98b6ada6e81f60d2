"""What a study will cost before it is run: its jobs, each once however many cells share it, their hours and their disk.

Multiply-accumulates come from the same counts and formulas as table 4, steps and sizes from the grid; nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vecaf.config.schema import Dataset, Estimate
from vecaf.errors import ConfigError, VecafError
from vecaf.flops import cell as flops
from vecaf.flops import profile, stylers
from vecaf.flops.cell import ONCE, Counts
from vecaf.grid import NO_PROMPT, Cell
from vecaf.ratio import subset_size
from vecaf.study import CORRUPTING, Study

# Steps that the cluster profile gives a GPU.
ON_GPU = frozenset(
    {
        *("caption", "embed_text", "pretrained", "score", "select", "finetune", "evaluate", "evaluate_ood"),
        *("train_styler", "stylize", "prompt_similarity"),
    }
)
_AS_FAST = {"evaluate_ood": "evaluate", "train_styler": "finetune", "stylize": "score"}
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
    planted = study.dataset(dataset).planted
    while name is not None:
        spec = study.dataset(name)
        if size := spec.pool_size or study.config.estimate.pool_sizes.get(name):
            return min(size, planted.images) if planted else size
        name = spec.extends
    raise ConfigError(f"how large is the pool of {dataset}? Say estimate.pool_sizes.{dataset}, or its pool_size")


def jobs(study: Study, exhibits: Iterable[str], counts: Counts) -> dict[tuple, Job]:
    """Return the jobs of the cells of some exhibits; what tells a job from others → the job.

    Tables, figures and their collecting steps are left out: they take seconds.
    """
    found: dict[tuple, Job] = {}
    for exhibit in exhibits:
        if study.config.exhibits[exhibit].weights_of is not None:
            found.update(_after_a_loop(study, exhibit, counts))
        elif study.config.exhibits[exhibit].selections_only:
            found.update(_first_selections(study, exhibit, counts))
        for cell in study.cells(exhibit):
            found.update(_of_cell(study, cell, counts))
            if exhibit in CORRUPTING:
                found.update(_corrupted(study, cell, counts))
    return found


def total(found: Jobs, study: Study, rates: Rates) -> Total:
    """Return what jobs cost together."""
    spec, gpu, cpu = study.config.estimate, 0.0, 0.0
    for job in found.values():
        seconds = rates.start + max(
            job.macs / rates.macs_per_second[_AS_FAST.get(job.step, job.step)] if job.macs else 0.0,
            job.images / (spec.images_per_second * study.config.threads.heavy),
        )
        on_gpu = job.step in ON_GPU and study.config.device != "cpu"
        gpu, cpu = gpu + seconds * on_gpu, cpu + seconds * (not on_gpu)
    evaluated = sum(key[0] == "evaluate" for key in found)
    return Total(evaluated, len(found), gpu, cpu, *disk(found, spec.parallel))


def disk(found: Jobs, parallel: int) -> tuple[float, float]:
    """Return bytes at the end and at the highest, when the cells that need most run at once; parallel: so many."""
    cells: dict[Any, float] = {}
    for key, job in found.items():
        if job.passing:
            cells[key[1]] = max(cells.get(key[1], 0.0), job.passing)
    final = sum(job.kept for job in found.values())
    return final, final + sum(sorted(cells.values(), reverse=True)[:parallel])


def highest(study: Study, parallel: int) -> int:
    """Return the most bytes below the root of a study while ``parallel`` of its jobs run; no count of models is needed.

    Raises ConfigError for a pool of unknown size.
    """
    counts = {model: _sizes(study.profile_params(*model)) for model in study.profiles()}
    return int(disk(jobs(study, study.exhibits(), counts), parallel)[1])


def _sizes(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a model's files depend on, and no work, which does not fill a disk."""
    nothing = {"macs": None, "width": None}
    if told["part"] == "captioner":
        return nothing
    if told["part"] == "backbone":
        from vecaf.flops import backbones

        return backbones.uncounted(told["model"], told["input_sizes"], told["loss_heads"])
    try:
        return profile(told)
    except VecafError:
        return nothing  # an encoder that is not fetched yet: its embeddings are small beside weights


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
    read = size if _files(spec) else 0
    test = _tested(size)

    yield ("pool", cell.dataset), Job("pool", images=read, kept=size * 20 + (0 if read else 1.2 * size * _packed(spec)))
    yield ("pretrained", *place), Job("pretrained", kept=weights)
    yield ("embed_pool", *place), Job("score", image * size, read, embeddings)
    head = study.head(cell.dataset, cell.method, cell.schedule)
    objective = study.objective(cell.method)
    yield ("head", *place, head, objective, cell.seed), Job("head", kept=size * _FLOAT)
    if parameters["text"] is not None and (ONCE, "caption") in work:
        dataset, captioner = study.captioned(cell.dataset), study.captioner(cell.dataset, cell.method)
        encoder, prompt = study.encoder(cell.dataset, cell.method), study.prompt(cell.method)
        yield from _text(study, dataset, captioner, encoder, prompt, counts)

    loops = len(parameters["selection"])
    # What a loop leaves to the next: weights and momentum, embeddings plain and augmented; what it holds while it
    # trains: that of the loop before, its own last checkpoint, and what it writes.
    between = 2 * weights + 2 * embeddings
    training, lasting = between + 4 * weights, between * study.config.keep.intermediates
    for loop in range(1, loops + 1):
        told, trained = parameters["selection"][loop - 1], parameters["finetune"][loop - 1]
        needs = study.needs(cell.method, cell.schedule, loop)
        if "images" in needs:
            side = told["params"]["image_size"]
            yield ("thumbnails", cell.dataset, side), Job("thumbnails", images=read, kept=size * side * side * 3)
        shifted = study.selects_augmented(cell.method, cell.schedule, loop)
        if loop == 1:
            if shifted:
                name = study.first_augmentation(cell)
                yield ("augment", *place, name), Job("augment", work[loop, "augment"], kept=embeddings)
            key = ("select_first", *place, study.first_selection(cell), told["ratio"], cell.seed)
        else:
            if study.scored(cell.method, cell.schedule, loop):
                yield ("score", cell, loop), Job("score", work.get((loop, "score"), 0), read, lasting, between)
            if shifted:
                yield ("augment", cell, loop), Job("augment", work[loop, "augment"])
            key = ("select", cell, loop)
        yield key, Job("select", work.get((loop, "select"), 0), kept=chosen[loop - 1]["k"] * _ID + _RECORD)
        if (styler := study.styler(cell.method)) is not None:
            yield from _styled(study, cell, styler, loop, chosen[loop - 1]["k"], read)
        drawn = (trained["stop"] - trained["start"]) * flops.batch_size(parameters)
        curve = trained["curve"]
        looks = curve["points"] * (trained["stop"] - trained["start"]) / trained["total"]
        seen = looks * (min(curve["test_images"], test) + min(curve["probe_images"], size))
        last = loop == loops
        kept = (weights * study.config.keep.final_weights + trained["total"] * _BATCH) if last else 0
        finetune = Job("finetune", work[loop, "finetune"] + seen * image, drawn if read else 0, kept, training)
        yield ("finetune", cell, loop), finetune
    yield ("evaluate", cell), Job("evaluate", image * test, test if read else 0, test * _PREDICTION + _RECORD)


def _first_selections(study: Study, exhibit: str, counts: Counts) -> Iterator[tuple[tuple, Job]]:
    """Yield the jobs of an exhibit of first selections: nothing is trained for it."""
    for cell in study.involved(exhibit):
        yield from _through("select", _of_cell(study, cell, counts))
        # Captions are compared with prompts by the dataset's own captioner and encoder, whatever a method uses.
        spec, dataset = study.dataset(cell.dataset), study.captioned(cell.dataset)
        yield from _text(study, dataset, spec.captioner, spec.encoder, NO_PROMPT, counts)
        kept = pool_size(study, cell.dataset) * _FLOAT
        for prompt in {study.method(method).prompt for method in study.methods_of(exhibit)} - {None}:
            yield ("prompt_similarity", dataset, prompt), Job("prompt_similarity", kept=kept)
        yield ("selected", exhibit, cell.dataset), Job("selected")


def _after_a_loop(study: Study, exhibit: str, counts: Counts) -> Iterator[tuple[tuple, Job]]:
    """Yield the jobs of an exhibit of selections on one method's scores: its first loop, the scores, selections."""
    for cell in study.scored_after(exhibit):
        size = pool_size(study, cell.dataset)
        found = dict(_through("score", _of_cell(study, cell, counts), again=2))
        yield from found.items()
        kept = found["embed_pool", cell.dataset, cell.backbone].kept
        yield ("keep_scores", cell), Job("keep_scores", kept=kept)
        for method in study.methods_of(exhibit):
            other = replace(cell, method=method)
            # Its second loop as it would be in a cell of its own, but for the scores that it starts from.
            own = {(key[0], *key[2:]): job for key, job in _of_cell(study, other, counts) if key[1] == other}
            if ("augment", 2) in own:
                yield ("augment_after", cell, method), own["augment", 2]
            yield ("select_after", cell, method), own["select", 2]
    yield ("map_pool", exhibit), Job("map_pool", kept=2 * size * _FLOAT)
    yield ("samples", exhibit), Job("samples")


def _through(step: str, found: Iterable[tuple[tuple, Job]], again: int = 1) -> Iterator[tuple[tuple, Job]]:
    """Yield jobs up to the first of a step, or that one which comes ``again`` so many times."""
    for key, job in found:
        yield key, job
        again -= job.step == step
        if not again:
            return


def _styled(study: Study, cell: Cell, styler: str, loop: int, images: int, read: int) -> Iterator[tuple[tuple, Job]]:
    """Yield the training of a styler, once for a dataset, and the restyling of one loop's selection."""
    told = study.config.stylers[styler]
    yield ("train_styler", cell.dataset, styler), Job("train_styler", stylers.training_macs(told), kept=stylers.BYTES)
    work = stylers.image_macs(told) * images
    yield ("stylize", cell, loop), Job("stylize", work, images if read else 0, passing=images * _JPEG)


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


def _files(spec: Dataset) -> bool:
    """Say whether the images of a dataset are files, which are decoded whenever they are read."""
    return spec.source in ("imagenet", "caltech101", "image_folder")


def _packed(spec: Dataset) -> int:
    """Return the bytes of one packed image: sources without files keep their images in the pool."""
    return {"digits": 8 * 8 * 3, "cifar10": 32 * 32 * 3}.get(spec.source, 0)


def _text(
    study: Study, dataset: str, captioner: str, encoder: str, prompt: str, counts: Counts
) -> Iterator[tuple[tuple, Job]]:
    """Yield the captions of a dataset, in as many jobs as it asks for, and their embeddings."""
    spec, size = study.dataset(dataset), pool_size(study, dataset)
    shards, read = spec.caption_shards, size if _files(spec) else 0
    model, text = counts["captioner", captioner], counts["encoder", encoder]
    job = Job("caption", (model["macs"] or 0) * size / shards, read // shards, size * _CAPTION / shards)
    for shard in range(shards):
        yield ("caption", dataset, captioner, shard), job
    if shards > 1:
        yield ("join_captions", dataset, captioner), Job("join_captions")
    kept = size * (text["width"] or 0) * _FLOAT
    yield ("embed_text", dataset, captioner, encoder, prompt), Job("embed_text", (text["macs"] or 0) * size, 0, kept)


# --- how fast ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """What a finished cell tells: step → MACs and step → seconds over all its loops, seconds to start a job, device."""

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


def rates(spec: Estimate, finished: Sequence[Finished]) -> Rates:
    """Return how fast steps are: as finished cells tell, and as the configuration assumes where none does."""
    assumed = spec.macs_per_second.model_dump()
    found = {}
    for step in assumed:
        both = [cell for cell in finished if cell.macs.get(step) and cell.seconds.get(step)]
        if both:
            found[step] = sum(cell.macs[step] for cell in both) / sum(cell.seconds[step] for cell in both)
    if not found:
        return Rates(assumed, spec.start_seconds, spec.device)
    start = sum(cell.start for cell in finished) / len(finished)
    devices = " and ".join(sorted({cell.device or "an unknown device" for cell in finished}))
    return Rates(assumed | found, start, devices, tuple(found), len(finished))
