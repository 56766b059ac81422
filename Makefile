# Thin: what to build is in CMakeLists.txt, what must be installed is in scripts/setup.
BUILD ?= build
BUILD_TYPE ?= RelWithDebInfo
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)
CMAKE_ARGS ?=
BENCH_ARGS ?=

export DESTDIR
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

all: setup $(BUILD)/CMakeCache.txt ## install what is missing and build (this is what plain "make" does)
	cmake --build $(BUILD) --parallel $(JOBS)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F '|' '{ printf "make %-16s %s\n", $$1, $$2 }'
	@echo 'Variables: BUILD=build BUILD_TYPE=RelWithDebInfo PREFIX=/usr/local DESTDIR= JOBS=<cores> CMAKE_ARGS='

setup: ## install the packages that building and testing need (nothing happens if all are there)
	@scripts/setup build

setup-dev: ## and those of the developers' checks
	@scripts/setup build dev

# What cannot be had is left out of the comparison.
setup-bench:
	@scripts/setup bench || true

# configure DIRECTORY, ARGUMENTS
configure = cmake -S . -B $(1) $$(command -v ninja >/dev/null && echo -G Ninja) -DCMAKE_INSTALL_PREFIX=$(PREFIX) \
  $(2) $(CMAKE_ARGS)

$(BUILD)/CMakeCache.txt:
	@$(call configure,$(BUILD),-DCMAKE_BUILD_TYPE=$(BUILD_TYPE))

test: all ## build and run every test
	@scripts/run-tests $(BUILD)

demo: all ## build and run "tickstore demo": a live feed through a store, shown live, then asked
	@$(BUILD)/tickstore demo

bench: bench-c bench-bindings ## run all benchmarks one after the other; writes docs/benchmarks.md and docs/plots

bench-c: setup-bench all ## what the library itself does, and the same done with other means; BENCH_ARGS=--quick
	@bench/run $(BUILD) $(BENCH_ARGS)

bench-bindings: all ## what Go and Python add to the C calls, in one run
	@echo "== bindings"; bench/bindings/run $(BUILD) $(subst --quick,--rounds 1 --runs 3,$(BENCH_ARGS)) || [ $$? -eq 77 ]

install: setup ## install below PREFIX (and DESTDIR)
	@test "$$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' $(BUILD)/CMakeCache.txt 2>/dev/null)" = "$(PREFIX)" || \
	  { $(call configure,$(BUILD),-DCMAKE_BUILD_TYPE=$(BUILD_TYPE)); }
	cmake --build $(BUILD) --parallel $(JOBS)
	cmake --install $(BUILD)
	@if [ -z "$(DESTDIR)" ] && [ -w /etc/ld.so.cache ]; then ldconfig; fi

test-sanitizers: test-asan test-tsan ## every test (SANITIZED='unit|fuzz': of these labels) under ASan + UBSan, then under TSan

test-asan: setup ## every test under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
	@$(call configure,$(BUILD)-asan,-DTICKSTORE_SANITIZE=address -DTICKSTORE_EXTRAS=OFF)
	cmake --build $(BUILD)-asan --parallel $(JOBS)
	@scripts/run-tests $(BUILD)-asan $(if $(SANITIZED),--label-regex '$(SANITIZED)')

test-tsan: setup ## every test under ThreadSanitizer
	@$(call configure,$(BUILD)-tsan,-DTICKSTORE_SANITIZE=thread -DTICKSTORE_EXTRAS=OFF)
	cmake --build $(BUILD)-tsan --parallel $(JOBS)
	@scripts/run-tests $(BUILD)-tsan $(if $(SANITIZED),--label-regex '$(SANITIZED)')

clang: setup-dev ## build everything with clang, warnings are errors
	@$(call configure,$(BUILD)-clang,-DCMAKE_C_COMPILER=clang)
	cmake --build $(BUILD)-clang --parallel $(JOBS)

sources = $(wildcard $(foreach folder,libtickstore/include/tickstore libtickstore/src libtickstore/src/* cli bench bench/* examples \
  tests/*,$(folder)/*.c $(folder)/*.h))

format: setup-dev ## lay out the C code as .clang-format says
	@clang-format -i $(sources)

format-check: setup-dev ## fail if make format would change something
	@clang-format --dry-run --Werror $(sources)
	@echo "format-check: $(words $(sources)) files are laid out as .clang-format says"

# clang-tidy reads the command lines of the clang build; tests are left out, Criterion's macros alone would fill pages.
tidied = $(wildcard libtickstore/src/*.c libtickstore/src/*/*.c cli/*.c)
tidy: setup-dev ## clang-tidy over the library and the command
	@$(call configure,$(BUILD)-clang,-DCMAKE_C_COMPILER=clang)
	@printf '%s\n' $(tidied) | xargs -n 1 -P $(JOBS) clang-tidy --quiet -p $(BUILD)-clang
	@echo "tidy: nothing found in $(words $(tidied)) files"

FUZZ_SECONDS ?= 60
FUZZ ?=

fuzz: setup-dev ## libFuzzer with ASan and UBSan on every kind of input: FUZZ_SECONDS=60 each, FUZZ="name decimal" for some
	@$(call configure,$(BUILD)-fuzz,-DCMAKE_C_COMPILER=clang -DTICKSTORE_FUZZ=ON -DTICKSTORE_SANITIZE=address \
	  -DTICKSTORE_EXTRAS=OFF)
	cmake --build $(BUILD)-fuzz --parallel $(JOBS) --target fuzz_programs
	@scripts/fuzz $(BUILD)-fuzz $(FUZZ_SECONDS) $(FUZZ)

MUTANTS ?=

mutants: setup ## put bugs back on purpose, one at a time, in a copy: some test must fail for each (MUTANTS="journal ring" for some)
	@scripts/mutants --build $(BUILD) --jobs $(JOBS) --markdown $(BUILD)/mutants.md $(MUTANTS)

TORTURE ?=

torture: all ## the long forms of all tests, hours: TORTURE_SCALE=0.1 for a tenth, TORTURE="kill power" for some
	@scripts/torture $(BUILD) $(TORTURE)

coverage: setup-dev ## which branches of the library the unit and fault tests take: a table, docs/coverage.md, coverage.html
	@$(call configure,$(BUILD)-coverage,-DCMAKE_BUILD_TYPE=Debug -DTICKSTORE_COVERAGE=ON -DTICKSTORE_EXTRAS=OFF)
	cmake --build $(BUILD)-coverage --parallel $(JOBS)
	@find $(BUILD)-coverage -name '*.gcda' -delete
	@scripts/run-tests $(BUILD)-coverage --label-regex '^(unit|fault)$$'
	@scripts/coverage $(BUILD)-coverage

clean: ## remove all build directories
	@rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-clang $(BUILD)-fuzz $(BUILD)-coverage

.PHONY: all help setup setup-dev setup-bench test demo bench bench-c bench-bindings install test-sanitizers test-asan test-tsan clang \
  format format-check tidy fuzz mutants torture coverage clean
