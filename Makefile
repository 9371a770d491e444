# nfengine: build, test, install. `make help` lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
CXX     ?= c++
LUAJIT  ?= luajit
BUILD   ?= build
V       ?= 0
# A variable given to make wins over the ones here: CFLAGS, LDFLAGS, OPT, SANITIZE, WERROR=1, V=1.

PACKAGES = build-essential pkg-config libpcap-dev libndpi-dev libluajit-5.1-dev luajit lua-cjson lua-filesystem \
           lua-busted libzstd-dev zlib1g-dev libsodium-dev libcap-ng-dev libseccomp-dev libdragonbox-dev \
           libgcrypt20-dev libssl3 libsqlite3-0
# What the program loads where it is asked for: output to Kafka, training of models, an engine for them.
OPTIONAL_PACKAGES = librdkafka1 libxgboost0
# What `make lint`, `make asan`, `make valgrind`, `make fuzz` and the specs with others' readers need on top, ...
DEV_PACKAGES = lua-check cppcheck clang-format-14 clang-tidy-14 clang libclang-rt-14-dev valgrind python3-venv sqlite3 \
               tshark nfdump pyflakes3
# ... and the specs on live capture, which send packets through network namespaces and run real programs in them.
LIVE_PACKAGES = iproute2 procps tcpreplay tcpdump curl openssl nginx-light dnsmasq bind9-dnsutils openssh-server \
                openssh-client busybox python3

RELEASE = 0.1.0
# Of this folder's own clone, not of one that it happens to lie in.
git_says = $(if $(wildcard .git),$(shell git describe --always --dirty $(1) 2>/dev/null))
COMMIT   := $(call git_says)
REVISION := $(or $(call git_says,--exclude='*' --abbrev=40),unknown)
VERSION   = $(RELEASE)$(if $(COMMIT), ($(COMMIT)))

# Looked up when first used, after `make deps` has installed pkg-config.
LIBS_PKG = libpcap libndpi luajit libzstd zlib libsodium libcap-ng libseccomp libgcrypt
PKG_CFLAGS = $(shell pkg-config --cflags $(LIBS_PKG))
PKG_LIBS   = $(shell pkg-config --libs $(LIBS_PKG))
# The version reaches one object only, which is made anew when it is another, so that a commit does not rebuild
# everything and the program tells the one that it was built of.
$(BUILD)/abi.o: CFLAGS_ += -DNF_VERSION='"$(VERSION)"' -DNF_REVISION='"$(REVISION)"'

DRAGONBOX  = $(firstword $(wildcard /usr/include/dragonbox-*))

