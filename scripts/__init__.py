"""One command per rule, of the same name: read artifacts, call vecaf, write artifacts.

Run them from the root of the repository as ``python -m scripts.NAME --help``; `snakemake -np` prints the exact calls.
"""
