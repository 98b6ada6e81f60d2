"""What people type beside files: exhibits by name, and groups of them."""


localrules:
    all_tables,
    all_figures,
    cells,
    ood,


# The paper's tables: the controls of `extensions` cost as much again and are asked for by name.
rule all_tables:
    input:
        made("table", of_the_paper=True),


rule all_figures:
    input:
        made("figure", of_the_paper=True),


for exhibit in study.config.exhibits:

    rule:
        name:
            exhibit
        input:
            lambda w, exhibit=exhibit: exhibit_files(exhibit),
        localrule: True


# Every cell of the configuration that can run, whether or not an exhibit that shows it can be drawn yet.
rule cells:
    input:
        [in_cell(f"{CELL}metrics.json", cell) for cell in study.cells()],


rule ood:
    input:
        judged_corrupted,


# What no other rule makes is refused with a sentence; nothing is ever written.
rule mistaken:
    input:
        refuse_target,
    output:
        "{mistaken}",
    wildcard_constraints:
        mistaken=targets.mistakes(study.config),
    localrule: True
