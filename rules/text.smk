"""Captions of the pool's images and their embeddings: once per dataset, however many cells read them."""


rule caption:
    input:
        pool=POOL_FILES,
    output:
        captions=CAPTIONS,
    params:
        settings=lambda w: settings(study.caption_params(w.dataset, w.captioner)),
        version=step_version("caption"),
    log:
        log_of(root + "/captions/{dataset}/{captioner}", "caption"),
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        mem_mb=8000,
        runtime=720,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.caption --pool {input.pool} --root {resources.images:q} --params {params.settings:q}"
        " --device {device} --out {output.captions} > {log} 2>&1"


rule embed_text:
    input:
        captions=CAPTIONS,
    output:
        text=TEXT,
        record=TEXT.removesuffix(".npy") + ".json",
    params:
        settings=lambda w: settings(study.text_params(w.dataset, w.encoder, w.prompt)),
        version=step_version("embed_text"),
    log:
        log_of(root + "/text/{dataset}/{captioner}/{encoder}/{prompt}", "embed_text"),
    threads: study.config.threads.heavy
    resources:
        mem_mb=8000,
        runtime=240,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.embed_text --captions {input.captions} --params {params.settings:q}"
        " --device {device} --out {output.text} --record {output.record} > {log} 2>&1"
