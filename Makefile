# headrace: `make demo` and `make test` need make, Python >= 3.11 with venv, and a package index; nothing else.
SHELL := /bin/bash
# The newest Python that runs and can make environments.
PYTHON ?= $(shell for v in 3.13 3.12 3.11; do python$$v -c 'import ensurepip, venv' 2>/dev/null && echo python$$v && exit; done; echo python3)
BIN := .venv/bin
# uv and node bring certificates of their own; the system's are those that pip trusts, and know a site's own authority.
export UV_NATIVE_TLS := 1
# What has been compiled is kept, also where the environment says otherwise: it is a third of the start of each process.
unexport PYTHONDONTWRITEBYTECODE
export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)

.PHONY: demo test test-all check docs wheel deb bench sim fuzz peers constraints clean

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "headrace needs Python 3.11 or newer with venv (Debian: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/ready: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing headrace and its libraries into .venv (once; a minute or two) …"
	@$(BIN)/pip install -q --disable-pip-version-check uv || true
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[all,test]' 2>/dev/null \
	  || { echo "uv could not; trying pip …"; $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,test]'; }
	@touch $@

$(BIN)/uv: | $(BIN)/pip
	@$(BIN)/pip install -q --disable-pip-version-check uv

demo: .venv/ready
	@$(BIN)/headrace demo

# A file's tests run in one worker, in their order: what a module starts is started once. Tests of processes wait a quarter of
# their time, so there is one worker more than two cores have.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores < 4 ? cores + 1 : 4)))
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: .venv/ready
	$(PYTEST) -m "not slow"

test-all: .venv/ready
	$(PYTEST)

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/ready
	$(BIN)/headrace config reference > docs/configuration.md

sim: .venv/ready
	HEADRACE_SIM_SEEDS=$${HEADRACE_SIM_SEEDS:-2000} $(BIN)/python -m pytest tests/sim -q --timeout=0

fuzz: .venv/ready
	$(BIN)/python -m tests.fuzz.run $${HEADRACE_FUZZ_SECONDS:-300}
	if $(BIN)/python -c 'import atheris' 2>/dev/null; then \
	  $(BIN)/python -m tests.fuzz.coverage_guided -max_total_time=$${HEADRACE_FUZZ_SECONDS:-300}; fi

bench: .venv/ready
	$(BIN)/python bench/pipeline.py
	$(BIN)/python bench/fetch_path.py
	$(BIN)/python bench/overload.py
	$(BIN)/python -m bench.maintenance compact
	$(BIN)/python -m bench.maintenance restart

wheel: .venv/ready
	rm -rf dist && $(BIN)/python -m build --installer uv -o dist . || $(BIN)/python -m build -o dist .

# The agent for Debian and Ubuntu, with all it needs inside; uv alone makes it.
deb: | $(BIN)/uv
	@echo "making the package (about a minute) …"
	@deploy/agent/debian/build dist

peers: .venv/ready
	tests/peers/install

constraints: .venv/ready
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --upgrade --all-extras pyproject.toml -o constraints.txt

clean:
	rm -rf .venv .peers dist build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
