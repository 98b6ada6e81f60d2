"""Which files each step of a cell reads, and which parameters stand behind them. Functions only; rules are elsewhere."""

from dataclasses import replace
from functools import cache

from vecaf.models import captioners


def named(items):
    """Return `--name file …` for the files a job has: optional ones need no empty flags."""
    return " ".join(f"--{name} {item}" for name, item in items.items())


SHARDED = [name for name, spec in study.config.datasets.items() if spec.caption_shards > 1]


@cache
def captions_hash(file):
    """Return the hash of the file of a dataset's own captions: what it says runs their step again, not its place."""
    return artifacts.file_hash(file) if file and os.path.isfile(file) else "none"


def caption_aside(wildcards, name, default):
    return study.caption_aside(wildcards.captioner).get(name, default)


def shards_of(wildcards, ending):
    shards = dataset_of(wildcards).caption_shards
    return [f"{SHARD.format(**wildcards, shard=number, shards=shards)}{ending}" for number in range(1, shards + 1)]


def text_file(cell):
    return TEXT.format(
        dataset=study.captioned(cell.dataset),
        captioner=study.captioner(cell.dataset, cell.method),
        encoder=study.encoder(cell.dataset, cell.method),
        prompt=study.prompt(cell.method),
    )


def head_files(cell):
    return HEAD.format(
        **vars(cell),
        head=study.head(cell.dataset, cell.method, cell.schedule),
        objective=study.objective(cell.method),
    )


def plain_embeddings(cell, loop):
    """Return the embeddings that loop's selection starts from, before any augmentation."""
    return in_cell(f"{PRETRAINED}embeddings.npy" if loop == 1 else f"{LOOP}embeddings.npy", cell, loop=loop)


def selection_folder(cell, loop):
    if loop == 1:
        return in_cell(FIRST, replace(cell, ratio=study.ratio(cell, 1)), selection=study.first_selection(cell))
    return in_cell(LOOP, cell, loop=loop)


def selection_inputs(cell, loop):
    """Return exactly what the selector of one loop declares, and the losses wherever the pool is scored: for its log."""
    needs = study.needs(cell.method, cell.schedule, loop)
    inputs = {"index": in_cell(f"{POOL}index.parquet", cell)}
    if needs & EMBEDDED:
        if not study.selects_augmented(cell.method, cell.schedule, loop):
            inputs["embeddings"] = plain_embeddings(cell, loop)
        elif loop == 1:
            inputs["embeddings"] = in_cell(AUGMENTED, cell, augmentation=study.first_augmentation(cell))
        else:
            inputs["embeddings"] = in_cell(f"{LOOP}augmented.npy", cell, loop=loop)
    scores = head_files(cell) if loop == 1 else in_cell(LOOP, cell, loop=loop)
    if "losses" in needs or (loop > 1 and study.scored(cell.method, cell.schedule, loop)):
        inputs["losses"] = f"{scores}losses.npy"
    if needs & {"logits", "head"}:
        inputs["head"] = f"{scores}head.safetensors"
    if "predicted_losses" in needs:
        inputs["predicted-losses"] = f"{scores}predicted_losses.npy"
    if "images" in needs:
        size = study.selection_params(cell, loop)["params"]["image_size"]
        inputs["images"] = in_cell(THUMBNAILS, cell, size=size)
    if loop > 1:
        inputs["earlier"] = [f"{selection_folder(cell, before)}selection.parquet" for before in range(1, loop)]
    return inputs


@cache
def first_cells(dataset, backbone):
    """Return which method and schedule each shared loop-1 name of a dataset and backbone stands for."""
    names = {}
    for method in study.config.methods:
        for schedule in study.config.schedules:
            if not study.can_start(method, schedule):
                continue
            cell = Cell(dataset, backbone, method, "100pct", schedule, 0)
            names.setdefault(study.first_selection(cell), (method, schedule))
            if study.augments_pool(method, 1):
                names.setdefault(study.first_augmentation(cell), (method, schedule))
    return names


def first_cell(wildcards):
    """Return one cell that a shared loop-1 file serves; its ratio is the one that loop 1 selects."""
    name = wildcards.selection if hasattr(wildcards, "selection") else wildcards.augmentation
    try:
        method, schedule = first_cells(wildcards.dataset, wildcards.backbone)[name]
    except KeyError:
        refuse(f"no method of the configuration makes the loop-1 selection {name}")
    ratio, seed = getattr(wildcards, "ratio", "100pct"), int(getattr(wildcards, "seed", 0))
    return Cell(wildcards.dataset, wildcards.backbone, method, ratio, schedule, seed)


def objective_named(wildcards):
    """Return the objective that a path names; methods that share it share the head's losses."""
    for method in study.config.methods:
        if study.objective(method) == wildcards.objective:
            return study.objective_params(method)
    refuse(f"no method of the configuration has the objective {wildcards.objective!r}")


