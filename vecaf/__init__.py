"""VeCAF reproducibility benchmark: the library behind the workflow's scripts.

Imports run one way: ``rules → scripts → vecaf``. Nothing here knows of Snakemake or of where results lie.
"""
