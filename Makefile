# `make` alone lists the targets. Set-up needs Python 3.11+ and a package index, no root.
# TORCH_INDEX and TORCH_VERSION say where CPU PyTorch comes from: see scripts/install.py.

PYTHON ?= python3
RUN := .venv/bin/python
export TORCH_INDEX TORCH_VERSION
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: async-client help setup demo serve test test-toolkits check format lint types imports lock openapi bench isolation conformance fuzz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: ## make .venv and install everything in it (done by the others when needed)
	@GOAL=$(MAKECMDGOALS) $(PYTHON) scripts/install.py

demo: setup ## see two real models come out smaller and faster, with the proof (about four minutes)
	@$(RUN) -m examples.demo

serve: setup ## run the service on this machine until Ctrl-C (PORT=8000)
	@$(RUN) -m app --port $(or $(PORT),8000)

test: setup ## run the tests, and of toolkits those that are built
	@$(RUN) -m pytest -q

test-toolkits: setup ## build the toolkits (gigabytes, once for each lock file; the proprietary one too), then run the tests
	@$(RUN) -m workers toolkits install tensorflow transformers timm torch-archives tensorrt-rtx
	@$(RUN) -m pytest -q

check: setup format lint types imports test ## everything that must hold before a change lands

format: setup
	@$(RUN) -m ruff format --check .

lint: setup
	@$(RUN) -m ruff check .

types: setup
	@$(RUN) -m mypy

imports: setup
	@.venv/bin/lint-imports --no-logo

lock: setup ## write requirements/**/*.txt anew from the .in files beside them
	@$(RUN) scripts/lock.py

openapi: setup ## write docs/openapi.json anew, and an entry for callers (NOTE="Added: …")
	@$(RUN) -m scripts.openapi $(if $(NOTE),"$(NOTE)")

async-client: setup ## write whetstone/aio anew from the client
	@$(RUN) -m scripts.async_client

bench: setup ## run the benchmarks (QUICK=1 for a few minutes each; without, the scoreboard takes hours, and can be continued)
	@$(PYTHON) scripts/install.py bench
	@for script in $(filter-out %__init__.py,$(wildcard benchmarks/*.py)); do $(RUN) -m $$(echo $${script%.py} | tr / .) $(if $(QUICK),--quick) || exit 1; done

isolation: setup ## try every route and table with another tenant's ids
	@$(RUN) -m tests.service.isolation

conformance: setup ## run ONNX's own node tests on the interpreter and write docs/ops.md
	@$(RUN) -m scripts.conformance

fuzz: setup ## damage files of every format and read them (MINUTES=10, SEED= repeats a run)
	@$(RUN) -m scripts.fuzz --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

clean: ## remove .venv and all data of the local service
	@rm -rf .venv var
