"""Style transfer: a network per dataset and text, and the training images that it makes of one loop's selection.

The images stay beside the ids: what finetuning saw is an artifact, and each keeps the id and the label it had.
"""


rule train_styler:
    input:
        pool=POOL_FILES,
    output:
        weights=f"{STYLER}styler.safetensors",
        record=f"{STYLER}styler.json",
    log:
        log_of(STYLER, "train_styler"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        images=images_root,
        mem_mb=16000,
        runtime=240,
    params:
        settings=lambda w: settings(study.styler_params(w.dataset, w.styler)),
        version=step_version("train_styler"),
    shell:
        "python -m scripts.train_styler --pool {input.pool} --root {resources.images:q} --params {params.settings:q}"
        " --device {resources.device} --out {output.weights} --record {output.record} > {log} 2>&1"


rule stylize:
    input:
        pool=POOL_FILES,
        selection=lambda w: finetune_inputs(*has_loop(w))["selection"],
        styler=lambda w: f"{styler_of(w)}styler.safetensors",
    output:
        images=f"{LOOP}stylized.parquet",
        record=f"{LOOP}stylized.json",
    log:
        log_of(LOOP, "stylize"),
    wildcard_constraints:
        method=choices(method for method in study.config.methods if study.styler(method)),
    priority: begun
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        device=device,
        images=images_root,
        launcher=LAUNCHER,  # not read, see common.smk
        mem_mb=16000,
        runtime=240,
    params:
        settings=lambda w: settings(study.stylize_params(cell_of(w))),
        version=step_version("stylize"),
    shell:
        "python -m scripts.stylize --pool {input.pool} --root {resources.images:q} --selection {input.selection}"
        " --styler {input.styler} --params {params.settings:q} --device {resources.device} --out {output.images}"
        " --record {output.record} > {log} 2>&1"
