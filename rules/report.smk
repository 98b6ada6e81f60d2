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
        domains=lambda w: domains_of(w.exhibit),
        code=code_digest("scripts/metrics.py"),
    shell:
        "python -m scripts.metrics --cells {params.folder} --domains {params.domains} --params {params.settings:q}"
        " --out {output.rows} > {log} 2>&1"


rule ids:
    input:
        selections=lambda w: selected_in(w.exhibit),
    output:
        ids=f"{root}/ids/{{exhibit}}.parquet",
    log:
        f"{LOGS}ids/{{exhibit}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        code=code_digest("scripts/ids.py"),
    shell:
        "python -m scripts.ids --selections {input.selections} --out {output.ids} > {log} 2>&1"


rule table:
    input:
        unpack(lambda w: exhibit_inputs(w.exhibit)),
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
        settings=lambda w: settings(layout_of(w.exhibit)),
        code=lambda w: table_code(w.exhibit),
        paper=artifacts.file_hash(PAPER),
        inputs=lambda w, input: named(input),
    shell:
        "python -m scripts.table {params.inputs} --params {params.settings:q}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} > {log} 2>&1"


rule figure:
    input:
        unpack(lambda w: exhibit_inputs(w.exhibit)),
    output:
        png=f"{root}/figures/{{exhibit}}.png",
        pdf=f"{root}/figures/{{exhibit}}.pdf",
        csv=f"{root}/figures/{{exhibit}}.csv",
    log:
        f"{LOGS}figures/{{exhibit}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        settings=lambda w: settings(layout_of(w.exhibit)),
        code=lambda w: figure_code(w.exhibit),
        inputs=lambda w, input: named(input),
    shell:
        "python -m scripts.figure {params.inputs} --params {params.settings:q}"
        " --png {output.png} --pdf {output.pdf} --csv {output.csv} > {log} 2>&1"
