"""What people type beside files: exhibits by name, and groups of them."""


localrules:
    all_tables,
    table1,
    extensions,
    cells,


# The paper's tables: the controls of `extensions` cost as much again and are asked for by name.
rule all_tables:
    input:
        made("table", of_the_paper=True),


rule table1:
    input:
        multiext(f"{root}/tables/table1", ".csv", ".md", ".tex"),


rule extensions:
    input:
        multiext(f"{root}/tables/extensions", ".csv", ".md", ".tex"),


# Every cell of the configuration that can run, whether or not an exhibit that shows it can be drawn yet.
rule cells:
    input:
        [in_cell(f"{CELL}metrics.json", cell) for cell in study.runnable()],
