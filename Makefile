# Builds the program build/<variant>/polysketch and the test programs build/<variant>/tests/*. `make help` lists the targets.
# Settings are in config.mk; every source file is found by its place, so adding one needs no change here.

include config.mk

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# ---- flags ------------------------------------------------------------------------------------------------------------------

comma := ,

# Loops over tensors are long: the widest vectors pay, where the processor has them.
VECTOR_WIDTH := $(if $(filter x86_64,$(shell uname -m)),-mprefer-vector-width=512)

ifeq ($(VARIANT),release)
VARIANT_FLAGS := -O3 -march=$(ARCH) $(VECTOR_WIDTH)
else ifeq ($(VARIANT),debug)
VARIANT_FLAGS := -O1 -DDEBUG
else ifeq ($(VARIANT),asan)
VARIANT_FLAGS := -O1 -DDEBUG -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
else ifeq ($(VARIANT),double)
VARIANT_FLAGS := -O2 -march=$(ARCH) -DREAL_DOUBLE -DDEBUG
else ifeq ($(VARIANT),fuzz)
CC := clang
CXX := clang++
VARIANT_FLAGS := -O1 -DDEBUG -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
                 -fno-sanitize-recover=undefined
else ifeq ($(VARIANT),tsan)
CC := clang
CXX := clang++
VARIANT_FLAGS := -O1 -DUNDER_CHECKER -fno-omit-frame-pointer -fsanitize=thread
else ifeq ($(VARIANT),valgrind)
VARIANT_FLAGS := -O2 -DUNDER_CHECKER -march=x86-64-v3
else
$(error VARIANT=$(VARIANT) is unknown; it is one of release, debug, asan, double, fuzz, tsan, valgrind)
endif

# `omp simd` is a wish: clang warns where it does not fulfil it, gcc does not.
CLANG_WARNINGS := $(if $(findstring clang,$(shell $(CC) --version)),-Wno-pass-failed)
# MPI_STATUSES_IGNORE of MPICH is the address 1, which gcc takes for an array that is too short.
MPI_WARNINGS := $(if $(filter mpich,$(MPI)),-Wno-stringop-overflow)

# $(call packages,--cflags or --libs,names); empty when one is missing, which the rule of flags.txt reports.
PKG_CONFIG := PKG_CONFIG_PATH=$(if $(BLAS_FOLDER),$(BLAS_FOLDER)/pkgconfig:)$${PKG_CONFIG_PATH:-} pkg-config
packages = $(strip $(shell $(PKG_CONFIG) $(1) $(2) 2>/dev/null))

ifeq ($(filter openblas blis mkl,$(BLAS)),)
$(error BLAS=$(BLAS) is unknown; it is one of openblas, blis, mkl)
endif
# BLIS of Debian has a folder, but no pkg-config file.
ifeq ($(BLAS)$(BLAS_PACKAGES_$(BLAS)),blis)
BLAS_CPPFLAGS := -isystem $(subst /lib/,/include/,$(BLAS_FOLDER))
BLAS_LDLIBS := -L$(BLAS_FOLDER) -lblis
endif

WARNINGS := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings \
            $(if $(filter 1,$(WERROR)),-Werror) $(CLANG_WARNINGS) $(MPI_WARNINGS)
CFLAGS := -std=gnu11 -g -fopenmp -fno-math-errno -fno-trapping-math $(VARIANT_FLAGS) $(WARNINGS) $(EXTRA_CFLAGS)
# Library headers are system headers: no warnings about what they contain.
CPPFLAGS := -I. -DBLAS_IS_$(BLAS) $(if $(SENTENCEPIECE),-DHAVE_SENTENCEPIECE) $(BLAS_CPPFLAGS) \
            $(patsubst -I%,-isystem %,$(call packages,--cflags,$(PACKAGES) $(SENTENCEPIECE)))
# Of the one file that speaks to a library of C++. Programs are linked as C, without what checks behaviour that only C++ has.
CXXFLAGS := -std=c++17 -g $(VARIANT_FLAGS) $(if $(filter -fsanitize=%,$(VARIANT_FLAGS)),-fno-sanitize=undefined) -Wall -Wextra \
            $(if $(filter 1,$(WERROR)),-Werror) $(EXTRA_CFLAGS)
# The run path makes the program load the flavour of BLAS it was linked with.
LDFLAGS := -fopenmp $(filter -fsanitize=%,$(VARIANT_FLAGS)) \
           $(if $(BLAS_FOLDER),-Wl$(comma)-rpath$(comma)$(BLAS_FOLDER)) $(EXTRA_LDFLAGS)
