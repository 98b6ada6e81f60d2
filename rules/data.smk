"""The labelled pool, its tuning split and the test set."""


rule pool:
    output:
        index=POOL + "index.parquet",
        images=POOL + "images.npy",
        meta=POOL + "pool.json",
    params:
        settings=lambda w: settings(study.pool_params(w.dataset)),
        version=step_version("pool"),
    log:
        log_of(POOL, "pool"),
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        mem_mb=8000,
        runtime=120,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.pool --root {resources.images:q} --params {params.settings:q}"
        " --index {output.index} --images {output.images} --meta {output.meta} > {log} 2>&1"
