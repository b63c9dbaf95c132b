# `make search` on a fresh machine with Python 3.11 or newer (pip and venv), make and git is enough: it makes `.venv` from
# requirements.lock (about 6 GB with the CUDA libraries of torch) and runs the main job.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.compiled
UV := $(BIN)/uv pip
export UV_HTTP_TIMEOUT ?= 300
export UV_PYTHON_DOWNLOADS := never
# uv brings its own certificates, and a company's proxy is not among them: take the system's where it has any.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem),1,0)

.DEFAULT_GOAL := help
.PHONY: help setup search studies test test-faults test-cluster audit bench lint format test-lowest lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv from the lock, if the lock is newer

search: $(READY) ## the main job: search every backbone; options: make search ARGS="--data DIR"
	$(BIN)/python experiments/search_all.py $(ARGS)

STUDIES := flowers_backbones potato_imbalance potato_googlenet_grid fruit_attention inline_or_two_stage expressions

studies: $(READY) ## the five studies, six programs, on pictures that the package draws, under half an hour
	@for study in $(STUDIES); do $(BIN)/python experiments/$$study.py --out results/studies/$$study || exit $$?; done

test: lint ## ruff, mypy and all tests; options for pytest: make test ARGS="-m 'not slow'"
	$(BIN)/python -m pytest $(ARGS)

audit: $(READY) ## known holes in the locked packages, where the advisory source can be reached
	VENV=$(VENV) bash .ci/audit

test-faults: $(READY) ## real searches stopped and killed, about twenty minutes on two cores
	$(BIN)/python -m pytest -m faults tests/test_faults.py tests/test_fail_points.py

test-cluster: $(READY) ## `ray up` on hosts of their own, ten minutes; skipped without root, sshd and namespaces
	$(BIN)/python -m pytest -rs -m cluster tests/test_hosts.py tests/test_cluster_hosts.py tests/test_autoscaler.py

bench: $(READY) ## speed against other ways (S1 to S12), over an hour; some: make bench ARGS="S3 S7 --quick"
	$(BIN)/python experiments/benchmarks $(ARGS)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## put the code in its layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## make requirements.lock anew from pyproject.toml, with the newest versions it allows
	$(UV) compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --group dev --all-extras pyproject.toml -o requirements.lock

test-lowest: $(READY) ## all tests with the oldest versions that pyproject.toml allows, in .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	$(UV) install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --group dev -e .
	.venv-lowest/bin/python -m pytest $(ARGS)

clean: ## remove what was built here: environments, caches; results stay
	rm -rf .venv .venv-lowest build dist raytl.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find raytl tests experiments -name __pycache__ -type d -prune -exec rm -rf {} +

# uv comes first, by pip, with the version and the hashes that the lock gives it; it installs the rest in parallel.
# Compiled at once: where Python may not write bytecode, each process would compile torch and Ray anew (measured: 22 s
# instead of 10 to import them).
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python {sys.version.split()[0]} is too old: raytl needs 3.11 or newer; make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $(VENV)/uv.lock
	$(UV) sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@
