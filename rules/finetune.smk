"""Finetuning: one loop of a cell from the weights of the loop before, on the ids its selection chose.

Loops before the last write below loop{l}/ for the next loop only. The last one (rule finetune_last, same script)
writes to the cell's own folder: final weights, and the logs of all loops, which each loop hands to the next.
"""


rule finetune:
    input:
        unpack(lambda w: finetune_inputs(*before_last(w))),
    output:
        weights=between_loops(f"{LOOP}weights.safetensors"),
        optimizer=between_loops(f"{LOOP}optimizer.safetensors"),
        batches=between_loops(f"{LOOP}batches.parquet"),
        curve=between_loops(f"{LOOP}curve.parquet"),
        record=between_loops(f"{LOOP}finetune.json"),
    log:
        log_of(LOOP, "finetune"),
    priority: begun
    conda:
        ENVIRONMENT
    threads: study.config.threads.heavy
    resources:
        images=images_root,
        score_batch=lambda w: dataset_of(w).score_batch,
        device=device,
        launcher=LAUNCHER,
        checkpoint_seconds=study.config.checkpoint_seconds,
        mem_mb=32000,
        runtime=720,
    params:
        settings=lambda w: settings(study.finetune_params(cell_of(w), int(w.loop))),
        version=step_version("finetune"),
        resume=resume_of(LOOP, "finetune"),
        inputs=lambda w, input: named(input),
    shell:
        "python -m {resources.launcher} {params.inputs} --root {resources.images:q} --params {params.settings:q}"
        " --batch-size {resources.score_batch} --device {resources.device} --resume {params.resume}"
        " --checkpoint-seconds {resources.checkpoint_seconds} --step-version {params.version} --out {output.weights}"
        " --optimizer-out {output.optimizer} --batches-out {output.batches} --curve-out {output.curve}"
        " --record {output.record} > {log} 2>&1"


use rule finetune as finetune_last with:
    input:
        unpack(lambda w: finetune_inputs(*last_loop(w))),
    output:
        weights=f"{CELL}weights.safetensors" if keep.final_weights else temp(f"{CELL}weights.safetensors"),
        optimizer=temp(f"{CELL}optimizer.safetensors"),
        batches=f"{CELL}batches.parquet",
        curve=f"{CELL}curve.parquet",
        record=f"{CELL}finetune.json",
    log:
        log_of(CELL, "finetune"),
    priority: LAST
    params:
        settings=lambda w: settings(study.finetune_params(*last_loop(w))),
        version=step_version("finetune"),
        resume=resume_of(CELL, "finetune"),
        inputs=lambda w, input: named(input),
