# The commands of a checkout. Everything that is built lies in build/, everything that is installed in .venv/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := build
JOBS ?= $(shell nproc)
# Processes for the Python tests. 0: one after the other, which a busy machine stands best; 3 takes a third of the time.
WORKERS ?= 0
APT := $(shell [ "$$(id -u)" = 0 ] || echo sudo) apt-get
ASR_MODELS := pocketsphinx-en-us pocketsphinx-testdata

# Debian packages by what they are for. libespeak-ng is GPL: the tts wrapper is built only where it is installed.
APT_PACKAGES := ca-certificates curl build-essential cmake ninja-build pkg-config ccache clang-format git \
  libnghttp2-dev libssl-dev zlib1g-dev libprotobuf-dev protobuf-compiler libgrpc++-dev protobuf-compiler-grpc \
  libgtest-dev nghttp2-client python3-dev python3-venv \
  libpocketsphinx-dev $(ASR_MODELS) libespeak-ng-dev espeak-ng-data

NATIVE := CMakeLists.txt pyproject.toml $(shell find cpp proto wrappers tests/cpp tools/bench -type f \
  \( -name '*.cpp' -o -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.def' -o -name '*.proto' \
  -o -name CMakeLists.txt -o -name '*.cmake' \) 2>/dev/null)
PURE := $(shell find loader -name '*.py' -o -name '*.pyi' 2>/dev/null)

# wrapper.h is laid out by hand: clang-format would join its contract lines, which a machine reads.
FORMATTED := '*.h' '*.hpp' '*.cpp' '*.c' ':!cpp/include/loader/wrapper.h'

.PHONY: help
help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: build/.apt build/.venv build/.consul build/.zookeeper  ## Install Debian packages (as root or by sudo), the Python environment, a Consul and a ZooKeeper for tests.

# Asks apt only for what is missing: a machine that has everything needs neither network nor root.
build/.apt: Makefile
	@mkdir -p $(BUILD)
	@missing=$$(for name in $(APT_PACKAGES); do dpkg -s $$name >/dev/null 2>&1 || echo $$name; done); \
	command -v npm >/dev/null || missing="$$missing npm"; \
	command -v java >/dev/null || missing="$$missing default-jre-headless"; \
	if [ -n "$$missing" ]; then echo "installing:" $$missing; \
	  DEBIAN_FRONTEND=noninteractive $(APT) update -q && \
	  DEBIAN_FRONTEND=noninteractive $(APT) install -q -y --no-install-recommends $$missing; fi
	@touch $@

build/.venv: pyproject.toml build/.apt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "pybind11>=2.11" "scikit-build-core>=0.10"
	$(BIN)/python tools/requirements.py test lint vad zookeeper > $(BUILD)/requirements.txt
	$(BIN)/pip install --quiet -r $(BUILD)/requirements.txt
	@touch $@

# For the tests and the demo. Where it cannot be had, tests that need it are skipped and say so; in CI they fail.
build/.consul: tools/consul.sh
	@mkdir -p $(BUILD)
	@if [ -n "$${CONSUL:-}" ]; then echo "consul: $$CONSUL"; \
	else tools/consul.sh $(BUILD)/consul || echo "no Consul: tests that need one are skipped; set CONSUL to a binary" >&2; fi
	@if [ -n "$${CONSUL:-}" ] || [ -x $(BUILD)/consul/consul ]; then touch $@; fi

build/.zookeeper: tools/zookeeper.sh build/.apt
	@tools/zookeeper.sh $(BUILD)/zookeeper && touch $@ || echo "no ZooKeeper: tests that need one are skipped" >&2

.PHONY: build
build: build/.installed  ## Build the native parts, the wrappers and the C++ tests, and install the package.

# Not isolated and always in build/: a second build compiles only what has changed.
build/.installed: build/.venv $(NATIVE) $(PURE)
	$(BIN)/pip install --no-build-isolation --no-deps --force-reinstall --quiet . \
	  -C build.tool-args=-j$(JOBS) -C cmake.define.LOADER_BUILD_TESTS=ON -C cmake.define.LOADER_BUILD_WRAPPERS=ON
	@touch $@

.PHONY: test
test: build test-cpp test-python  ## Run every test but the long ones.

.PHONY: test-cpp
test-cpp: build
	ctest --test-dir $(BUILD) --output-on-failure --timeout 300 -j$(JOBS)

.PHONY: test-python
test-python: build build/.consul build/.zookeeper
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGUMENTS)

# Strict: the first finding ends the test. No suppressions: what a sanitizer finds is repaired.
STRICT_ASAN := halt_on_error=1 detect_leaks=1 detect_stack_use_after_return=1 strict_string_checks=1 \
  check_initialization_order=1 strict_init_order=1

.PHONY: sanitize
sanitize: test-asan test-tsan  ## Run the C++ tests under ASan and UBSan, those with threads under TSan.

.PHONY: test-asan test-tsan
test-asan: SANITIZERS := address,undefined
test-asan: export ASAN_OPTIONS := $(STRICT_ASAN)
test-asan: export UBSAN_OPTIONS := halt_on_error=1 print_stacktrace=1
test-tsan: SANITIZERS := thread
test-tsan: export TSAN_OPTIONS := halt_on_error=1 second_deadlock_stack=1
test-asan test-tsan: test-%: build/.apt
	cmake -S . -B $(BUILD)/$* -G Ninja -DLOADER_BUILD_PYTHON=OFF -DLOADER_BUILD_TESTS=ON -DLOADER_SANITIZE=$(SANITIZERS) \
	  --log-level=WARNING
	cmake --build $(BUILD)/$* --target unit-tests -j$(JOBS)
	ctest --test-dir $(BUILD)/$* --output-on-failure --timeout 300 -j$(JOBS)

.PHONY: lint
lint: build/.venv  ## Check style, types, layers, protocol and generated files.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/check_includes.py
	$(BIN)/python tools/generate.py --check
	cd proto && $(abspath $(BIN))/buf lint
	git ls-files $(FORMATTED) | xargs -r clang-format --dry-run -Werror
	$(BIN)/mypy --python-executable $(BIN)/python
	PYTHONPATH=. $(BIN)/lint-imports --no-cache

.PHONY: format
format: build/.venv  ## Lay out every source file.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files $(FORMATTED) | xargs -r clang-format -i

.PHONY: serve
serve: build  ## Serve config/speech.yaml until ^C.
	$(BIN)/loader --config config/speech.yaml

.PHONY: demo
demo: build  ## Serve speech engines, stream a recording, synthesise a sentence, find the speech in both.
	$(BIN)/python tools/demo.py

.PHONY: demo-rollout
demo-rollout: build  ## Three loaders and Consul: a new version goes live under load, broken ones do not.
	$(BIN)/python tools/demo_rollout.py

.PHONY: bench
bench: build  ## Measure every row of the budget side by side with the baselines; writes docs/benchmarks.md.
	$(BIN)/pip install --quiet "uvloop>=0.19"
	$(MAKE) --no-print-directory -f tools/bench/bench.mk bench BIN=$(BIN) BUILD=$(BUILD) JOBS=$(JOBS)

.PHONY: bench-smoke
bench-smoke: build
	$(MAKE) --no-print-directory -f tools/bench/bench.mk smoke BIN=$(BIN) BUILD=$(BUILD) JOBS=$(JOBS)

.PHONY: bench-balance
bench-balance: build  ## Measure the wait of sessions with unequal nodes; writes docs/benchmarks-balance.md.
	$(BIN)/python -m tools.bench.balance --write docs/benchmarks-balance.md

.PHONY: hostile
hostile: build  ## Run the hostile suite ROUNDS times in a row (20).
	for round in $$(seq $(or $(ROUNDS),20)); do echo "round $$round"; $(BIN)/pytest -q tests/hostile; done

# The full counts; `make test` runs the same tests with small ones.
.PHONY: prove-rollout
prove-rollout: build  ## CHANGES (1000) and REPLACEMENTS (100) under SESSIONS (200) open sessions; prints the figures.
	CHANGES=$(or $(CHANGES),1000) REPLACEMENTS=$(or $(REPLACEMENTS),100) SESSIONS=$(or $(SESSIONS),200) \
	  $(BIN)/pytest -s -o faulthandler_timeout=3600 tests/integration/rollout

.PHONY: soak
soak: build  ## MINUTES (10) of load with clients that vanish; writes docs/soak.md.
	$(BIN)/python tools/soak.py --minutes $(or $(MINUTES),10) --write docs/soak.md

.PHONY: clean
clean:  ## Remove what was built and installed here.
	rm -rf $(BUILD) $(VENV)
	find wrappers -name wrapper.so -delete
