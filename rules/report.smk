"""From cells to what people read: tidy metrics of an exhibit, then its table."""


rule metrics:
    input:
        cells=lambda w: metrics_of(w.exhibit),
    output:
        rows=f"{root}/metrics/{{exhibit}}.parquet",
    log:
        f"{LOGS}metrics/{{exhibit}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=lambda w: settings(study.expected(w.exhibit)),
        folder=f"{root}/cells",
        code=code_digest("scripts/metrics.py"),
    shell:
        "python -m scripts.metrics --cells {params.folder} --params {params.settings:q} --out {output.rows}"
        " > {log} 2>&1"


rule table:
    input:
        rows=f"{root}/metrics/{{exhibit}}.parquet",
    output:
        csv=f"{root}/tables/{{exhibit}}.csv",
        md=f"{root}/tables/{{exhibit}}.md",
        tex=f"{root}/tables/{{exhibit}}.tex",
    log:
        f"{LOGS}tables/{{exhibit}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=lambda w: settings(study.layout(w.exhibit)),
        code=lambda w: table_code(w.exhibit),
        paper=artifacts.file_hash(PAPER),
    shell:
        "python -m scripts.table --rows {input.rows} --params {params.settings:q}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} > {log} 2>&1"
