"""What models, and with them cells, cost: multiply-accumulates counted from shapes alone, beside measured seconds."""


rule profile_flops:
    output:
        counts=PROFILE,
    log:
        log_of(PROFILE.removesuffix(".json"), "profile_flops"),
    conda:
        ENVIRONMENT
    threads: study.config.threads.light
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        settings=lambda w: settings(profiled(w)),
        code=code_of("scripts/profile_flops.py"),
    shell:
        "python -m scripts.profile_flops --params {params.settings:q} --out {output.counts} > {log} 2>&1"


rule costs:
    input:
        cells=lambda w: metrics_of(w.exhibit),
        published=lambda w: bundle_of(w.exhibit, bundle.RECORDS),
        profiles=lambda w: profiles_of(w.exhibit),
    output:
        rows=f"{root}/costs/{{exhibit}}.parquet",
    log:
        f"{LOGS}costs/{{exhibit}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=lambda w: settings(study.expected(w.exhibit)),
        folder=f"{root}/cells",
        code=code_of("scripts/costs.py"),
    shell:
        "python -m scripts.costs --cells {params.folder} --published {input.published} --profiles {input.profiles}"
        " --params {params.settings:q} --out {output.rows} > {log} 2>&1"


# The counts alone: nothing is downloaded, trained or captioned for them.
rule flops:
    input:
        profiles_of(),
    localrule: True


# Nothing is planned for it but these counts; cells that are finished tell how fast this machine is.
rule estimate:
    input:
        profiles=profiles_of(),
    log:
        f"{LOGS}estimate.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=settings(config),
        folder=f"{root}/cells",
    shell:
        "python -m scripts.estimate --profiles {input.profiles} --cells {params.folder} --params {params.settings:q}"
        " 2> {log}"
