"""What all cells of a dataset and backbone start from: weights, the pool's embeddings, heads and their losses.

None of these is part of a cell and none is temporary: they are computed once for the whole study.
"""


rule pretrained:
    input:
        pool=lambda w: POOL_FILES if study.backbone(w.backbone).weights == "self_supervised" else [],
    output:
        weights=PRETRAINED + "weights.safetensors",
        record=PRETRAINED + "weights.json",
    params:
        settings=lambda w: settings(study.backbone_params(w.dataset, w.backbone)),
        version=step_version("pretrained"),
    log:
        log_of(PRETRAINED, "pretrained"),
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        mem_mb=8000,
        runtime=60,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.pretrained --pool {input.pool} --root {resources.images:q} --params {params.settings:q}"
        " --device {device} --out {output.weights} --record {output.record} > {log} 2>&1"


rule embed_pool:
    input:
        pool=POOL_FILES,
        weights=PRETRAINED + "weights.safetensors",
    output:
        embeddings=PRETRAINED + "embeddings.npy",
        record=PRETRAINED + "embeddings.json",
    params:
        settings=lambda w: settings(study.reading_params(w.dataset, w.backbone)),
        version=step_version("score"),
    log:
        log_of(PRETRAINED, "embed_pool"),
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
        " --embeddings {output.embeddings} --record {output.record} > {log} 2>&1"


def objective_named(wildcards):
    """Return the objective that a path names; methods that share it share the head's losses."""
    for method in study.config.methods:
        if study.objective(method) == wildcards.objective:
            return study.objective_params(method)
    raise WorkflowError(f"no method of the configuration has the objective {wildcards.objective!r}")


rule head:
    input:
        pool=POOL_FILES,
        embeddings=PRETRAINED + "embeddings.npy",
    output:
        head=HEAD + "head.safetensors",
        losses=HEAD + "losses.npy",
    params:
        settings=lambda w: settings(
            study.head_params(w.dataset, w.backbone, w.head, objective_named(w), int(w.seed))
        ),
        code=code_digest("scripts/head.py"),
    log:
        log_of(HEAD, "head"),
    threads: study.config.threads.light
    resources:
        mem_mb=8000,
        runtime=30,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.head --pool {input.pool} --embeddings {input.embeddings} --params {params.settings:q}"
        " --head {output.head} --losses {output.losses} > {log} 2>&1"