WARN     = -Wall -Wextra -Wpedantic -Wshadow
WARN_C   = $(WARN) -Wstrict-prototypes -Wmissing-prototypes
OPT     ?= -O2 -g -flto=auto
# Captures are hostile input. Sanitizers look closer themselves, and know nothing of the checked functions of the C
# library. No -fcf-protection: the linker drops the mark that switches it on where start files and libraries lack it.
HARDEN    = $(if $(SANITIZE),,-fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
HARDEN_LD = -Wl,-z,relro,-z,now,-z,noexecstack
# Statistics must come out bit for bit as NFStream's, so no fused multiply-add.
COMMON   = $(OPT) -fPIC -ffp-contract=off -fno-semantic-interposition -pthread $(HARDEN) $(SANITIZE) \
           $(if $(WERROR),-Werror)
STANDARD = -std=c11 -D_GNU_SOURCE $(patsubst -I%,-isystem %,$(PKG_CFLAGS))
CFLAGS_  = $(STANDARD) $(COMMON) $(WARN_C) $(CFLAGS)
CXXFLAGS_ = -std=c++17 $(COMMON) $(WARN) -fno-exceptions -fno-rtti -isystem $(DRAGONBOX) $(CXXFLAGS)

CORE = $(filter-out core/main.c,$(wildcard core/*.c))
OBJ  = $(CORE:core/%.c=$(BUILD)/%.o) $(BUILD)/shortest.o

Q = $(if $(filter 0,$(V)),@)
say = @printf '  %-6s %s\n' $(1) $(2)

.PHONY: all help deps dev-deps run test check meters collection readers peers lint asan tsan fuzz leak valgrind faults \
        golden docs ml-demo bench install uninstall clean FORCE
all: nfengine libnfengine.so

help:
	@echo 'make            build ./nfengine and ./libnfengine.so'
	@echo 'make run        install what is missing, build, and show the flows of a sample'
	@echo 'make test       the same set-up, then every spec'
	@echo 'make check      every spec, nothing installed'
	@echo 'make meters     the same output with 1, 2, 3 and 8 meters, for every capture of the reference data'
	@echo 'make collection every plugin and script over every capture of the reference data'
	@echo 'make readers    the Python packages that read what is written, for spec/{readers,python}_spec.lua'
	@echo 'make peers      the Python packages that train models, for spec/lua/ml'
	@echo 'make lint       formatting, static analysis, include order, the contract header'
	@echo 'make asan       every spec against a build with address and undefined behaviour sanitizers'
	@echo 'make tsan       the specs that run threads, with the thread sanitizer'
	@echo 'make faults     every allocation, read, write and so on of some runs made to fail, one after another'
	@echo 'make leak       the C core alone under the leak sanitizer, also with each allocation failing'
	@echo 'make valgrind   the program and the C core under valgrind, over the samples'
	@echo 'make fuzz       every fuzz target for FUZZ_SECONDS (60) each, up to the first finding'
	@echo 'make golden     write the expected outputs of scripts anew'
	@echo 'make docs       write the generated parts of README.md and docs/ anew'
	@echo 'make ml-demo    a model trained, evaluated and deployed on the samples, as root also live'
	@echo 'make bench      what each part costs, and other tools where they are installed'
	@echo 'make install    PREFIX=/usr/local DESTDIR=; make uninstall takes it away again'
	@echo 'make deps       install the Debian packages that are missing; make dev-deps those of options and checks, too'
	@echo 'make clean      remove what was built'

# ---- set-up ----

deps:
	@sh .ci/packages $(PACKAGES)

dev-deps:
	@sh .ci/packages $(PACKAGES) $(OPTIONAL_PACKAGES) $(DEV_PACKAGES) $(LIVE_PACKAGES)

# Variables ask pkg-config, so the build is a make of its own, after the packages are there.
run: deps
	@$(MAKE) --no-print-directory all
	./nfengine summary samples/web.pcap

test: deps
	@$(MAKE) --no-print-directory check

# ---- build ----

PROGRAM = nfengine
$(PROGRAM): $(OBJ) $(BUILD)/main.o lua/nfengine/cdef.lua
	$(call say,LINK,$@)
	$(Q)$(CC) $(COMMON) $(HARDEN_LD) $(LDFLAGS) -pie -Wl,-E -o $@ $(OBJ) $(BUILD)/main.o $(PKG_LIBS) -lm

LIBRARY = libnfengine.so
$(LIBRARY): $(OBJ) lua/nfengine/cdef.lua
	$(call say,LINK,$@)
	$(Q)$(CC) $(COMMON) $(HARDEN_LD) $(LDFLAGS) -shared -Wl,-Bsymbolic-functions -o $@ $(OBJ) $(PKG_LIBS) -lm

$(BUILD)/%.o: core/%.c Makefile | $(BUILD)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: core/%.cc Makefile | $(BUILD)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CXXFLAGS_) -MMD -MP -c -o $@ $<

$(BUILD):
	@mkdir -p $@

$(BUILD)/abi.o: $(BUILD)/version
$(BUILD)/version: FORCE | $(BUILD)
	@echo '$(VERSION) $(REVISION)' | cmp -s - $@ || echo '$(VERSION) $(REVISION)' >$@

-include $(wildcard $(BUILD)/*.d)

# The contract header's text, wrapped for LuaJIT. Everything else about the structs is asked from it.
lua/nfengine/cdef.lua: core/nf_abi.h Makefile
	$(call say,GEN,$@)
	$(Q){ echo '-- Generated from core/nf_abi.h by make; edit that.'; echo 'require("ffi").cdef [==['; \
	  grep -v '^#pragma once' $<; echo ']==]'; } > $@.tmp && mv $@.tmp $@

# ---- tests ----

# Specs run one file a process, two at a time, as TAP.
SPECS = $(shell find spec -name '*_spec.lua' | sort)
PROVE_FLAGS ?=

# What is fuzzed, and the programs that try a target on files, which specs need.
TARGETS = $(patsubst spec/fuzz/fuzz_%.c,%,$(wildcard spec/fuzz/fuzz_*.c))
REPLAYS = $(TARGETS:%=$(BUILD)/replay_%)

check: all $(REPLAYS) $(BUILD)/faults.so
	prove -j2 $(PROVE_FLAGS) --exec 'busted --lua=$(shell command -v $(LUAJIT)) -o TAP' $(SPECS)

# Makes a program's calls fail, see there. For specs alone, without the sanitizers that they may be run with.
$(BUILD)/faults.so: spec/support/faults.c Makefile | $(BUILD)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_) $(LDFLAGS) -shared -o $@ $< -ldl

# Every call of every sweep of spec/faults_spec.lua.
faults: all $(BUILD)/faults.so
	NFENGINE_EVERY_FAULT=1 busted --lua=$(shell command -v $(LUAJIT)) spec/faults_spec.lua

# Every capture of the reference data, and the traces that $NFENGINE_TRACES names, with 1, 2, 3 and 8 meters.
meters: all
	NFENGINE_EVERY_CAPTURE=1 busted --lua=$(shell command -v $(LUAJIT)) spec/meters_spec.lua

# Every plugin and every script over every capture of the reference data.
collection: all
	NFENGINE_EVERY_CAPTURE=1 busted --lua=$(shell command -v $(LUAJIT)) spec/collection_spec.lua \
	  spec/collection_data_spec.lua

# Others' readers of every format, which Debian has none of, in a folder of their own.
readers: | $(BUILD)
	python3 -m venv $(BUILD)/readers
	$(BUILD)/readers/bin/pip install --quiet --disable-pip-version-check duckdb pandas polars pyarrow

# Others' libraries of machine learning, likewise.
peers: | $(BUILD)
	python3 -m venv $(BUILD)/peers
	$(BUILD)/peers/bin/pip install --quiet --disable-pip-version-check xgboost-cpu lightgbm scikit-learn onnx onnxruntime \
	  skl2onnx onnxmltools pandas pyarrow

golden: all
	$(LUAJIT) spec/support/golden.lua

docs: all
	$(LUAJIT) spec/support/docs.lua

# A busted that is itself built with the sanitizers and links the core: no preloading.
ASAN_BUILD = build-asan
ASAN_FLAGS = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
ASAN_MAKE  = $(MAKE) --no-print-directory BUILD=$(ASAN_BUILD) PROGRAM=$(ASAN_BUILD)/nfengine \
             LIBRARY=$(ASAN_BUILD)/libnfengine.so OPT='-O1 -g' SANITIZE='$(ASAN_FLAGS)'

# The comparison with NFStream's records would take an hour at this speed and show nothing new.
asan: all
	@$(ASAN_MAKE) $(ASAN_BUILD)/nfengine $(ASAN_BUILD)/busted $(TARGETS:%=$(ASAN_BUILD)/replay_%)
	NFENGINE=$(ASAN_BUILD)/nfengine ASAN_OPTIONS=detect_leaks=0 \
	  prove -j2 $(PROVE_FLAGS) --exec '$(ASAN_BUILD)/busted --ignore-lua -o TAP' \
	  $(filter-out spec/conformance_spec.lua,$(SPECS))

# Threads are what several meters, live capture and the look at sockets have.
TSAN_BUILD = build-tsan
TSAN_SPECS = spec/meters_spec.lua spec/core/sockets_spec.lua spec/live_spec.lua spec/live_ends_spec.lua
tsan: all
	@$(MAKE) --no-print-directory BUILD=$(TSAN_BUILD) PROGRAM=$(TSAN_BUILD)/nfengine OPT='-O1 -g' \
	  SANITIZE='-fsanitize=thread' $(TSAN_BUILD)/nfengine $(TSAN_BUILD)/busted
	NFENGINE=$(TSAN_BUILD)/nfengine TSAN_OPTIONS=exitcode=66 \
	  prove $(PROVE_FLAGS) --exec '$(TSAN_BUILD)/busted --ignore-lua -o TAP' $(TSAN_SPECS)

# LuaJIT's own heap hides what it points to from the leak checker, so a C program alone drives the core.
# Then with each of its allocations failing, for captures of different kinds.
STARVED = samples/dns.pcap.gz samples/labelled.pcapng
leak:
	@$(ASAN_MAKE) $(ASAN_BUILD)/leak
	ASAN_OPTIONS=detect_leaks=1 $(ASAN_BUILD)/leak samples/*.pcap* samples
	ASAN_OPTIONS=detect_leaks=1 $(ASAN_BUILD)/leak --starve $(STARVED)

comma  := ,
WRAPPED = malloc calloc realloc strdup asprintf vasprintf fmemopen scandir mmap mprotect

# Values that nobody has set, memory read after or behind its end, leaks: in the release build, of C and of what LuaJIT
# compiles. What libraries allocate is seen too, which the sanitizers do not.
MEMCHECK = valgrind --quiet --error-exitcode=1 --leak-check=full --num-callers=20
CHECKED  = flows --statistical-analysis --splt-analysis=10 --plugin=ja4 samples/*.pcap*

valgrind: all $(BUILD)/leak
	for meters in 1 3; do for dissections in 0 20; do $(MEMCHECK) ./$(PROGRAM) -q --n-meters=$$meters \
	  --n-dissections=$$dissections $(CHECKED) >/dev/null || exit 1; done; done
	$(MEMCHECK) $(BUILD)/leak samples/*.pcap* samples

$(BUILD)/leak: spec/support/leak.c $(OBJ) | $(BUILD)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_) -iquote core $(LDFLAGS) $(WRAPPED:%=-Wl$(comma)--wrap=%) -o $@ $< $(OBJ) $(PKG_LIBS) -lm

$(BUILD)/busted: spec/support/busted.c $(OBJ) | $(BUILD)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_) $(LDFLAGS) -Wl,-E -o $@ $< $(OBJ) $(PKG_LIBS) -lm

# ---- fuzzing ----

FUZZ_SECONDS ?= 60
FUZZ_BUILD    = build-fuzz
FUZZERS       = $(TARGETS:%=$(FUZZ_BUILD)/fuzz_%)
FUZZ_MAKE     = $(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=clang CXX=clang++ OPT='-O1 -g' \
                SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined'

# What a fuzzer finds goes to $(FUZZ_BUILD)/TARGET-crash-…, what it learns to a corpus that the next run begins with.
fuzz: all
	@$(FUZZ_MAKE) $(FUZZERS)
	@$(LUAJIT) spec/fuzz/seeds.lua $(FUZZ_BUILD)/seeds 2>$(FUZZ_BUILD)/seeds.log || \
	  { cat $(FUZZ_BUILD)/seeds.log; exit 1; }
	@for target in $(TARGETS); do \
	  echo "$$target: $(FUZZ_SECONDS) s"; corpus=$(FUZZ_BUILD)/corpus/$$target; mkdir -p $$corpus; \
	  inputs=$$(ls -d $(FUZZ_BUILD)/seeds/$$target spec/fuzz/reproducers/$$target 2>/dev/null); \
	  $(FUZZ_BUILD)/fuzz_$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=$(FUZZ_BUILD)/$$target- $$corpus $$inputs || exit 1; done

FUZZ_SHARED = spec/fuzz/target.c spec/fuzz/target.h

$(FUZZ_BUILD)/fuzz_%: spec/fuzz/fuzz_%.c $(FUZZ_SHARED) $(OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_) -iquote core -fsanitize=fuzzer -Wl,-E -o $@ $(filter-out %.h,$^) $(PKG_LIBS) -lm

# The same targets without libFuzzer, to be run over files, by specs among others.
$(BUILD)/replay_%: spec/fuzz/fuzz_%.c spec/fuzz/replay.c $(FUZZ_SHARED) $(LIBRARY)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_) -iquote core $(LDFLAGS) -Wl,-rpath,'$$ORIGIN:$$ORIGIN/..' -o $@ $(filter-out %.h,$^) \
	  $(PKG_LIBS) -lm

# ---- showing ----

ml-demo: deps
	@sh .ci/packages libxgboost0
	@$(MAKE) --no-print-directory all
	@samples/ml-demo

# ---- measuring ----

# The floor needs the reader alone; linking no more keeps its start short.
$(BUILD)/floor: bench/floor.c $(addprefix $(BUILD)/,files.o filter.o capfile.o stream.o interrupt.o warnings.o)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_) $(LDFLAGS) -iquote core -Wl,--as-needed -o $@ $^ $(PKG_LIBS) -lm

bench: all $(BUILD)/floor
	@$(LUAJIT) bench/run.lua --program=./$(PROGRAM) --floor=$(BUILD)/floor $(BENCH)

# ---- looking over the source ----

PYTHON_SOURCES = $(wildcard python/*.py samples/record samples/*/*.py spec/*/*.py bench/*.py)
C_SOURCES = $(wildcard core/*.c core/*.h core/*.cc spec/fuzz/*.[ch] spec/support/*.c bench/*.c)

# A process for each file: clang-tidy 14 mistakes va_lists in the second. On standard error it counts what it does not
# show of the system's headers.
TIDY = clang-tidy-14 --quiet {} -- $(STANDARD) -iquote core

lint: all
	clang-format-14 --dry-run --Werror $(C_SOURCES)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	  --suppress=missingIncludeSystem -D__x86_64__ $(filter %.c,$(C_SOURCES))
	printf '%s\n' $(filter %.c,$(C_SOURCES)) | xargs -P2 -I{} $(TIDY) 2>/dev/null
	luacheck --quiet lua scripts plugins bench spec
	pyflakes3 $(PYTHON_SOURCES)
	$(LUAJIT) spec/support/lint.lua

# ---- installing ----

ROOT  = $(DESTDIR)$(PREFIX)
SHARE = $(ROOT)/share/nfengine

install: all
	install -D -m 755 nfengine "$(ROOT)/bin/nfengine"
	install -D -m 644 libnfengine.so "$(ROOT)/lib/libnfengine.so"
	install -D -m 644 docs/nfengine.1 "$(ROOT)/share/man/man1/nfengine.1"
	for file in $$(find lua -name '*.lua') scripts/*.lua plugins/*.lua $$(find samples -name '*.pcap*') \
	    samples/model.txt; do \
	  install -D -m 644 $$file "$(SHARE)/$$file" || exit 1; done

uninstall:
	rm -rf "$(ROOT)/bin/nfengine" "$(ROOT)/lib/libnfengine.so" "$(ROOT)/share/man/man1/nfengine.1" "$(SHARE)"

clean:
	rm -rf build build-asan build-tsan build-fuzz nfengine libnfengine.so lua/nfengine/cdef.lua
