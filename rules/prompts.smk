"""What domain prompts select: how close captions are to a prompt, and the images that first selections chose."""


rule prompt_similarity:
    input:
        captions=CAPTIONS,
        text=TEXT.replace("{prompt}", "none"),
    output:
        similarity=SIMILARITY,
    log:
        log_of(SIMILARITY.removesuffix(".npy"), "prompt_similarity"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.light
    resources:
        device=device,
        mem_mb=8000,
        runtime=60,
    params:
        settings=lambda w: settings(study.text_params(w.dataset, w.encoder, w.prompt)),
        code=code_of("scripts/prompt_similarity.py"),
    shell:
        "python -m scripts.prompt_similarity --captions {input.captions} --text {input.text}"
        " --params {params.settings:q} --device {resources.device} --out {output.similarity} > {log} 2>&1"


rule selected:
    input:
        unpack(lambda w: selected_inputs(w.exhibit, w.dataset)),
    output:
        images=SELECTED,
    log:
        log_of(SELECTED.removesuffix(".parquet"), "selected"),
    wildcard_constraints:
        exhibit=choices([] if only_finished else SELECTING),
    conda:
        ENVIRONMENT
    threads: study.config.threads.light
    resources:
        images=images_root,
        mem_mb=8000,
        runtime=60,
    params:
        settings=lambda w: settings(prompts.params(study, w.exhibit, w.dataset)),
        code=code_of("scripts/selected.py"),
    shell:
        "python -m scripts.selected --pool {input.pool} --root {resources.images:q} --captions {input.captions}"
        " --similarities {input.similarities} --selections {input.selections} --params {params.settings:q}"
        " --out {output.images} > {log} 2>&1"
