"""Captions of the pool's images and their embeddings: once per dataset, however many cells read them."""


rule caption:
    input:
        pool=POOL_FILES,
    output:
        captions=CAPTIONS,
    log:
        log_of(f"{root}/captions/{{dataset}}/{{captioner}}", "caption"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        images=images_root,
        mem_mb=8000,
        runtime=720,
    params:
        settings=lambda w: settings(study.caption_params(w.dataset, w.captioner)),
        version=step_version("caption"),
    shell:
        "python -m scripts.caption --pool {input.pool} --root {resources.images:q} --params {params.settings:q}"
        " --device {resources.device} --out {output.captions} > {log} 2>&1"


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
        mem_mb=8000,
        runtime=240,
    params:
        settings=lambda w: settings(study.text_params(w.dataset, w.encoder, w.prompt)),
        version=step_version("embed_text"),
    shell:
        "python -m scripts.embed_text --captions {input.captions} --params {params.settings:q}"
        " --device {resources.device} --out {output.text} --record {output.record} > {log} 2>&1"
