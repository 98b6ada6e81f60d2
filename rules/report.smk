"""From cells to what people read: tidy metrics of an exhibit, then its table."""


def metrics_of(exhibit):
    return [in_cell(CELL + "metrics.json", cell) for cell in study.runnable(exhibit)]


rule metrics:
    input:
        cells=lambda w: metrics_of(w.exhibit),
    output:
        rows=root + "/metrics/{exhibit}.parquet",
    params:
        settings=lambda w: settings(study.expected(w.exhibit)),
        folder=root + "/cells",
        code=code_digest("scripts/metrics.py"),
    log:
        LOGS + "metrics/{exhibit}.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.metrics --cells {params.folder} --params {params.settings:q} --out {output.rows}"
        " > {log} 2>&1"


rule table:
    input:
        rows=root + "/metrics/{exhibit}.parquet",
    output:
        csv=root + "/tables/{exhibit}.csv",
        md=root + "/tables/{exhibit}.md",
        tex=root + "/tables/{exhibit}.tex",
    params:
        settings=lambda w: settings(study.layout(w.exhibit)),
        code=code_digest("scripts/table.py"),
    log:
        LOGS + "tables/{exhibit}.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    conda:
        ENVIRONMENT
    shell:
        "{python} -m scripts.table --rows {input.rows} --params {params.settings:q}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} > {log} 2>&1"
