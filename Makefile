# Two commands on a fresh machine: `make run` and `make test`. `make quick` is the inner loop.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
QUICK  := not slow and not ray and not deepspeed and not browser
# Tiny models, side by side, a thread each.
BESIDE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4
FAST   := $(BESIDE) -m "$(QUICK)"

.PHONY: run test test-hosts quick lint clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24.1"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $(STAMP)

run: $(STAMP)
	$(BIN)/lsbench run --strategy dynamic_skip --tasks humaneval,humaneval_bpb --limit 8

# The long proofs share nothing that takes long to make. What shares a model, a Ray or a pair of ranks stands in
# one file, and stays in one process; the longest files come first.
test: $(STAMP)
	$(BESIDE) -m "$(QUICK) or proof"
	$(BESIDE) --dist loadfile --no-loadscope-reorder -m "not ($(QUICK)) and not proof and not hosts"

# Two hosts made of namespaces, where the system lets us make them.
test-hosts: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m hosts

quick: $(STAMP)
	$(FAST)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build *.egg-info
