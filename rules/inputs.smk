"""Which files each job reads, and which parameters stand behind them. Functions only; rules are in the other files."""

from dataclasses import replace
from functools import cache

from vecaf import claims, prompts, readings
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
    if needs & {"embeddings", "logits"}:
        if not study.augments_pool(cell.method, loop):
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
        raise WorkflowError(f"no method of the configuration makes the loop-1 selection {name}") from None
    ratio, seed = getattr(wildcards, "ratio", "100pct"), int(getattr(wildcards, "seed", 0))
    return Cell(wildcards.dataset, wildcards.backbone, method, ratio, schedule, seed)


def objective_named(wildcards):
    """Return the objective that a path names; methods that share it share the head's losses."""
    for method in study.config.methods:
        if study.objective(method) == wildcards.objective:
            return study.objective_params(method)
    raise WorkflowError(f"no method of the configuration has the objective {wildcards.objective!r}")


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
        raise WorkflowError(
            f"loop {loops} of {cell} is its last: its weights are {in_cell(CELL, cell)}weights.safetensors"
        )
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
        if study.augments_pool(cell.method, loop) and "embeddings" in study.needs(cell.method, cell.schedule, loop)
    ]
    if study.augments_pool(cell.method, 1) and "embeddings" in study.needs(cell.method, cell.schedule, 1):
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
    if needs & {"embeddings", "logits"}:
        augmented = study.augments_pool(by.method, 2)
        inputs["embeddings"] = (
            in_cell(f"{BY}augmented.npy", cell, by=by.method) if augmented else f"{scores}embeddings.npy"
        )
    if needs & {"logits", "head"}:
        inputs["head"] = f"{scores}head.safetensors"
    return inputs


def sample_inputs(exhibit):
    """Return what is known of the pool's samples: per seed scores and selections, and the map of the first seed."""
    cells, methods = study.scored_after(exhibit), study.methods_of(exhibit)
    return {
        "index": in_cell(f"{POOL}index.parquet", cells[0]),
        "meta": in_cell(f"{POOL}pool.json", cells[0]),
        "embeddings": [in_cell(f"{AFTER}embeddings.npy", cell) for cell in cells],
        "heads": [in_cell(f"{AFTER}head.safetensors", cell) for cell in cells],
        "selections": [in_cell(f"{BY}selection.parquet", cell, by=by) for cell in cells for by in methods],
        "map": in_cell(f"{AFTER}map.npy", cells[0]),
    }


def samples_digest(exhibit):
    """Return the digest of all that the samples of an exhibit come from: its cells, those scored, and the map."""
    scored = study.scored_after(exhibit)
    told = [study.digests[exhibit], [study.digest(cell) for cell in scored], study.map_params(scored[0].dataset)]
    return artifacts.digest(told)


def captioned_by(dataset):
    """Return the wildcards of a dataset's own captions and text encoder, by which prompts are compared."""
    spec = study.dataset(dataset)
    return {"dataset": study.captioned(dataset), "captioner": spec.captioner, "encoder": spec.encoder}


def selected_inputs(exhibit, dataset):
    """Return the selections of an exhibit on one dataset, and what is known of the images there."""
    told, cells = captioned_by(dataset), prompts.places(study, exhibit).get(dataset)
    if cells is None:
        raise WorkflowError(f"{exhibit} shows no selections on {dataset}")
    return {
        "pool": [path.format(dataset=dataset) for path in POOL_FILES],
        "captions": CAPTIONS.format(**told),
        "similarities": [SIMILARITY.format(**told, prompt=prompt) for prompt in prompts.prompts(study, exhibit)],
        "selections": [f"{selection_folder(cell, 1)}selection.parquet" for cell in cells],
    }


def text_records(wildcards):
    """Return the records of the captions and of their embeddings that a cell reads; none for one without text."""
    cell, _ = has_loop(wildcards)
    if not (study.augments_training(cell.method) or augmentations(wildcards)):
        return []
    written = WRITTEN.format(
        dataset=study.captioned(cell.dataset), captioner=study.captioner(cell.dataset, cell.method)
    )
    return [f"{written}.json", text_file(cell).removesuffix(".npy") + ".json"]


# Exhibits that compare the ids themselves, and those of training curves.
COMPARING_IDS = ("readings", "tuning")
CURVES = ("figure1b", "figure4", "figure5_b2a", "accuracy_cost")
# Exhibits of what first selections chose.
SELECTING = prompts.exhibits(study)
# Exhibits that show what cells cost.
COSTED = ("table4",)
# Measures of the claims, and the exhibits that they are made of: training curves, or selections.
MEASURED = {
    **{"batches_to_accuracy": "figure5_b2a", "flops": "figure5_b2a", "probe_loss": "figure4"},
    **{"margins": "figure6", "planted_domain": "prompts"},
}


def layout_of(exhibit):
    """Return what the script of an exhibit is told beside its rows."""
    if exhibit in CURVES:
        return study.curves_layout(exhibit)
    if study.config.exhibits[exhibit].weights_of is not None:
        return study.map_layout(exhibit)
    if exhibit in SELECTING:
        return prompts.layout(study, exhibit)
    if exhibit in COSTED:
        return study.layout(exhibit) | {"plans": study.plans(exhibit)}
    return readings.layout(study, exhibit)


