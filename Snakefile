"""The VeCAF paper, re-run: every table and figure, or any single cell by its file.

This file reads and checks the configuration and names what people type. What depends on what is in rules/, what a
step does in scripts/, and why in docs/.
"""

from snakemake.utils import min_version

min_version("9.19")


configfile: "config.yaml"
configfile: "claims.yaml"


include: "rules/common.smk"
include: "rules/published.smk"
include: "rules/inputs.smk"
include: "rules/exhibits.smk"
include: "rules/checks.smk"
include: "rules/preflight.smk"
include: "rules/origins.smk"
include: "rules/data.smk"
include: "rules/text.smk"
include: "rules/pretrained.smk"
include: "rules/select.smk"
include: "rules/stylize.smk"
include: "rules/finetune.smk"
include: "rules/evaluate.smk"
include: "rules/ood.smk"
include: "rules/prompts.smk"
include: "rules/embedding_map.smk"
include: "rules/flops.smk"
include: "rules/report.smk"
include: "rules/claims.smk"
include: "rules/targets.smk"


localrules:
    all,


# The first rule of this file is what `snakemake` alone makes.
rule all:
    input:
        made("table"),
        made("figure"),
        rules.claims.output if study.config.claims.statements else [],
        rules.report.output,


onstart:
    check_requested()
    begin_record()


onsuccess:
    end_record("success")


onerror:
    end_record("failure")
