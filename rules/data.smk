"""The labelled pool, its tuning split, the test set, and small copies of its images."""


rule pool:
    output:
        index=f"{POOL}index.parquet",
        images=f"{POOL}images.npy",
        meta=f"{POOL}pool.json",
    log:
        log_of(POOL, "pool"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        mem_mb=8000,
        runtime=120,
    params:
        settings=lambda w: settings(study.pool_params(w.dataset)),
        version=step_version("pool"),
    shell:
        "python -m scripts.pool --root {resources.images:q} --params {params.settings:q}"
        " --index {output.index} --images {output.images} --meta {output.meta} > {log} 2>&1"


rule thumbnails:
    input:
        pool=POOL_FILES,
    output:
        images=THUMBNAILS,
    log:
        log_of(THUMBNAILS.removesuffix(".npy"), "thumbnails"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        mem_mb=8000,
        runtime=240,
    params:
        settings=lambda w: settings({"size": int(w.size)}),
        version=step_version("thumbnails"),
    shell:
        "python -m scripts.thumbnails --pool {input.pool} --root {resources.images:q} --params {params.settings:q}"
        " --out {output.images} > {log} 2>&1"
