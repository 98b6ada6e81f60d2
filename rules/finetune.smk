"""Finetuning: one loop of a cell from the weights of the loop before, on the ids its selection chose.

Loops before the last write below loop{l}/ for the next loop only. The last one (rule finetune_last, same script)
writes to the cell's own folder: final weights, and the logs of all loops, which each loop hands to the next.
"""


def lineage(cell, loop):
    """Return a digest of everything behind a selection except the weights it read.

    finetune takes its selection as `ancient`: a fresh clone's file times must not retrain a study. What may change
    the ids is therefore told here, as parameters and code.
    """
    needs = study.needs(cell.method, cell.schedule, loop)
    behind = [study.pool_params(cell.dataset), study.selection_params(cell, loop), selector_code(cell, loop)]
    if "losses" in needs and loop == 1:
        head = study.head(cell.method, cell.schedule)
        objective = study.objective_params(cell.method)
        behind.append(study.head_params(cell.dataset, cell.backbone, head, objective, cell.seed))
        behind.append(code_digest("scripts/head.py"))
    if needs & {"embeddings", "losses"}:
        behind += [study.score_params(cell), step_version("score")]
    if study.augments_pool(cell.method, loop):
        behind += [study.augment_params(cell), code_digest("scripts/augment.py"), text_lineage(cell)]
    return artifacts.digest(behind)


def text_lineage(cell):
    captioner, encoder = study.captioner(cell.dataset, cell.method), study.encoder(cell.dataset, cell.method)
    captions = [study.caption_params(cell.dataset, captioner), step_version("caption")]
    return [*captions, study.text_params(cell.dataset, encoder, study.prompt(cell.method)), step_version("embed_text")]


def finetune_inputs(cell, loop):
    first = 1 if study.method(cell.method).accumulate else loop
    inputs = {
        "pool": [in_cell(path, cell) for path in POOL_FILES],
        "selection": [ancient(selection_folder(cell, l) + "selection.parquet") for l in range(first, loop + 1)],
    }
    if loop == 1:
        inputs["weights"] = [in_cell(PRETRAINED + "weights.safetensors", cell), head_files(cell) + "head.safetensors"]
    else:
        before = in_cell(LOOP, cell, loop=loop - 1)
        inputs["weights"] = before + "weights.safetensors"
        inputs["batches"] = before + "batches.parquet"
        inputs["curve"] = before + "curve.parquet"
        inputs["history"] = before + "finetune.json"
        if study.training(cell.dataset, cell.method)["optimizer_state"] == "carry":
            inputs["optimizer"] = before + "optimizer.safetensors"
    if study.augments_training(cell.method):
        inputs["embeddings"] = plain_embeddings(cell, loop)
        inputs["text"] = text_file(cell)
    return inputs


def last_loop(wildcards):
    cell, _ = has_loop(wildcards)
    return cell, study.loops(cell.method, cell.schedule)


def before_last(wildcards):
    cell, loop = has_loop(wildcards)
    if loop >= (loops := study.loops(cell.method, cell.schedule)):
        raise WorkflowError(f"loop {loops} of {cell} is its last: its weights are {in_cell(CELL, cell)}weights.safetensors")
    return cell, loop


# Several GPUs: one task starts one process per GPU (torchrun), the global batch stays the same.
launcher = (
    f"{python} -m torch.distributed.run --standalone --nproc_per_node={study.config.gpus} -m"
    if study.config.gpus > 1 and device != "cpu"
    else f"{python} -m"
)


rule finetune:
    input:
        unpack(lambda w: finetune_inputs(*before_last(w))),
    output:
        weights=between_loops(LOOP + "weights.safetensors"),
        optimizer=between_loops(LOOP + "optimizer.safetensors"),
        batches=between_loops(LOOP + "batches.parquet"),
        curve=between_loops(LOOP + "curve.parquet"),
        record=between_loops(LOOP + "finetune.json"),
    params:
        settings=lambda w: settings(study.finetune_params(cell_of(w), int(w.loop))),
        lineage=lambda w: lineage(cell_of(w), int(w.loop)),
        version=step_version("finetune"),
        inputs=lambda w, input: named(input),
    log:
        log_of(LOOP, "finetune"),
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        score_batch=lambda w: dataset_of(w).score_batch,
        mem_mb=32000,
        runtime=720,
    conda:
        ENVIRONMENT
    shell:
        "{launcher} scripts.finetune {params.inputs} --root {resources.images:q} --params {params.settings:q}"
        " --batch-size {resources.score_batch} --device {device} --out {output.weights}"
        " --optimizer-out {output.optimizer} --batches-out {output.batches} --curve-out {output.curve}"
        " --record {output.record} > {log} 2>&1"


use rule finetune as finetune_last with:
    input:
        unpack(lambda w: finetune_inputs(*last_loop(w))),
    output:
        weights=CELL + "weights.safetensors" if keep.final_weights else temp(CELL + "weights.safetensors"),
        optimizer=temp(CELL + "optimizer.safetensors"),
        batches=CELL + "batches.parquet",
        curve=CELL + "curve.parquet",
        record=CELL + "finetune.json",
    params:
        settings=lambda w: settings(study.finetune_params(*last_loop(w))),
        lineage=lambda w: lineage(*last_loop(w)),
        version=step_version("finetune"),
        inputs=lambda w, input: named(input),
    log:
        log_of(CELL, "finetune"),
