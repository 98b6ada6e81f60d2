"""Before anything runs: what the study needs and the machine lacks, and how to fetch it. Neither is an input of a cell."""


localrules:
    disk,
    preflight,
    download,


# A file, and no part of preflight: this command line holds the whole configuration, and a failing one is printed.
rule disk:
    output:
        bytes=f"{root}/disk.json",
    log:
        f"{LOGS}disk.log",
    conda:
        ENVIRONMENT
    threads: 1
    params:
        settings=lambda w: settings({"study": config, "jobs": workflow.resource_settings.nodes or 1}),
        code=code_of("scripts/disk.py"),
    shell:
        "python -m scripts.disk --params {params.settings:q} --out {output.bytes} > {log} 2>&1"


rule preflight:
    input:
        disk=f"{root}/disk.json",
    log:
        f"{LOGS}preflight.log",
    conda:
        ENVIRONMENT
    threads: 1
    params:
        needs=lambda w: settings(needs_of_study()),
    shell:
        "set -o pipefail; python -m scripts.preflight --disk {input.disk} --params {params.needs:q} 2>&1 | tee {log}"


# Jobs have no access to the hub (see common.smk); this one is made to ask it.
rule download:
    log:
        f"{LOGS}download.log",
    conda:
        ENVIRONMENT
    threads: 1
    params:
        needs=lambda w: settings(needs_of_study()),
    shell:
        "set -o pipefail; HF_HUB_OFFLINE=0 python -m scripts.download --params {params.needs:q} 2>&1 | tee {log}"
