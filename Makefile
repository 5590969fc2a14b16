# lkvm: `make help` lists the targets. Objects go to $(O), never into the source tree.

# Optional parts are switched on by pkg-config. Nothing is downloaded by a plain `make`.
comma := ,
SAN ?=
O ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
CC ?= gcc
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
DESTDIR ?=
V ?= 0
WERROR ?= 0

Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-7s %s\n' $(1) $(2))

ifeq ($(origin CC),default)
CC := gcc
endif

VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	$(if $(filter 1,$(WERROR)),-Werror)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
ALL_CPPFLAGS := -D_GNU_SOURCE -Iinclude $(CPPFLAGS)
ALL_CFLAGS := -std=gnu11 $(WARN) $(SANFLAGS) $(CFLAGS) -fvisibility=hidden
ALL_LDFLAGS := $(SANFLAGS) $(LDFLAGS)
# Small libraries that are always needed come from their archives where there are any: a shared one
# would cost every start its loading, used or not.
archive = $(or $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a)),-l$(1))
NEEDED_LIBS := $(call archive,aio) $(call archive,fdt)
LIBS := -pthread -ldl $(NEEDED_LIBS)

SRC := $(wildcard *.c util/*.c hw/*.c x86/*.c virtio/*.c disk/*.c net/*.c)
OBJ := $(SRC:%.c=$(O)/%.o) $(patsubst %.S,$(O)/%.o,$(wildcard x86/*.S))

.PHONY: all
all: $(O)/lkvm ## build lkvm (default)

$(O)/lkvm: $(OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/%.o: %.S $(O)/flags
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Only this object knows the version, so a commit rebuilds one file.
$(O)/builtin-version.o: ALL_CPPFLAGS += -DLKVM_VERSION='"$(VERSION)"'
$(O)/builtin-version.o: $(O)/version

# Rewritten only when the content changes: a changed flag or version rebuilds what depends on it.
$(O)/flags: FORCE
	@mkdir -p $(O)
	@echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)' > $@
$(O)/version: FORCE
	@mkdir -p $(O)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' > $@
.PHONY: FORCE
FORCE:

# A target with a comment of two hashes is listed.
.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(filter-out %.d,$(MAKEFILE_LIST))
	@echo
	@echo '  O=FOLDER  CC=clang  CFLAGS=-O0  SAN=address,undefined  WERROR=1  V=1  PREFIX=/usr/local  DESTDIR='

# TAP programs that `make check` runs; each tests/*/*.mk adds its own.
CHECKS := tests/lint.sh
export CC

include $(sort $(wildcard tests/*/*.mk) $(wildcard Documentation/*.mk))

# Behind the includes: CHECKS is complete only here. What is missing is installed first, so the rest is
# another make.
jobs = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: check
check: ## install what is missing and run every test
	$(Q)tests/setup.sh check
	$(Q)$(MAKE) --no-print-directory $(jobs) check-build
	$(Q)tests/tap.sh $(CHECKS)

.PHONY: check-build
check-build: $(O)/lkvm $(CHECKS)

.PHONY: lint
lint: $(O)/lkvm $(MAN) ## check the source: layers, headers, shellcheck, cppcheck, clang-tidy, mandoc
	$(Q)LINT_TOOLS=1 tests/tap.sh tests/lint.sh

.PHONY: coverage
coverage: ## show which lines the unit and functional tests run
	$(Q)find $(O)-coverage -name '*.gcda' -delete 2>/dev/null || true
	$(Q)$(MAKE) -k O=$(O)-coverage CC=gcc SAN= CFLAGS='-O0 -g --coverage' check-unit check-functional; \
		status=$$?; tests/coverage.sh $(O)-coverage && exit $$status

# One file that runs anywhere: containers, an initramfs. Libraries that are opened when they are
# needed elsewhere are linked in here, as far as their headers and archives are installed.
STATIC_LIBS := zlib liblzma libzstd liblz4
static_have = $(shell for lib in $(STATIC_LIBS); do $(PKG_CONFIG) --exists $$lib && echo $$lib; done)

.PHONY: static
static: ## build static/lkvm in the build folder, without shared libraries
	$(Q)$(MAKE) --no-print-directory O=$(O)/static CPPFLAGS='$(CPPFLAGS) -DLKVM_STATIC' \
		LDFLAGS='-static $(LDFLAGS)' \
		LIBS='-pthread $(NEEDED_LIBS) $(if $(static_have),$(shell $(PKG_CONFIG) --static --libs $(static_have)))' \
		$(O)/static/lkvm
	@echo "$(O)/static/lkvm: with $(or $(static_have),no library); left out:" \
		"$(or $(filter-out $(static_have),$(STATIC_LIBS)),nothing)"

.PHONY: clean
clean: ## remove the build folder
	$(Q)rm -rf $(O)

-include $(shell find $(O) -name '*.d' 2>/dev/null)