SENTENCEPIECE_LDLIBS := $(filter-out -lsentencepiece_train,$(call packages,--libs,$(SENTENCEPIECE))) -lstdc++
LDLIBS := $(BLAS_LDLIBS) $(call packages,--libs,$(PACKAGES)) $(if $(SENTENCEPIECE),$(SENTENCEPIECE_LDLIBS)) -lm $(EXTRA_LDLIBS)
TEST_LDLIBS := $(call packages,--libs,$(TEST_PACKAGES))

# ---- files ------------------------------------------------------------------------------------------------------------------

BUILD := build/$(VARIANT)$(FLAVOUR)
PROGRAM := $(BUILD)/polysketch
MAIN := src/programs/main.c
KERNEL_COMPARISON := $(BUILD)/bench/compare_kernels

SOURCES := $(sort $(wildcard src/*/*.c mpi/*.c io/*.c) $(if $(SENTENCEPIECE),src/text/sentencepiece_calls.cc))
HARNESS := $(sort $(wildcard tests/harness/*.c))
UNIT_TESTS := $(sort $(wildcard tests/unit/test_*.c))
MPI_TESTS := $(sort $(wildcard tests/mpi/test_*.c))
FAULT_MAINS := tests/faults/make_seeds.c tests/faults/mutate_files.c tests/faults/damage_newest.c
SHIMS := $(sort $(wildcard tests/faults/shims/*.c))
FAULTS := $(filter-out $(FAULT_MAINS),$(sort $(wildcard tests/faults/*.c)))
FUZZERS := $(filter-out tests/fuzz/fuzz_file.c,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
# What fuzzers are linked with: options are those of all modules.
FUZZED := tests/fuzz/fuzz_file.c $(FAULTS) $(filter-out $(MAIN),$(SOURCES))

# $(call objects,SOURCES[,FOLDER/])
objects = $(patsubst %.cc,$(BUILD)/$(2)%.o,$(filter %.cc,$(1))) $(patsubst %.c,$(BUILD)/$(2)%.o,$(filter %.c,$(1)))
OBJECTS := $(call objects,$(SOURCES))
LIBRARY_OBJECTS := $(call objects,$(filter-out $(MAIN),$(SOURCES)))
HARNESS_OBJECTS := $(call objects,$(HARNESS))
TEST_OBJECTS := $(call objects,$(UNIT_TESTS) $(MPI_TESTS) $(FAULTS) $(FAULT_MAINS) $(FUZZERS) $(FUZZED))
UNIT_PROGRAMS := $(UNIT_TESTS:tests/unit/%.c=$(BUILD)/tests/%)
MPI_PROGRAMS := $(MPI_TESTS:tests/mpi/%.c=$(BUILD)/tests/%)
FAULT_PROGRAMS := $(FAULT_MAINS:tests/faults/%.c=$(BUILD)/tests/%)
SHIM_LIBRARIES := $(SHIMS:tests/faults/shims/%.c=$(BUILD)/tests/%.so)
FUZZ_PROGRAMS := $(FUZZERS:tests/fuzz/%.c=$(BUILD)/tests/%)

# The library: what needs no command line, once more, as code that can be loaded anywhere and shows nothing but
# include/polysketch.h.
LIBRARY_FOLDER := $(BUILD)/lib
LIBRARY_NAME := libpolysketch.so.0
PIC_OBJECTS := $(call objects,$(filter-out src/programs/%,$(SOURCES)),pic/)
LIBRARY_FILES := $(addprefix $(LIBRARY_FOLDER)/,libpolysketch.a libpolysketch.so $(LIBRARY_NAME) polysketch-uninstalled.pc)

ifneq ($(filter $(UNIT_PROGRAMS),$(MPI_PROGRAMS)),)
$(error tests/unit and tests/mpi both have $(notdir $(filter $(UNIT_PROGRAMS),$(MPI_PROGRAMS))))
endif

# The release, and in a clone the commit behind it, "-dirty" when files were changed since: 1.0.0+996221b. The ceiling keeps git
# from taking a repository further up for ours.
RELEASE := $(shell sed -n 's/.*RELEASE_VERSION "\(.*\)"/\1/p' src/base/version.h)
COMMIT := $(shell GIT_CEILING_DIRECTORIES='$(abspath ..)' git describe --always --dirty --exclude='*' 2>/dev/null)
SOURCE_VERSION := $(RELEASE)$(if $(COMMIT),+$(COMMIT))

# ---- targets ----------------------------------------------------------------------------------------------------------------

# Sub-makes compile in parallel even when make was started without -j.
PARALLEL = --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

.PHONY: all tests program test-programs fault-programs fuzz-programs install-packages install uninstall dist run check \
        check-faults fuzz check-slurm submit check-portability lint format bench bench-kernels plots quality quality-smoke info \
        clean help FORCE

all: ## build the program (VARIANT=release, debug, asan or double; WERROR=1; V=1 shows whole command lines)
	@+$(MAKE) $(PARALLEL) program

tests: ## build the program and the test programs of one variant
	@+$(MAKE) $(PARALLEL) program test-programs

.PHONY: lib library
lib: ## build libpolysketch.a and libpolysketch.so in build/release/lib, where pkg-config finds them too
	@+$(MAKE) $(PARALLEL) library

.PHONY: docs
docs: ## all documents and manual pages as linked HTML pages in build/docs (pandoc)
	@scripts/install_packages.sh build docs
	@+$(MAKE) $(PARALLEL) VARIANT=release program
	@scripts/make_docs.sh build/release/polysketch

.PHONY: simulate
simulate: ## simulate steps on 64 to 1,024 ranks under SimGrid: build/simulate, results/reach/simulated.csv (simulate/README.md)
	@scripts/install_packages.sh build simulate
	@+$(MAKE) $(PARALLEL) -f simulate/Makefile
	@simulate/table.sh

install-packages: ## look for all that is needed, and install what is missing (Debian, Ubuntu)
	@scripts/install_packages.sh

install: ## put program, library, manual, completion, job scripts below PREFIX=/usr/local (DESTDIR=folder before it)
	@+$(MAKE) $(PARALLEL) program library
	@scripts/install.sh install '$(PROGRAM)' '$(PREFIX)' '$(DESTDIR)'

uninstall: ## take away what `make install` with the same PREFIX and DESTDIR has put there
	@scripts/install.sh uninstall '$(PREFIX)' '$(DESTDIR)'

dist: ## the last commit as build/polysketch-RELEASE.tar.gz, the same bytes wherever it is made
	@scripts/dist.sh

run: ## build, train configs/default.ini on the corpus, plot, generate (RUN=name, ARGS=--section.key=value)
	@scripts/install_packages.sh build run
	@+$(MAKE) $(PARALLEL) VARIANT=release program
	@RUN='$(RUN)' scripts/run_default.sh $(ARGS)

check: ## build release, double and asan and run all tests
	@scripts/install_packages.sh build test
	@+for variant in release double asan; do $(MAKE) $(PARALLEL) VARIANT=$$variant program test-programs; done
	@scripts/run_tests.sh

fuzz: ## fuzz options, token files, checkpoints, weights and tokenizers, FUZZ_SECONDS=300 each (clang; ARGS=names)
	@scripts/install_packages.sh build test faults
	@+$(MAKE) $(PARALLEL) VARIANT=asan fault-programs
	@+$(MAKE) $(PARALLEL) VARIANT=fuzz fuzz-programs
	@scripts/fuzz.sh $(ARGS)

check-faults: ## killed runs, damaged files, full disks, fuzzing, leaks, memory and threads (ARGS=names of scripts/faults)
	@scripts/install_packages.sh build test faults
	@+for target in 'release program test-programs' 'asan program test-programs' 'fuzz fuzz-programs' 'valgrind test-programs' \
	    'tsan test-programs'; do \
	    $(MAKE) $(PARALLEL) VARIANT=$$target; done
	@scripts/check_faults.sh $(ARGS)

check-slurm: ## run the job scripts under a Slurm of their own on this machine (ARGS=names of checks)
	@scripts/install_packages.sh build slurm
	@+$(MAKE) $(PARALLEL) VARIANT=release program
	@scripts/check_slurm.sh $(ARGS)

submit: ## submit a training job of the size that plan works out (CONFIG=FILE.ini; RANKS=N, ARGS=options, SBATCH_ARGS=options)
	@slurm/submit.sh $(if $(RANKS),--ranks=$(RANKS)) $(CONFIG) $(ARGS) -- $(SBATCH_ARGS)

check-portability: ## build and test for other processors, compilers and MPI libraries (ONLY=short or a pattern)
	@scripts/check_portability.sh '$(or $(ONLY),full)'

lint: ## check layers, rules, formatting, scripts and the links of documents
	@scripts/install_packages.sh lint
	@scripts/lint.sh

format: ## format all C files
	@find src mpi io tests include examples simulate bench \( -name '*.[ch]' -o -name '*.cc' \) -print0 | \
	    xargs -0 -r clang-format -i

bench: ## build and measure
	@+$(MAKE) $(PARALLEL) VARIANT=release program
	@scripts/bench.sh $(ARGS)

bench-kernels: ## attention's small products by our kernel, OpenBLAS and LIBXSMM, as CSV (results/kernels/README.md)
	@scripts/install_packages.sh build kernels >&2
	@+$(MAKE) $(PARALLEL) $(KERNEL_COMPARISON) >&2
	@OMP_NUM_THREADS=1 $(KERNEL_COMPARISON)

plots: ## draw the tables of a run as PNG and SVG (RUN=its folder; scripts/compare_runs.sh overlays several)
	@scripts/plots.sh '$(RUN)'

quality: ## make a table of results/quality (TABLE=approximation, text, recall, length or time; ARGS=--only=PATTERN)
	@scripts/install_packages.sh build quality
	@+$(MAKE) $(PARALLEL) VARIANT=release program
	@scripts/quality.sh '$(TABLE)' $(ARGS)

quality-smoke: ## try all tables of results/quality with tiny models, in a scratch folder
	@scripts/install_packages.sh build quality
	@+$(MAKE) $(PARALLEL) VARIANT=release program
	@scripts/quality.sh --smoke

info: ## compiler, flags and version, to attach to a report of a problem
	@printf '%s\n' 'version   $(SOURCE_VERSION)' "compiler  $$($(CC) --version | head -n 1)" 'CPPFLAGS  $(CPPFLAGS)' \
	    'CFLAGS    $(CFLAGS)' 'LDFLAGS   $(LDFLAGS)' 'LDLIBS    $(LDLIBS)'

clean: ## remove all that was built (prepared data and the corpus stay)
	@rm -rf $(wildcard $(addprefix build/,$(addsuffix *,release debug asan double fuzz tsan valgrind test-logs portability \
	    polysketch-)))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | expand -t 18

# ---- rules ------------------------------------------------------------------------------------------------------------------

program: $(PROGRAM)
library: $(LIBRARY_FILES)
test-programs: $(UNIT_PROGRAMS) $(MPI_PROGRAMS) $(if $(filter release asan,$(VARIANT)),fault-programs) \
               $(if $(filter release,$(VARIANT)$(FLAVOUR)),library)
fault-programs: $(FAULT_PROGRAMS) $(if $(filter release,$(VARIANT)),$(SHIM_LIBRARIES))
fuzz-programs: $(FUZZ_PROGRAMS)

# $(call announce,WORD): the short line, or nothing when V=1 makes the shell show the command itself.
announce = @$(if $(filter 1,$(V)),set -x;,printf '%-6s%s\n' $(1) $@;)

$(PROGRAM): $(OBJECTS)
	$(call announce,LINK) $(CC) $(LDFLAGS) -o $@ $(OBJECTS) $(LDLIBS)

$(UNIT_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(HARNESS_OBJECTS) $(LIBRARY_OBJECTS)
	$(call announce,LINK) $(CC) $(LDFLAGS) -o $@ $^ $(TEST_LDLIBS) $(LDLIBS)

$(MPI_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/tests/mpi/%.o $(HARNESS_OBJECTS) $(LIBRARY_OBJECTS)
	$(call announce,LINK) $(CC) $(LDFLAGS) -o $@ $^ $(TEST_LDLIBS) $(LDLIBS)

$(FAULT_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/tests/faults/%.o $(call objects,$(FAULTS)) $(LIBRARY_OBJECTS)
	$(call announce,LINK) $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(KERNEL_COMPARISON): $(BUILD)/bench/compare_kernels.o $(LIBRARY_OBJECTS)
	$(call announce,LINK) $(CC) $(LDFLAGS) -o $@ $^ $(call packages,--libs,libxsmm) $(LDLIBS)

# Preloaded by scripts/faults; no sanitizer, no optimisation that would call one wrapped function from another.
$(SHIM_LIBRARIES): $(BUILD)/tests/%.so: tests/faults/shims/%.c $(BUILD)/flags.txt
	@mkdir -p $(@D)
	$(call announce,LINK) $(CC) $(CPPFLAGS) -std=gnu11 -O1 $(WARNINGS) -shared -fPIC -o $@ $< -ldl

$(FUZZ_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/tests/fuzz/%.o $(call objects,$(FUZZED))
	@mkdir -p $(@D)
	$(call announce,LINK) $(CC) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c $(BUILD)/flags.txt
	@mkdir -p $(@D)
	$(call announce,CC) $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/pic/%.o: %.c $(BUILD)/flags.txt
	@mkdir -p $(@D)
	$(call announce,CC) $(CC) $(CPPFLAGS) -DIN_A_LIBRARY $(CFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.cc $(BUILD)/flags.txt
	@mkdir -p $(@D)
	$(call announce,CXX) $(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/pic/%.o: %.cc $(BUILD)/flags.txt
	@mkdir -p $(@D)
	$(call announce,CXX) $(CXX) $(CPPFLAGS) $(CXXFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(LIBRARY_FOLDER)/$(LIBRARY_NAME): $(PIC_OBJECTS)
	@mkdir -p $(@D)
	$(call announce,LINK) $(CC) -shared -Wl,-soname,$(LIBRARY_NAME) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(LIBRARY_FOLDER)/libpolysketch.so: $(LIBRARY_FOLDER)/$(LIBRARY_NAME)
	@ln -sf $(<F) $@

# One object, so that names the header does not have can be made its own.
$(LIBRARY_FOLDER)/libpolysketch.a: $(PIC_OBJECTS)
	@mkdir -p $(@D)
	$(call announce,AR) $(CC) -r -nostdlib -o $@.o $^
	@objcopy --localize-hidden $@.o && rm -f $@ && ar rcs $@ $@.o && rm $@.o

# For the library where it was built; scripts/install.sh puts the folders of an installation in their places.
$(LIBRARY_FOLDER)/polysketch-uninstalled.pc: FORCE
	@mkdir -p $(@D); printf '%s\n' 'Name: polysketch' 'Description: language models with sketched polynomial attention' \
	    'Version: $(SOURCE_VERSION)' 'Libs: -L$(abspath $(LIBRARY_FOLDER)) -lpolysketch' \
	    'Libs.private: $(LDFLAGS) $(LDLIBS)' 'Cflags: -I$(abspath include)' >$@

# Runs before all else and says when the processor is older than what the rest is compiled for.
PROCESSOR_OBJECTS := $(BUILD)/src/base/processor.o $(BUILD)/pic/src/base/processor.o
$(PROCESSOR_OBJECTS): CFLAGS += $(if $(VECTOR_WIDTH),-march=x86-64 -mtune=generic) -fno-sanitize=all

# $(call c_string,TEXT): as C writes it.
c_string = "$(subst ",\",$(subst \,\\,$(strip $(1))))"

# Takes in files of another language.
$(BUILD)/src/programs/python_files.o: $(wildcard huggingface/*.py)

# Only this file knows the version, so a new commit compiles only this file again.
VERSION_OBJECTS := $(BUILD)/src/base/version.o $(BUILD)/pic/src/base/version.o
$(VERSION_OBJECTS): CPPFLAGS += -DSOURCE_VERSION='"$(SOURCE_VERSION)"' \
                                -DBUILD_FLAGS='$(call c_string,$(filter-out -W%,$(CFLAGS)))'
$(VERSION_OBJECTS): $(BUILD)/version.txt

# $(call write_if_changed,TEXT): leaves the file, and so all that depends on it, alone when the text is the same.
write_if_changed = @mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' > $@

$(BUILD)/version.txt: FORCE
	$(call write_if_changed,$(SOURCE_VERSION))

$(BUILD)/flags.txt: FORCE
	@[ -z '$(BLAS_PACKAGES_$(BLAS))' ] || $(PKG_CONFIG) --exists $(BLAS_PACKAGES_$(BLAS)) || { \
	    echo "BLAS=$(BLAS): pkg-config does not find '$(BLAS_PACKAGES_$(BLAS))'. Try: make install-packages BLAS=$(BLAS)," \
	        'or load its module, or name another package in BLAS_PACKAGES_$(BLAS) of config.mk' >&2; exit 1; }
	@$(PKG_CONFIG) --print-errors --exists '$(LEAST_VERSIONS)' || { \
	    echo 'A library is missing or too old. Try: make install-packages, or build a newer one and name its folder in' \
	        PKG_CONFIG_PATH >&2; exit 1; }
	@$(PKG_CONFIG) --print-errors --exists $(PACKAGES) $(if $(filter test-programs,$(MAKECMDGOALS)),$(TEST_PACKAGES)) || \
	    { echo 'A library is missing. Try: make install-packages' >&2; exit 1; }
	$(call write_if_changed,$(CC) $(CPPFLAGS) $(CFLAGS) $(CXX) $(CXXFLAGS) $(LDFLAGS) $(TEST_LDLIBS) $(LDLIBS))

.SECONDARY: $(OBJECTS) $(PIC_OBJECTS) $(HARNESS_OBJECTS) $(TEST_OBJECTS)

-include $(patsubst %.o,%.d,$(OBJECTS) $(PIC_OBJECTS) $(HARNESS_OBJECTS) $(TEST_OBJECTS) $(BUILD)/bench/compare_kernels.o)
