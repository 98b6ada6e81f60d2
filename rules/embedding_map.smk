"""Two selectors on the scores of one model, and a map of the pool as that model sees it (figure 6).

What a cell's weights after its first loop say about the pool is deleted once the cell's second loop has read it. Here it
is copied, so that selecting or drawing again trains nothing; every method of the exhibit selects on this copy.
"""

AFTER = f"{root}/after/{{dataset}}/{{backbone}}/{{method}}/{{ratio}}/{{schedule}}/seed{{seed}}/"
BY = f"{AFTER}{{by}}/"
SCORED = ("embeddings.npy", "losses.npy", "head.safetensors")


def selecting(wildcards):
    """Return the cell whose loop 2 a method would select in, with that method's parameters."""
    return replace(cell_of(wildcards), method=wildcards.by)


def after_inputs(wildcards):
    """Return what a method's selector declares, on the scores of the cell in the path."""
    cell, by = cell_of(wildcards), selecting(wildcards)
    scores, needs = in_cell(AFTER, cell), study.needs(by.method, by.schedule, 2)
    inputs = {
        "index": in_cell(f"{POOL}index.parquet", cell),
        "losses": f"{scores}losses.npy",
        "earlier": selection_folder(cell, 1) + "selection.parquet",
    }
    if needs & {"embeddings", "logits"}:
        augmented = study.augments_pool(by.method, 2)
        inputs["embeddings"] = (
            in_cell(f"{BY}augmented.npy", cell, by=by.method) if augmented else f"{scores}embeddings.npy"
        )
    if needs & {"logits", "head"}:
        inputs["head"] = f"{scores}head.safetensors"
    return inputs


def sample_inputs(exhibit):
    """Return what is known of the pool's samples: per seed scores and selections, and the map of the first seed."""
    cells, methods = study.scored_after(exhibit), study.methods_of(exhibit)
    return {
        "index": in_cell(f"{POOL}index.parquet", cells[0]),
        "meta": in_cell(f"{POOL}pool.json", cells[0]),
        "embeddings": [in_cell(f"{AFTER}embeddings.npy", cell) for cell in cells],
        "heads": [in_cell(f"{AFTER}head.safetensors", cell) for cell in cells],
        "selections": [in_cell(f"{BY}selection.parquet", cell, by=by) for cell in cells for by in methods],
        "map": in_cell(f"{AFTER}map.npy", cells[0]),
    }


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
        code=code_digest("scripts/augment.py"),


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
        code=code_digest("scripts/map_pool.py"),
    shell:
        "python -m scripts.map_pool --embeddings {input.embeddings} --params {params.settings:q} --out {output.map}"
        " > {log} 2>&1"


rule samples:
    input:
        unpack(lambda w: sample_inputs(w.exhibit)),
    output:
        samples=f"{root}/samples/{{exhibit}}.parquet",
    log:
        f"{LOGS}samples/{{exhibit}}.log",
    wildcard_constraints:
        exhibit=choices(name for name in study.exhibits() if study.config.exhibits[name].weights_of),
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
            }
        ),
        code=code_digest("scripts/samples.py"),
        inputs=lambda w, input: named(input),
    shell:
        "python -m scripts.samples {params.inputs} --params {params.settings:q} --out {output.samples} > {log} 2>&1"
