"""Per-loop selection: score the pool with the latest weights, augment its embeddings, choose K ids.

The first loop reads the pretrained backbone alone, so cells with equal loop-1 selections share them (rule
select_first); later loops belong to their cell (rules score, augment, select).
"""

from functools import cache


def named(items):
    """Return `--name file …` for the inputs a job has: optional inputs need no empty flags."""
    return " ".join(f"--{name} {item}" for name, item in items.items())


def text_file(cell):
    return TEXT.format(
        dataset=cell.dataset,
        captioner=study.captioner(cell.dataset, cell.method),
        encoder=study.encoder(cell.dataset, cell.method),
        prompt=study.prompt(cell.method),
    )


def head_files(cell):
    return HEAD.format(
        **vars(cell), head=study.head(cell.method, cell.schedule), objective=study.objective(cell.method)
    )


def plain_embeddings(cell, loop):
    """Return the embeddings that loop's selection starts from, before any augmentation."""
    return in_cell(PRETRAINED + "embeddings.npy" if loop == 1 else LOOP + "embeddings.npy", cell, loop=loop)


def selection_folder(cell, loop):
    if loop == 1:
        return in_cell(FIRST, cell, selection=study.first_selection(cell))
    return in_cell(LOOP, cell, loop=loop)


def selection_inputs(cell, loop):
    """Return exactly what the selector of one loop declares, and nothing else."""
    needs = study.needs(cell.method, cell.schedule, loop)
    inputs = {"index": in_cell(POOL + "index.parquet", cell)}
    if "embeddings" in needs:
        if not study.augments_pool(cell.method, loop):
            inputs["embeddings"] = plain_embeddings(cell, loop)
        elif loop == 1:
            inputs["embeddings"] = in_cell(AUGMENTED, cell, augmentation=study.first_augmentation(cell))
        else:
            inputs["embeddings"] = in_cell(LOOP + "augmented.npy", cell, loop=loop)
    if "losses" in needs:
        inputs["losses"] = (head_files(cell) if loop == 1 else in_cell(LOOP, cell, loop=loop)) + "losses.npy"
    if loop > 1:
        inputs["previous"] = selection_folder(cell, loop - 1) + "selection.parquet"
    return inputs


@cache
def first_cells(dataset, backbone):
    """Return which method and schedule each shared loop-1 name of a dataset and backbone stands for."""
    names = {}
    for method in study.config.methods:
        if study.missing(dataset, method):
            continue
        for schedule in study.config.schedules:
            cell = Cell(dataset, backbone, method, "100pct", schedule, 0)
            names.setdefault(study.first_selection(cell), (method, schedule))
            if study.augments_pool(method, 1):
                names.setdefault(study.first_augmentation(cell), (method, schedule))
    return names


def first_cell(wildcards):
    """Return one cell that a shared loop-1 file serves."""
    name = wildcards.selection if hasattr(wildcards, "selection") else wildcards.augmentation
    try:
        method, schedule = first_cells(wildcards.dataset, wildcards.backbone)[name]
    except KeyError:
        raise WorkflowError(f"no method of the configuration makes the loop-1 selection {name}") from None
    ratio, seed = getattr(wildcards, "ratio", "100pct"), int(getattr(wildcards, "seed", 0))
    return Cell(wildcards.dataset, wildcards.backbone, method, ratio, schedule, seed)


rule score:
    input:
        pool=POOL_FILES,
        weights=lambda w: in_cell(LOOP + "weights.safetensors", has_loop(w)[0], loop=int(w.loop) - 1),
    output:
        embeddings=between_loops(LOOP + "embeddings.npy"),
        losses=between_loops(LOOP + "losses.npy"),
        record=LOOP + "score.json",
    params:
        settings=lambda w: settings(study.score_params(cell_of(w))),
        version=step_version("score"),
    log:
        log_of(LOOP, "score"),
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        score_batch=lambda w: dataset_of(w).score_batch,
        mem_mb=16000,
        runtime=240,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.score --pool {input.pool} --root {resources.images:q} --weights {input.weights}"
        " --params {params.settings:q} --batch-size {resources.score_batch} --device {device}"
        " --embeddings {output.embeddings} --losses {output.losses} --record {output.record} > {log} 2>&1"


rule augment:
    input:
        embeddings=LOOP + "embeddings.npy",
        text=lambda w: text_file(has_loop(w)[0]),
    output:
        augmented=between_loops(LOOP + "augmented.npy"),
        record=LOOP + "augment.json",
    params:
        settings=lambda w: settings(study.augment_params(cell_of(w))),
        code=code_digest("scripts/augment.py"),
    log:
        log_of(LOOP, "augment"),
    threads: study.config.threads.light
    resources:
        mem_mb=8000,
        runtime=60,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.augment --embeddings {input.embeddings} --text {input.text}"
        " --params {params.settings:q} --out {output.augmented} --record {output.record} > {log} 2>&1"


use rule augment as augment_first with:
    input:
        embeddings=PRETRAINED + "embeddings.npy",
        text=lambda w: text_file(first_cell(w)),
    output:
        augmented=AUGMENTED,
        record=AUGMENTED.removesuffix(".npy") + ".json",
    params:
        settings=lambda w: settings(study.augment_params(first_cell(w))),
        code=code_digest("scripts/augment.py"),
    log:
        log_of(PRETRAINED + "{augmentation}", "augment"),


rule select:
    input:
        unpack(lambda w: selection_inputs(*has_loop(w))),
    output:
        ids=LOOP + "selection.parquet",
        record=LOOP + "selection.json",
    params:
        settings=lambda w: settings(study.selection_params(cell_of(w), int(w.loop))),
        code=lambda w: selector_code(cell_of(w), int(w.loop)),
        inputs=lambda w, input: named(input),
    log:
        log_of(LOOP, "select"),
    threads: study.config.threads.light
    resources:
        mem_mb=16000,
        runtime=240,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.select {params.inputs} --params {params.settings:q} --device {device}"
        " --out {output.ids} --record {output.record} > {log} 2>&1"


use rule select as select_first with:
    input:
        unpack(lambda w: selection_inputs(first_cell(w), 1)),
    output:
        ids=FIRST + "selection.parquet",
        record=FIRST + "selection.json",
    params:
        settings=lambda w: settings(study.selection_params(first_cell(w), 1)),
        code=lambda w: selector_code(first_cell(w), 1),
        inputs=lambda w, input: named(input),
    log:
        log_of(FIRST, "select"),
