# `make demo` and `make test` are all a fresh clone needs; everything else is `snakemake`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slurm status lint lock clean

# The lock is installed once; the stamp makes a second call free.
.venv/installed: envs/lock.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/lock.txt
	touch $@

demo: .venv/installed
	@$(BIN)/python demo/run.py

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# A real SLURM of one node, started and stopped by the tests: needs root and `apt-get install slurm-wlm munge`.
test-slurm: .venv/installed
	VECAF_TEST_SLURM=1 $(BIN)/python -m pytest tests/workflow/test_slurm.py

# What of a study is done so far: make status ARGS="--profile demo"
status: .venv/installed
	@$(BIN)/python -m tools.status $(ARGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

# Pins for pip and the same pins for conda, from what is installed now.
lock:
	$(BIN)/python envs/lock.py

clean:
	rm -rf results/demo .snakemake
