# Every command sets the environment up first where it is missing; only Python >= 3.11, git and make are needed.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# DVC and the stages find the environment's commands before others.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.PHONY: help setup demo repro experiments sweep test test-slow fuzz accept lint format lock ui bench clean

help:
	@echo "make setup      environment in .venv (downloads 3 GB, takes 6 GB)"
	@echo "make demo       render the demo corpus, run the pipeline, register the model, show the scores (about 10 minutes)"
	@echo "make repro      scan the corpus of params.yaml and run what changed (avfusion scan, dvc repro)"
	@echo "make experiments  the experiments of dvc exp run side by side: scores, and the parameters that differ"
	@echo "make sweep      search for better parameters of train, with WORKERS=1 processes; docs/sweeps.md says how and where"
	@echo "make test       tests; make test-slow: the longer rest; make accept: the promises, one line each"
	@echo "make fuzz       damaged files through every reader, for SECONDS=600; findings are kept as files"
	@echo "make ui         MLflow page on http://127.0.0.1:5000"
	@echo "make lint       ruff, mypy and the order of rooms; make format: put into shape"
	@echo "make bench      benchmarks; make clean: remove everything that the pipeline made"

setup: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@echo "setting up .venv: about 3 GB to download, 6 GB on disk"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup
	@grep -q '^  name: demo' params.yaml || { echo "params.yaml is set to another corpus: \`make repro\` runs it, \`.venv/bin/avfusion preset demo\` goes back to the demo" >&2; exit 2; }
	@$(BIN)/avfusion scan --if-there
	@$(BIN)/dvc repro
	@$(BIN)/avfusion register
	@$(BIN)/avfusion summary

repro: setup
	@$(BIN)/avfusion scan --if-there
	@$(BIN)/dvc repro

# Only what differs, without the columns of paths and of single targets: fits 120 columns.
experiments: setup
	@$(BIN)/dvc exp show --no-pager --only-changed --drop '.*/|.*_[avb]$$|least|most|Created'

sweep: setup
	@$(BIN)/avfusion sweep --workers $(or $(WORKERS),1)

test: setup
	$(PYTEST) -m "not slow" -q --durations=15 -n 2 --dist loadfile

test-slow: setup
	$(PYTEST) -m slow -q --durations=15

fuzz: setup
	@$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),600)

accept: setup
	@$(BIN)/python acceptance/run.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

lock: setup
	$(BIN)/uv pip compile --universal --generate-hashes --all-extras --python-version 3.11 --quiet \
		--no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock

ui: setup
	@$(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/mlruns/mlflow.db --host 127.0.0.1 --port 5000

bench: setup
	@for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf data/raw/demo data/sources.txt data/corpus data/labels data/frames data/audio data/features data/robustness
	rm -rf models reports .avfusion mlruns/mlflow.db* mlruns/optuna.db* mlruns/artifacts