def finetune_inputs(cell, loop):
    first = 1 if study.method(cell.method).accumulate else loop
    inputs = {
        "pool": [in_cell(path, cell) for path in POOL_FILES],
        "selection": [f"{selection_folder(cell, l)}selection.parquet" for l in range(first, loop + 1)],
    }
    if loop == 1:
        head = head_files(replace(cell, seed=study.training_seed(cell)))
        inputs["weights"] = [in_cell(f"{PRETRAINED}weights.safetensors", cell), f"{head}head.safetensors"]
    else:
        before = in_cell(LOOP, cell, loop=loop - 1)
        inputs["weights"] = f"{before}weights.safetensors"
        inputs["batches"] = f"{before}batches.parquet"
        inputs["curve"] = f"{before}curve.parquet"
        inputs["history"] = f"{before}finetune.json"
        if study.training(cell.dataset, cell.method)["optimizer_state"] == "carry":
            inputs["optimizer"] = f"{before}optimizer.safetensors"
    if study.styler(cell.method) is not None:
        inputs["stylized"] = in_cell(f"{LOOP}stylized.parquet", cell, loop=loop)
    if study.augments_training(cell.method):
        inputs["embeddings"] = plain_embeddings(cell, loop)
        inputs["text"] = text_file(cell)
    return inputs


def styler_of(wildcards):
    return STYLER.format(dataset=wildcards.dataset, styler=study.styler(wildcards.method))


def stylings(wildcards):
    """Return the records of a cell's restyled images, loop by loop; none for one that sees the pool's own."""
    cell, loops = last_loop(wildcards)
    restyled = range(1, loops + 1) if study.styler(cell.method) is not None else ()
    return [in_cell(f"{LOOP}stylized.json", cell, loop=loop) for loop in restyled]


def last_loop(wildcards):
    cell, _ = has_loop(wildcards)
    return cell, study.loops(cell.method, cell.schedule)


def before_last(wildcards):
    cell, loop = has_loop(wildcards)
    if loop >= (loops := study.loops(cell.method, cell.schedule)):
        refuse(f"loop {loops} of {cell} is its last: its weights are {in_cell(CELL, cell)}weights.safetensors")
    return cell, loop


def selections(wildcards):
    cell, loops = last_loop(wildcards)
    return [f"{selection_folder(cell, loop)}selection.json" for loop in range(1, loops + 1)]


def scorings(wildcards):
    """Return the records of the pool scorings that a cell's loops asked for; the first is shared."""
    cell, loops = last_loop(wildcards)
    read = [loop for loop in range(1, loops + 1) if study.scored(cell.method, cell.schedule, loop)]
    return [
        in_cell(f"{LOOP}score.json" if loop > 1 else f"{PRETRAINED}embeddings.json", cell, loop=loop) for loop in read
    ]


def augmentations(wildcards):
    """Return the records of the pool's augmentations behind a cell's selections."""
    cell, loops = last_loop(wildcards)
    records = [
        in_cell(f"{LOOP}augment.json", cell, loop=loop)
        for loop in range(2, loops + 1)
        if study.selects_augmented(cell.method, cell.schedule, loop)
    ]
    if study.selects_augmented(cell.method, cell.schedule, 1):
        first = in_cell(AUGMENTED, cell, augmentation=study.first_augmentation(cell))
        records.append(first.removesuffix(".npy") + ".json")
    return records


def selecting(wildcards):
    """Return the cell whose loop 2 a method would select in, with that method's parameters."""
    return replace(cell_of(wildcards), method=wildcards.by)


def after_inputs(wildcards):
    """Return what a method's selector declares, on the scores of the cell in the path."""
    cell, by = cell_of(wildcards), selecting(wildcards)
    scores, needs = in_cell(AFTER, cell), study.needs(by.method, by.schedule, 2)
    inputs = {
        "index": in_cell(f"{POOL}index.parquet", cell),
        "losses": f"{scores}losses.npy",
        "earlier": selection_folder(cell, 1) + "selection.parquet",
    }
    if needs & EMBEDDED:
        augmented = study.selects_augmented(by.method, by.schedule, 2)
        inputs["embeddings"] = (
            in_cell(f"{BY}augmented.npy", cell, by=by.method) if augmented else f"{scores}embeddings.npy"
        )
    if needs & {"logits", "head"}:
        inputs["head"] = f"{scores}head.safetensors"
    return inputs


def text_records(wildcards):
    """Return the records of the captions and of their embeddings that a cell reads; none for one without text."""
    cell, _ = has_loop(wildcards)
    if not (study.augments_training(cell.method) or augmentations(wildcards)):
        return []
    written = WRITTEN.format(
        dataset=study.captioned(cell.dataset), captioner=study.captioner(cell.dataset, cell.method)
    )
    return [f"{written}.json", text_file(cell).removesuffix(".npy") + ".json"]


def corrupted_sets(wildcards):
    """Return every shard of the corrupted test sets of a domain, severity by severity."""
    shards = dataset_of(wildcards).corruption_shards
    return [
        CORRUPTED.format(**wildcards, severity=severity, shard=shard, shards=shards)
        for severity in study.config.ood.severities
        for shard in range(1, shards + 1)
    ]


def profiled(wildcards):
    """Return what counting a model is told; refuse one that the configuration does not have with a sentence."""
    try:
        return study.profile_params(wildcards.part, wildcards.name)
    except KeyError:
        refuse(f"no cell of this configuration uses a {wildcards.part} {wildcards.name}")
