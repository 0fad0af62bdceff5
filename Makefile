# `make help` lists the targets.
VENV := .venv
BIN := $(VENV)/bin
# False positives of the secret scan: URLs in examples and tests, and checksums of datasets.
EXAMPLES := ((existing|tls)Secret"|(postgresql(\+[a-z0-9]+)?|smtp)://(me|user|duotempo):|^ *(sha256=)?"[0-9a-f]{64}",?$$)
# At most four test workers, because each starts its own platform. More workers than cores are slower.
AT_ONCE := --numprocesses logical --maxprocesses 4 --no-loadscope-reorder
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long coverage check audit infra-check browser peers lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## create the environment in .venv: seconds with uv's cache, otherwise as long as the download

$(VENV)/.ready: requirements.lock pyproject.toml infra/setup.sh
	@sh infra/setup.sh $(VENV)
	@touch $@

demo: setup  ## run every stage of the product once, on a separate platform
	@$(BIN)/duotempo demo

test: setup browser .venv-infra/.ready  ## run the tests against real services, in parallel
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" $(AT_ONCE) --durations=40

test-long: setup browser .venv-infra/.ready  ## run the tests that take minutes: kills, Ray, fuzzing with ten thousand bodies
	@$(BIN)/python -m pytest -m long -v --durations=25
	@DUOTEMPO_TEST_BODIES=10000 DUOTEMPO_TEST_EXAMPLES=200 $(BIN)/python -m pytest -v --durations=25 \
		tests/serving/http/test_fuzz.py tests/serving/recommend/test_guarantees.py \
		tests/serving/storage/test_spool.py::test_good_rows_among_hostile_ones_are_stored_once_in_spite_of_an_outage

coverage: setup browser .venv-infra/.ready  ## measure the code coverage of `make test`, in all processes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" $(AT_ONCE) --cov

check: setup  ## lint, types, import layers, spelling, and a secret scan
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	git ls-files -z | grep -zE '\.(md|py|toml|ya?ml|sh|html|js|css)$$' | xargs -0 $(BIN)/codespell
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --exclude-files '^requirements.lock$$' --exclude-lines '$(EXAMPLES)'

audit: .venv-infra/.ready  ## check the dependencies for known vulnerabilities; needs PyPI's advisory service
	@.venv-infra/bin/pip-audit --strict -r requirements.lock --no-deps --disable-pip || \
		{ echo "make audit: a vulnerability is listed above, or PyPI's advisory service is unreachable"; exit 1; }

infra-check: .venv-infra/.ready  ## lint and render the files for containers and clusters in infra/
	@.venv-infra/bin/python infra/check.py

.venv-infra/.ready: infra/check-requirements.txt infra/check-tools.sh
	@sh infra/check-tools.sh .venv-infra
	@touch $@

browser: setup  ## install a Chromium for the page's tests, if there is none
	@sh infra/browser.sh $(BIN)/python

peers: .venv-peers/.ready  ## create the environment of the benchmarks' peers

.venv-peers/.ready: benchmarks/peers-requirements.txt infra/python.sh
	@"$$(sh infra/python.sh)" -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip install -q -r benchmarks/peers-requirements.txt
	@touch $@

lock: setup  ## write requirements.lock for all systems, with hashes; UPGRADE=--upgrade takes the newest versions
	@$(BIN)/uv pip compile -q --config-file infra/lock.toml --universal --generate-hashes --no-emit-index-url \
		--no-emit-package torch --python-version 3.11 --extra dev $(UPGRADE) \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:  ## stop the platform, remove environments and caches; keeps .duotempo, which holds the data
	@if [ -x $(BIN)/duotempo ]; then $(BIN)/duotempo down; fi
	rm -rf $(VENV) .venv-peers .venv-infra .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
