# The front door. Everything happens in build/ (build-asan/, build-fuzz/); the scripts in e2e/ do the work.
# JOBS: parallel compilers and tests.
JOBS ?= $(shell nproc)
export PORT APP_PORT ONCE JOBS HATCHWAY_SEED

.DEFAULT_GOAL := help
.PHONY: help prepare build haproxy demo test unit asan e2e conformance image bundle bench bench-cluster lint fuzz clean

help: ## this list
	@echo 'hatchway: the Kubernetes Gateway API on an unmodified HAProxy. What you can make:'
	@awk -F ':[^#]*## ' '/^[a-z0-9-]+:[^#]*## / { printf "  make %-13s%s\n", $$1, $$2 }' Makefile
	@echo 'Start with `make demo`. README.md explains the rest.'

prepare: ## install what is missing to build (Debian packages), and HAProxy 3.4 under build/
	@e2e/tools/prepare.sh build
	@e2e/tools/haproxy.sh

build: prepare ## the program build/hatchway
	@cmake -G Ninja -S . -B build >build/cmake.log || { cat build/cmake.log; exit 1; }
	@ninja -C build -j$(JOBS) --quiet

demo: build ## the walk-through on this machine; ONCE=1: check it and leave; PORT=8080
	@e2e/demo.sh

test: prepare unit asan ## every unit, golden, law and source test; gcc, then clang with ASan and UBSan

unit: build
	@e2e/tools/prepare.sh test
	@cmake -S . -B build >build/cmake.log
	@ninja -C build -j$(JOBS) --quiet
	ctest --test-dir build --output-on-failure -j$(JOBS)

asan: prepare
	@e2e/tools/prepare.sh test
	@CC=clang cmake -G Ninja -S . -B build-asan -DHATCHWAY_SANITIZE=ON \
		-DHATCHWAY_HAPROXY=$(CURDIR)/build/haproxy/haproxy >build/cmake-asan.log || { cat build/cmake-asan.log; exit 1; }
	@ninja -C build-asan -j$(JOBS) --quiet
	ctest --test-dir build-asan --output-on-failure -j$(JOBS)

e2e: build ## scenarios, from a folder and on a real Kubernetes; only some: make e2e NAMES='canary walkthrough'
	@e2e/tools/prepare.sh test
	@e2e/run.sh $(NAMES)

conformance: build ## the Gateway API's own suite, on a real Kubernetes; its report comes to e2e/conformance/
	@SCENARIO_SECONDS=3000 e2e/run.sh conformance

image: build ## container images without a container daemon: build/images.tar
	@e2e/cluster/image.py build/images.tar hatchway haproxy helloworld
	@echo 'build/images.tar: ctr -n k8s.io images import, or kind load image-archive'

bundle: ## charts/hatchway.yaml, rendered from the chart
	@e2e/cluster/node/build.sh control
	@HATCHWAY_BLESS=1 e2e/cluster/chart.sh

bench: build ## the figures of README.md: a table, and build/bench/results.json
	@e2e/tools/prepare.sh bench
	@e2e/bench/bench.py $(FIGURES)

bench-cluster: build ## the figures on a real API server (needs root, and Go to build it)
	@e2e/tools/prepare.sh bench
	@e2e/cluster/node/deps.sh
	@e2e/cluster/node/with.sh e2e/bench/cluster.py $(FIGURES)

lint: build ## clang-tidy and cppcheck
	@e2e/tools/prepare.sh lint
	@e2e/checks/lint.sh

fuzz: prepare ## every fuzzer, SECONDS_EACH=60 seconds each
	@e2e/tools/prepare.sh test
	@e2e/tools/fuzz.sh

clean: ## remove everything that was built (HAProxy too)
	rm -rf build build-asan build-fuzz
