"""What the paper says, asked of the metrics of this study's tables and of the paper's own numbers."""

from vecaf import claims

CLAIMS = f"{root}/claims.{{ending}}"


@cache
def claims_plan():
    try:
        return claims.plan(study, REPORTED)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def claims_rows(wildcards):
    return [f"{root}/metrics/{exhibit}.parquet" for exhibit in claims_plan()["places"]]


def claims_measures(wildcards):
    """Return the files of numbers that no rule makes, those that are there: claims wait for none of them."""
    files = [f"{root}/{measure.file}" for measure in study.config.claims.measures.values()]
    return [file for file in files if os.path.exists(file)]


rule claims:
    input:
        rows=claims_rows,
        measures=claims_measures,
    output:
        md=CLAIMS.format(ending="md"),
        csv=CLAIMS.format(ending="csv"),
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
        folder=root,
        code=code_digest("scripts/claims.py"),
        paper=[artifacts.file_hash(PAPER), artifacts.file_hash(STATEMENTS)],
    shell:
        "python -m scripts.claims --rows {input.rows} --measures {input.measures} --root {params.folder}"
        " --params {params.settings:q} --md {output.md} --csv {output.csv} > {log} 2>&1"
