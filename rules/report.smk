"""From cells to what people read: tidy metrics of an exhibit, then its table or figure, and all of them on one page."""


rule metrics:
    input:
        cells=lambda w: metrics_of(w.exhibit),
        published=lambda w: runs_beside(w.exhibit),
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
        code=code_of("scripts/metrics.py"),
    shell:
        "python -m scripts.metrics --cells {params.folder} --published {input.published}"
        " --params {params.settings:q} --out {output.rows} > {log} 2>&1"


rule ids:
    input:
        selections=lambda w: selected_in(w.exhibit),
        published=lambda w: published_ids(w.exhibit),
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
        code=code_of("scripts/ids.py"),
    shell:
        "python -m scripts.ids --selections {input.selections} --published {input.published}"
        " --out {output.ids} > {log} 2>&1"


rule curves:
    input:
        rows=f"{root}/metrics/{{exhibit}}.parquet",
        costs=f"{root}/costs/{{exhibit}}.parquet",
        cells=lambda w: curves_of(w.exhibit),
        published=lambda w: published_curves(w.exhibit),
    output:
        curves=f"{root}/curves/{{exhibit}}.parquet",
    log:
        f"{LOGS}curves/{{exhibit}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        folder=f"{root}/cells",
        code=code_of("scripts/curves.py"),
    shell:
        "python -m scripts.curves --rows {input.rows} --costs {input.costs} --cells {params.folder}"
        " --published {input.published} --out {output.curves} > {log} 2>&1"


rule table:
    input:
        unpack(lambda w: exhibit_inputs(w.exhibit)),
    output:
        csv=report(
            f"{root}/tables/{{exhibit}}.csv",
            caption="../docs/captions/table.rst",
            category="Tables",
            labels={"exhibit": "{exhibit}"},
        ),
        md=f"{root}/tables/{{exhibit}}.md",
        tex=f"{root}/tables/{{exhibit}}.tex",
        html=f"{root}/tables/{{exhibit}}.html",
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
        code=lambda w: exhibit_code(w.exhibit, "scripts/table.py"),
        paper=artifacts.file_hash(PAPER),
        inputs=lambda w, input: named(input),
    shell:
        "python -m scripts.table {params.inputs} --params {params.settings:q}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} --html {output.html} > {log} 2>&1"


rule figure:
    input:
        unpack(lambda w: exhibit_inputs(w.exhibit)),
    output:
        png=report(
            f"{root}/figures/{{exhibit}}.png",
            caption="../docs/captions/figure.rst",
            category="Figures",
            labels={"exhibit": "{exhibit}"},
        ),
        pdf=f"{root}/figures/{{exhibit}}.pdf",
        csv=f"{root}/figures/{{exhibit}}.csv",
        md=f"{root}/figures/{{exhibit}}.md",
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
        code=lambda w: exhibit_code(w.exhibit, "scripts/figure.py", "vecaf/reporting/figure.mplstyle"),
        paper=artifacts.file_hash(PAPER),
        inputs=lambda w, input: named(input),
    shell:
        "python -m scripts.figure {params.inputs} --params {params.settings:q}"
        " --png {output.png} --pdf {output.pdf} --csv {output.csv} --md {output.md} > {log} 2>&1"


rule report:
    input:
        unpack(report_inputs),
    output:
        html=f"{root}/report.html",
    log:
        f"{LOGS}report.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=lambda w: settings(report_settings()),
        pictures=lambda w, input: [file for file in input.figures if file.endswith(".png")],
        folder=f"{root}/cells",
        code=code_of("scripts/report.py", "vecaf/reporting/report.html.j2"),
        quoted=lambda w: quoted(),
    shell:
        "python -m scripts.report --tables {input.tables} --figures {params.pictures} --claims {input.claims}"
        " --rows {input.rows} --cells {params.folder} --published {input.published} --params {params.settings:q}"
        " --out {output.html} > {log} 2>&1"
