# `make help` lists what there is.
VENV := .venv
BIN := $(VENV)/bin
# What looks like a secret and is none: addresses in examples and tests, and the checksums of datasets.
EXAMPLES := ((existing|tls)Secret"|(postgresql(\+[a-z0-9]+)?|smtp)://(me|user|duotempo):|^ *(sha256=)?"[0-9a-f]{64}",?$$)
# Each worker starts a platform of its own, so there are four at most. More workers than cores take longer.
AT_ONCE := --numprocesses logical --maxprocesses 4 --no-loadscope-reorder
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long coverage check audit infra-check browser peers lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## the environment in .venv: seconds from uv's cache, else as long as the download

$(VENV)/.ready: requirements.lock pyproject.toml infra/setup.sh
	@sh infra/setup.sh $(VENV)
	@touch $@

demo: setup  ## every stage of the product once, on a platform of its own
	@$(BIN)/duotempo demo

test: setup browser .venv-infra/.ready  ## the tests, against real parts, as many at a time as there are cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" $(AT_ONCE) --durations=40

test-long: setup browser .venv-infra/.ready  ## what takes minutes by nature: kills, Ray, ten thousand bodies
	@$(BIN)/python -m pytest -m long -v --durations=25
	@DUOTEMPO_TEST_BODIES=10000 DUOTEMPO_TEST_EXAMPLES=200 $(BIN)/python -m pytest -v --durations=25 \
		tests/serving/http/test_fuzz.py tests/serving/recommend/test_guarantees.py \
		tests/serving/storage/test_spool.py::test_good_rows_among_hostile_ones_are_stored_once_in_spite_of_an_outage

coverage: setup browser .venv-infra/.ready  ## the share of the code that `make test` runs, in all processes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" $(AT_ONCE) --cov

check: setup  ## lint, types, the direction of imports, spelling, and that no secret is in the repository
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	git ls-files -z | grep -zE '\.(md|py|toml|ya?ml|sh|html|js|css)$$' | xargs -0 $(BIN)/codespell
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --exclude-files '^requirements.lock$$' --exclude-lines '$(EXAMPLES)'

audit: .venv-infra/.ready  ## known vulnerabilities of what is installed; asks an advisory service
	@.venv-infra/bin/pip-audit --strict -r requirements.lock --no-deps --disable-pip || \
		{ echo "make audit: a vulnerability is listed above, or PyPI's advisory service cannot be reached from here"; exit 1; }

infra-check: .venv-infra/.ready  ## lint and render what infra/ holds for containers and clusters
	@.venv-infra/bin/python infra/check.py

.venv-infra/.ready: infra/check-requirements.txt infra/check-tools.sh
	@sh infra/check-tools.sh .venv-infra
	@touch $@

browser: setup  ## a Chromium for the page's tests, if there is none
	@sh infra/browser.sh $(BIN)/python

peers: .venv-peers/.ready  ## the environment of the benchmarks' peers

.venv-peers/.ready: benchmarks/peers-requirements.txt infra/python.sh
	@"$$(sh infra/python.sh)" -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip install -q -r benchmarks/peers-requirements.txt
	@touch $@

lock: setup  ## requirements.lock for all systems, with hashes; UPGRADE=--upgrade takes the newest versions
	@$(BIN)/uv pip compile -q --config-file infra/lock.toml --universal --generate-hashes --no-emit-index-url \
		--no-emit-package torch --python-version 3.11 --extra dev $(UPGRADE) \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:  ## stops the platform and removes the environments and caches; .duotempo, which holds the data, stays
	@if [ -x $(BIN)/duotempo ]; then $(BIN)/duotempo down; fi
	rm -rf $(VENV) .venv-peers .venv-infra .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
