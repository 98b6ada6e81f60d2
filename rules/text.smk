"""Captions of the pool's images and their embeddings: once per dataset, however many cells read them.

A large pool is captioned by several jobs (datasets.NAME.caption_shards), each of a part, and a light one joins them.
"""


rule caption:
    input:
        pool=POOL_FILES,
    output:
        captions=CAPTIONS,
        record=f"{WRITTEN}.json",
    log:
        log_of(WRITTEN, "caption"),
    wildcard_constraints:
        dataset=choices(name for name in study.config.datasets if name not in SHARDED),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        images=images_root,
        source=lambda w: caption_aside(w, "file", "none"),
        caption_batch=lambda w: caption_aside(w, "batch_size", 1),
        mem_mb=lambda w: captioners.get(study.config.captioners[w.captioner].kind).memory_mb,
        runtime=720,
    params:
        settings=lambda w: settings(study.caption_params(w.dataset, w.captioner)),
        content=lambda w: captions_hash(caption_aside(w, "file", None)),
        version=step_version("caption"),
        shard="1/1",
        resume=f"{RESUME}.jsonl",
    shell:
        "python -m scripts.caption --pool {input.pool} --root {resources.images:q} --params {params.settings:q}"
        " --source {resources.source:q} --batch-size {resources.caption_batch} --shard {params.shard}"
        " --device {resources.device} --step-version {params.version} --resume {params.resume}"
        " --out {output.captions} --record {output.record} > {log} 2>&1"


use rule caption as caption_shard with:
    output:
        captions=temp(f"{SHARD}.parquet"),
        record=temp(f"{SHARD}.json"),
    log:
        log_of(SHARD, "caption"),
    wildcard_constraints:
        dataset=choices(SHARDED),
    params:
        settings=lambda w: settings(study.caption_params(w.dataset, w.captioner)),
        content=lambda w: captions_hash(caption_aside(w, "file", None)),
        version=step_version("caption"),
        shard=lambda w: f"{w.shard}/{w.shards}",
        resume=f"{RESUME}/shard{{shard}}of{{shards}}.jsonl",


rule join_captions:
    input:
        shards=lambda w: shards_of(w, ".parquet"),
        records=lambda w: shards_of(w, ".json"),
    output:
        captions=CAPTIONS,
        record=f"{WRITTEN}.json",
    log:
        log_of(WRITTEN, "join_captions"),
    wildcard_constraints:
        dataset=choices(SHARDED),
    conda:
        ENVIRONMENT
    threads: study.config.threads.light
    resources:
        source=lambda w: caption_aside(w, "file", "none"),
        mem_mb=8000,
        runtime=30,
    # The shards are deleted once they are joined, so what they were made from must be told here, too.
    params:
        settings=lambda w: settings(study.caption_params(w.dataset, w.captioner)),
        content=lambda w: captions_hash(caption_aside(w, "file", None)),
        version=step_version("caption"),
        code=code_of("scripts/join_captions.py"),
    shell:
        "python -m scripts.join_captions --shards {input.shards} --records {input.records}"
        " --params {params.settings:q} --source {resources.source:q} --out {output.captions}"
        " --record {output.record} > {log} 2>&1"


rule embed_text:
    input:
        captions=CAPTIONS,
    output:
        text=TEXT,
        record=TEXT.removesuffix(".npy") + ".json",
    log:
        log_of(f"{root}/text/{{dataset}}/{{captioner}}/{{encoder}}/{{prompt}}", "embed_text"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        mem_mb=12000,
        runtime=240,
    params:
        settings=lambda w: settings(study.text_params(w.dataset, w.encoder, w.prompt)),
        version=step_version("embed_text"),
    shell:
        "python -m scripts.embed_text --captions {input.captions} --params {params.settings:q}"
        " --device {resources.device} --out {output.text} --record {output.record} > {log} 2>&1"