def exhibit_inputs(exhibit):
    if study.config.exhibits[exhibit].weights_of is not None:
        return {"samples": own_or_published(SAMPLES.format(exhibit=exhibit), samples_digest(exhibit))}
    if exhibit in SELECTING:
        told = {dataset: prompts.params(study, exhibit, dataset) for dataset in prompts.places(study, exhibit)}
        files = {dataset: SELECTED.format(exhibit=exhibit, dataset=dataset) for dataset in told}
        return {"selected": [own_or_published(files[dataset], told[dataset]["digest"]) for dataset in told]}
    inputs = {"rows": f"{root}/metrics/{exhibit}.parquet"}
    if exhibit in COMPARING_IDS:
        inputs["ids"] = f"{root}/ids/{exhibit}.parquet"
    if exhibit in CURVES:
        inputs["curves"] = f"{root}/curves/{exhibit}.parquet"
    if exhibit in COSTED:
        inputs["costs"] = f"{root}/costs/{exhibit}.parquet"
        inputs["profiles"] = profiles_of(exhibit)
    return inputs


def selected_in(exhibit):
    """Return the file of every selection behind an exhibit, each once however many cells share it."""
    run = [cell for cell in study.cells(exhibit) if not in_bundle(cell)]
    cells = [(cell, study.loops(cell.method, cell.schedule)) for cell in run]
    folders = {selection_folder(cell, loop) for cell, loops in cells for loop in range(1, loops + 1)}
    return [f"{folder}selection.parquet" for folder in sorted(folders)]


def domains_of(exhibit):
    return study.config.ood.corruptions if exhibit in CORRUPTING else []


def corrupted_sets(wildcards):
    """Return every shard of the corrupted test sets of a domain, severity by severity."""
    shards = dataset_of(wildcards).corruption_shards
    return [
        CORRUPTED.format(**wildcards, severity=severity, shard=shard, shards=shards)
        for severity in study.config.ood.severities
        for shard in range(1, shards + 1)
    ]


def metrics_of(exhibit):
    """Return the records of an exhibit's cells that are not read from the published bundle."""
    say_stale(exhibit)
    files = ["metrics.json", *(f"ood/{domain}.json" for domain in domains_of(exhibit))]
    cells = study.cells(exhibit)
    return [in_cell(f"{CELL}{file}", cell) for cell in cells for file in files if not in_bundle(cell, file)]


def curves_of(exhibit):
    """Return the logs of the cells of an exhibit that are not read from the bundle, which finetuning wrote."""
    run = [cell for cell in study.cells(exhibit) if not in_bundle(cell)]
    return [in_cell(f"{CELL}{name}", cell) for cell in run for name in (bundle.BATCHES, bundle.CURVE)]


@cache
def claims_plan():
    try:
        return claims.plan(study, REPORTED)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def claims_rows(wildcards):
    return [f"{root}/metrics/{exhibit}.parquet" for exhibit in claims_plan()["places"]]


def claims_measures(wildcards):
    """Return the files of numbers that no table collects: what the study's figures have, and what else is there."""
    made = [MEASURE.format(measure=name) for name in MEASURED if is_measured(name)]
    return [file for file in claims_plan()["measures"].values() if file in made or os.path.exists(file)]


def is_measured(measure):
    """Say whether this study has what a measure is made of."""
    exhibit = MEASURED[measure]
    if exhibit not in study.exhibits():
        return False
    return measure != "planted_domain" or any(study.dataset(name).planted for name in prompts.places(study, exhibit))


def measure_inputs(measure):
    """Return what a measure is made of: curves, costs and counts, or what an exhibit of selections draws."""
    exhibit = MEASURED[measure]
    if exhibit not in CURVES:
        return exhibit_inputs(exhibit)
    files = {name: f"{root}/{name}/{exhibit}.parquet" for name in ("curves", "costs")}
    return files | {"profiles": profiles_of(exhibit)}


def measure_settings(measure):
    """Return what making a measure is told: levels of accuracy by dataset, and the models of each group of cells."""
    exhibit, models = MEASURED[measure], []
    if exhibit not in CURVES:
        scored = study.scored_after(exhibit)[:1]
        keys = ("dataset", "backbone", "ratio", "schedule")
        return {"measure": measure, "cell": {key: getattr(cell, key) for cell in scored for key in keys}}
    for plan in study.plans(exhibit) if measure == "flops" else ():
        text = plan["parameters"]["text"]
        told = {
            "backbone": {"input_size": plan["parameters"]["backbone"]["input_size"]},
            "text": text and {part: {"name": text[part]["name"]} for part in text},
        }
        models.append([[plan[key] for key in ("dataset", "backbone", "method", "ratio", "schedule")], told])
    return {"measure": measure, "levels": study.curves_layout(exhibit)["b2a_levels"], "models": models}


def profiles_of(*exhibits):
    """Return the counts of the models that the cells of some exhibits (all, if none is named) use."""
    return [PROFILE.format(part=part, name=name) for part, name in study.profiles(*exhibits)]


def profiled(wildcards):
    """Return what counting a model is told; refuse one that the configuration does not have with a sentence."""
    try:
        return study.profile_params(wildcards.part, wildcards.name)
    except KeyError:
        raise WorkflowError(f"no cell of this configuration uses a {wildcards.part} {wildcards.name}") from None


# What the paper prints and says: data, so no code digest sees them.
PAPER = os.path.join(workflow.basedir, "vecaf", "reporting", "paper", "reported.csv")
STATEMENTS = os.path.join(workflow.basedir, "vecaf", "reporting", "paper", "statements.csv")
