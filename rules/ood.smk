"""Out of distribution: corrupted copies of a test set, once per dataset, and finetuned models judged on them.

A cell's accuracy there is a file of its own, so that tables of clear images never wait for corrupted ones.
"""


rule corrupt:
    input:
        pool=POOL_FILES,
    output:
        images=CORRUPTED,
        record=CORRUPTED.removesuffix(".parquet") + ".json",
    log:
        log_of(CORRUPTED.removesuffix(".parquet"), "corrupt"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        released=lambda w: dataset_of(w).corrupted_root or "none",
        mem_mb=8000,
        runtime=120,
    params:
        settings=lambda w: settings(study.corrupt_params(w.dataset, w.domain, int(w.severity))),
        version=step_version("corrupt"),
        shard=lambda w: f"{w.shard}/{w.shards}",
    shell:
        "python -m scripts.corrupt --pool {input.pool} --root {resources.images:q} --params {params.settings:q}"
        " --released {resources.released:q} --shard {params.shard} --out {output.images} --record {output.record}"
        " > {log} 2>&1"


rule evaluate_ood:
    input:
        meta=f"{POOL}pool.json",
        weights=f"{CELL}weights.safetensors",
        sets=corrupted_sets,
    output:
        metrics=f"{CELL}ood/{{domain}}.json",
        predictions=f"{CELL}ood/{{domain}}.parquet",
    log:
        log_of(f"{CELL}ood/{{domain}}", "evaluate_ood"),
    priority: LAST
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        score_batch=lambda w: dataset_of(w).score_batch,
        mem_mb=16000,
        runtime=120,
    params:
        settings=lambda w: settings(study.evaluate_ood_params(has_loop(w)[0], w.domain)),
        version=step_version("evaluate_ood"),
    shell:
        "python -m scripts.evaluate_ood --meta {input.meta} --weights {input.weights} --sets {input.sets}"
        " --params {params.settings:q} --batch-size {resources.score_batch} --device {resources.device}"
        " --metrics {output.metrics} --predictions {output.predictions} > {log} 2>&1"
