"""One command per rule, of the same name: read artifacts, call vecaf, write artifacts.

Run them from the root of the repository as ``python -m scripts.NAME --help``; `snakemake -np` prints the exact calls.
"""

import gc
import sys

# Importing torch makes millions of objects that live for ever; looking for garbage among them is a fifth of the time a
# job takes to start. ``vecaf.command.run`` turns the collector on again. (While a module runs as a command, Python's
# first argument is "-m" at this point.)
if sys.argv[0] == "-m":
    gc.disable()
