"""Evaluation of final weights on the whole test set: the target file of one cell is its metrics.json."""


rule evaluate:
    input:
        pool=POOL_FILES,
        weights=f"{CELL}weights.safetensors",
        history=f"{CELL}finetune.json",
        pretrained=f"{PRETRAINED}weights.json",
        selections=selections,
        scorings=scorings,
        augmentations=augmentations,
        texts=text_records,
        stylings=stylings,
        stylers=lambda w: [f"{styler_of(w)}styler.json"] if study.styler(w.method) else [],
    output:
        metrics=f"{CELL}metrics.json",
        predictions=f"{CELL}predictions.parquet",
    log:
        log_of(CELL, "evaluate"),
    priority: LAST
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        images=images_root,
        score_batch=lambda w: dataset_of(w).score_batch,
        mem_mb=16000,
        runtime=60,
    params:
        settings=lambda w: settings(study.evaluate_params(has_loop(w)[0])),
        version=step_version("evaluate"),
    shell:
        "python -m scripts.evaluate --pool {input.pool} --root {resources.images:q} --weights {input.weights}"
        " --history {input.history} --pretrained {input.pretrained} --selections {input.selections}"
        " --scorings {input.scorings} --augmentations {input.augmentations} --texts {input.texts}"
        " --stylings {input.stylings} --stylers {input.stylers}"
        " --params {params.settings:q} --batch-size {resources.score_batch}"
        " --device {resources.device} --metrics {output.metrics} --predictions {output.predictions} > {log} 2>&1"
