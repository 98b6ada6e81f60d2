"""Evaluation of final weights on the whole test set: the target file of one cell is its metrics.json."""


def selections(wildcards):
    cell, loops = last_loop(wildcards)
    return [selection_folder(cell, loop) + "selection.json" for loop in range(1, loops + 1)]


def scorings(wildcards):
    """Return the records of the pool scorings that a cell's later loops asked for."""
    cell, loops = last_loop(wildcards)
    read = [
        loop
        for loop in range(2, loops + 1)
        if study.needs(cell.method, cell.schedule, loop) & {"embeddings", "losses", "logits"}
        or study.augments_training(cell.method)
    ]
    return [in_cell(LOOP + "score.json", cell, loop=loop) for loop in read]


rule evaluate:
    input:
        pool=POOL_FILES,
        weights=CELL + "weights.safetensors",
        history=CELL + "finetune.json",
        pretrained=PRETRAINED + "weights.json",
        selections=selections,
        scorings=scorings,
    output:
        metrics=CELL + "metrics.json",
        predictions=CELL + "predictions.parquet",
    params:
        settings=lambda w: settings(study.evaluate_params(has_loop(w)[0])),
        version=step_version("evaluate"),
    log:
        log_of(CELL, "evaluate"),
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        score_batch=lambda w: dataset_of(w).score_batch,
        mem_mb=16000,
        runtime=60,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.evaluate --pool {input.pool} --root {resources.images:q} --weights {input.weights}"
        " --history {input.history} --pretrained {input.pretrained} --selections {input.selections}"
        " --scorings {input.scorings} --params {params.settings:q} --batch-size {resources.score_batch}"
        " --device {device} --metrics {output.metrics} --predictions {output.predictions} > {log} 2>&1"
