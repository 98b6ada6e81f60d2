"""Per-loop selection: score the pool with the latest weights, augment its embeddings, choose K ids.

The first loop reads the pretrained backbone alone, so cells with equal loop-1 selections share them (rule
select_first); later loops belong to their cell (rules score, augment, select).
"""

# Methods that train a loss-prediction head along: scoring writes what it predicts, too.
PREDICTING = [method for method in study.config.methods if study.loss_head(method)]


rule score:
    input:
        pool=POOL_FILES,
        weights=lambda w: in_cell(f"{LOOP}weights.safetensors", has_loop(w)[0], loop=int(w.loop) - 1),
    output:
        embeddings=between_loops(f"{LOOP}embeddings.npy"),
        losses=between_loops(f"{LOOP}losses.npy"),
        head=between_loops(f"{LOOP}head.safetensors"),
        record=f"{LOOP}score.json",
    log:
        log_of(LOOP, "score"),
    wildcard_constraints:
        method=choices(m for m in study.config.methods if m not in PREDICTING),
    priority: begun
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
        settings=lambda w: settings(study.score_params(cell_of(w))),
        version=step_version("score"),
        resume=resume_of(LOOP, "score"),
        outputs=lambda w, output: named(output),
    shell:
        "python -m scripts.score --pool {input.pool} --root {resources.images:q} --weights {input.weights}"
        " --params {params.settings:q} --batch-size {resources.score_batch} --device {resources.device}"
        " --resume {params.resume} --checkpoint-seconds {resources.checkpoint_seconds}"
        " --step-version {params.version} {params.outputs} > {log} 2>&1"


use rule score as score_predicting with:
    output:
        embeddings=between_loops(f"{LOOP}embeddings.npy"),
        losses=between_loops(f"{LOOP}losses.npy"),
        head=between_loops(f"{LOOP}head.safetensors"),
        predicted=between_loops(f"{LOOP}predicted_losses.npy"),
        record=f"{LOOP}score.json",
    wildcard_constraints:
        method=choices(PREDICTING),
    params:
        settings=lambda w: settings(study.score_params(cell_of(w))),
        version=step_version("score"),
        resume=resume_of(LOOP, "score"),
        outputs=lambda w, output: named(output),


rule augment:
    input:
        embeddings=f"{LOOP}embeddings.npy",
        text=lambda w: text_file(has_loop(w)[0]),
    output:
        augmented=between_loops(f"{LOOP}augmented.npy"),
        record=f"{LOOP}augment.json",
    log:
        log_of(LOOP, "augment"),
    priority: begun
    conda:
        ENVIRONMENT
    threads: study.config.threads.light
    resources:
        images=images_root,  # not read; a cell's steps are one group, whose members must agree on it
        mem_mb=8000,
        runtime=60,
    params:
        settings=lambda w: settings(study.augment_params(cell_of(w))),
        code=code_of("scripts/augment.py"),
    shell:
        "python -m scripts.augment --embeddings {input.embeddings} --text {input.text}"
        " --params {params.settings:q} --out {output.augmented} --record {output.record} > {log} 2>&1"


use rule augment as augment_first with:
    input:
        embeddings=f"{PRETRAINED}embeddings.npy",
        text=lambda w: text_file(first_cell(w)),
    output:
        augmented=AUGMENTED,
        record=AUGMENTED.removesuffix(".npy") + ".json",
    log:
        log_of(f"{PRETRAINED}{{augmentation}}", "augment"),
    params:
        settings=lambda w: settings(study.augment_params(first_cell(w))),
        code=code_of("scripts/augment.py"),


rule select:
    input:
        unpack(lambda w: selection_inputs(*has_loop(w))),
    output:
        ids=f"{LOOP}selection.parquet",
        record=f"{LOOP}selection.json",
    log:
        log_of(LOOP, "select"),
    priority: begun
    conda:
        ENVIRONMENT
    threads: study.config.threads.light
    resources:
        device=device,
        images=images_root,  # not read, as above
        launcher=LAUNCHER,  # nor this
        checkpoint_seconds=study.config.checkpoint_seconds,
        mem_mb=16000,
        runtime=240,
    params:
        settings=lambda w: settings(study.selection_params(cell_of(w), int(w.loop))),
        code=lambda w: selector_code(cell_of(w), int(w.loop)),
        resume=resume_of(LOOP, "select"),
        inputs=lambda w, input: named(input),
    shell:
        "python -m scripts.select {params.inputs} --params {params.settings:q} --device {resources.device}"
        " --resume {params.resume} --checkpoint-seconds {resources.checkpoint_seconds} --step-version {params.code}"
        " --out {output.ids} --record {output.record} > {log} 2>&1"


use rule select as select_first with:
    input:
        unpack(lambda w: selection_inputs(first_cell(w), 1)),
    output:
        ids=f"{FIRST}selection.parquet",
        record=f"{FIRST}selection.json",
    log:
        log_of(FIRST, "select"),
    params:
        settings=lambda w: settings(study.selection_params(first_cell(w), 1, w.ratio)),
        code=lambda w: selector_code(first_cell(w), 1),
        resume=resume_of(FIRST, "select"),
        inputs=lambda w, input: named(input),
