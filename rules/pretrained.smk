"""What all cells of a dataset and backbone start from: weights, the pool's embeddings, heads and their losses.

None of these is part of a cell and none is temporary: they are computed once for the whole study.
"""


rule pretrained:
    input:
        pool=lambda w: POOL_FILES if study.backbone(w.backbone).weights == "self_supervised" else [],
    output:
        weights=f"{PRETRAINED}weights.safetensors",
        record=f"{PRETRAINED}weights.json",
    log:
        log_of(PRETRAINED, "pretrained"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        images=images_root,
        mem_mb=8000,
        runtime=60,
    params:
        settings=lambda w: settings(study.backbone_params(w.dataset, w.backbone)),
        version=step_version("pretrained"),
    shell:
        "python -m scripts.pretrained --pool {input.pool} --root {resources.images:q} --params {params.settings:q}"
        " --device {resources.device} --out {output.weights} --record {output.record} > {log} 2>&1"


rule embed_pool:
    input:
        pool=POOL_FILES,
        weights=f"{PRETRAINED}weights.safetensors",
    output:
        embeddings=f"{PRETRAINED}embeddings.npy",
        record=f"{PRETRAINED}embeddings.json",
    log:
        log_of(PRETRAINED, "embed_pool"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        images=images_root,
        score_batch=lambda w: dataset_of(w).score_batch,
        checkpoint_seconds=study.config.checkpoint_seconds,
        mem_mb=16000,
        runtime=240,
    params:
        settings=lambda w: settings(study.pretrained_params(w.dataset, w.backbone)),
        version=step_version("score"),
        resume=resume_of(PRETRAINED, "embed_pool"),
    shell:
        "python -m scripts.score --pool {input.pool} --root {resources.images:q} --weights {input.weights}"
        " --params {params.settings:q} --batch-size {resources.score_batch} --device {resources.device}"
        " --resume {params.resume} --checkpoint-seconds {resources.checkpoint_seconds}"
        " --step-version {params.version} --embeddings {output.embeddings} --record {output.record} > {log} 2>&1"


rule head:
    input:
        pool=POOL_FILES,
        embeddings=f"{PRETRAINED}embeddings.npy",
    output:
        head=f"{HEAD}head.safetensors",
        losses=f"{HEAD}losses.npy",
    log:
        log_of(HEAD, "head"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.light
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        settings=lambda w: settings(study.head_params(w.dataset, w.backbone, w.head, objective_named(w), int(w.seed))),
        code=code_of("scripts/head.py"),
    shell:
        "python -m scripts.head --pool {input.pool} --embeddings {input.embeddings} --params {params.settings:q}"
        " --head {output.head} --losses {output.losses} > {log} 2>&1"
