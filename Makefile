# nfengine: build, test, install. `make help` lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
CXX     ?= c++
LUAJIT  ?= luajit
BUILD   ?= build
V       ?= 0

PACKAGES = build-essential pkg-config libpcap-dev libndpi-dev libluajit-5.1-dev luajit lua-cjson lua-busted \
           libzstd-dev zlib1g-dev libsodium-dev libdragonbox-dev
LINT_PACKAGES = lua-check cppcheck clang-format-14
ASAN_PACKAGES = clang libclang-rt-14-dev

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Looked up when first used, after `make deps` has installed pkg-config.
LIBS_PKG = libpcap libndpi luajit libzstd zlib libsodium
PKG_CFLAGS = $(shell pkg-config --cflags $(LIBS_PKG))
PKG_LIBS   = $(shell pkg-config --libs $(LIBS_PKG))
# The version reaches one object only, so that a commit does not rebuild everything.
$(BUILD)/abi.o: CFLAGS_ += -DNF_VERSION='"$(VERSION)"'

DRAGONBOX  = $(firstword $(wildcard /usr/include/dragonbox-*))

WARN     = -Wall -Wextra -Wpedantic -Wshadow
WARN_C   = $(WARN) -Wstrict-prototypes -Wmissing-prototypes
OPT     ?= -O2 -g
# Statistics must come out bit for bit as NFStream's, so no fused multiply-add.
COMMON   = $(OPT) -fPIC -ffp-contract=off -fno-semantic-interposition -pthread $(SANITIZE) $(if $(WERROR),-Werror)
CFLAGS_  = -std=c11 -D_GNU_SOURCE $(COMMON) $(WARN_C) $(patsubst -I%,-isystem %,$(PKG_CFLAGS)) $(CFLAGS)
CXXFLAGS_ = -std=c++17 $(COMMON) $(WARN) -fno-exceptions -fno-rtti -isystem $(DRAGONBOX) $(CXXFLAGS)

CORE = $(filter-out core/main.c,$(wildcard core/*.c))
OBJ  = $(CORE:core/%.c=$(BUILD)/%.o) $(BUILD)/shortest.o

Q = $(if $(filter 0,$(V)),@)
say = @printf '  %-6s %s\n' $(1) $(2)

.PHONY: all
all: nfengine libnfengine.so

nfengine: $(OBJ) $(BUILD)/main.o lua/nfengine/cdef.lua
	$(call say,LINK,$@)
	$(Q)$(CC) $(COMMON) $(LDFLAGS) -Wl,-E -o $@ $(OBJ) $(BUILD)/main.o $(PKG_LIBS) -lm

libnfengine.so: $(OBJ) lua/nfengine/cdef.lua
	$(call say,LINK,$@)
	$(Q)$(CC) $(COMMON) $(LDFLAGS) -shared -Wl,-Bsymbolic-functions -o $@ $(OBJ) $(PKG_LIBS) -lm

$(BUILD)/%.o: core/%.c Makefile | $(BUILD)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: core/%.cc Makefile | $(BUILD)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CXXFLAGS_) -MMD -MP -c -o $@ $<

$(BUILD):
	@mkdir -p $@

-include $(wildcard $(BUILD)/*.d)

# The contract header's text, wrapped for LuaJIT. Everything else about the structs is asked from it.
lua/nfengine/cdef.lua: core/nf_abi.h Makefile
	$(call say,GEN,$@)
	$(Q){ echo '-- Generated from core/nf_abi.h by make; edit that.'; echo 'require("ffi").cdef [==['; \
	  grep -v '^#pragma once' $<; echo ']==]'; } > $@.tmp && mv $@.tmp $@
