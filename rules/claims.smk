"""What the paper says, asked of the metrics of this study's tables and of the paper's own numbers."""


rule measures:
    input:
        unpack(lambda w: measure_inputs(w.measure)),
    output:
        rows=MEASURE,
    log:
        log_of(MEASURE.removesuffix(".parquet"), "measures"),
    wildcard_constraints:
        measure=choices(MEASURED),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        settings=lambda w: settings(measure_settings(w.measure)),
        code=code_of("scripts/measures.py"),
        inputs=lambda w, input: named(input),
    shell:
        "python -m scripts.measures {params.inputs} --params {params.settings:q} --out {output.rows} > {log} 2>&1"


rule claims:
    input:
        rows=claims_rows,
        measures=claims_measures,
    output:
        md=f"{root}/claims.md",
        csv=report(f"{root}/claims.csv", caption="../docs/captions/claims.rst", category="Claims"),
        html=f"{root}/claims.html",
    log:
        f"{LOGS}claims.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=lambda w: settings(claims_plan()),
        code=code_of("scripts/claims.py"),
        paper=[artifacts.file_hash(PAPER), artifacts.file_hash(STATEMENTS)],
    shell:
        "python -m scripts.claims --rows {input.rows} --measures {input.measures:q}"
        " --params {params.settings:q} --md {output.md} --csv {output.csv} --html {output.html} > {log} 2>&1"
