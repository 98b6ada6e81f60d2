"""Before anything runs: what the study needs and the machine lacks, and how to fetch it. Neither is an input of a cell."""


localrules:
    preflight,
    download,


rule preflight:
    log:
        f"{LOGS}preflight.log",
    conda:
        ENVIRONMENT
    threads: 1
    params:
        needs=lambda w: settings(needs_of_study() | {"study": config, "jobs": workflow.resource_settings.nodes or 1}),
    shell:
        "set -o pipefail; python -m scripts.preflight --params {params.needs:q} 2>&1 | tee {log}"


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
