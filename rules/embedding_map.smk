"""Two selectors on the scores of one model, and a map of the pool as that model sees it (figure 6).

What a cell's weights after its first loop say about the pool is deleted once the cell's second loop has read it. Here it
is copied, so that selecting or drawing again trains nothing; every method of the exhibit selects on this copy.
"""

SCORED = ("embeddings.npy", "losses.npy", "head.safetensors")


rule keep_scores:
    input:
        [f"{CELL}loop2/{name}" for name in SCORED],
    output:
        [f"{AFTER}{name}" for name in SCORED],
    log:
        log_of(AFTER, "keep_scores"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        folder=AFTER,
    shell:
        "cp {input} {params.folder} 2> {log}"


use rule augment as augment_after with:
    input:
        embeddings=f"{AFTER}embeddings.npy",
        text=lambda w: text_file(selecting(w)),
    output:
        augmented=temp(f"{BY}augmented.npy"),
        record=f"{BY}augment.json",
    log:
        log_of(BY, "augment"),
    params:
        settings=lambda w: settings(study.augment_params(selecting(w))),
        code=code_of("scripts/augment.py"),


use rule select as select_after with:
    input:
        unpack(after_inputs),
    output:
        ids=f"{BY}selection.parquet",
        record=f"{BY}selection.json",
    log:
        log_of(BY, "select"),
    params:
        settings=lambda w: settings(study.selection_params(selecting(w), 2)),
        code=lambda w: selector_code(selecting(w), 2),
        resume=resume_of(BY, "select"),
        inputs=lambda w, input: named(input),


rule map_pool:
    input:
        embeddings=f"{AFTER}embeddings.npy",
    output:
        map=f"{AFTER}map.npy",
    log:
        log_of(AFTER, "map_pool"),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        settings=lambda w: settings(study.map_params(w.dataset)),
        code=code_of("scripts/map_pool.py"),
    shell:
        "python -m scripts.map_pool --embeddings {input.embeddings} --params {params.settings:q} --out {output.map}"
        " > {log} 2>&1"


rule samples:
    input:
        unpack(lambda w: sample_inputs(w.exhibit)),
    output:
        samples=SAMPLES,
    log:
        f"{LOGS}samples/{{exhibit}}.log",
    wildcard_constraints:
        exhibit=choices([] if only_finished else SAMPLING),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=20,
    params:
        settings=lambda w: settings(
            {
                "seeds": [cell.seed for cell in study.scored_after(w.exhibit)],
                "methods": study.methods_of(w.exhibit),
                "digest": samples_digest(w.exhibit),
            }
        ),
        code=code_of("scripts/samples.py"),
        inputs=lambda w, input: named(input),
    shell:
        "python -m scripts.samples {params.inputs} --params {params.settings:q} --out {output.samples} > {log} 2>&1"
