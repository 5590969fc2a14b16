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

# Empty unless `make -s`. Other options come behind the one-letter ones.
silent := $(findstring s,$(filter-out --%,$(firstword -$(MAKEFLAGS))))
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V))$(silent),,@printf '  %-7s %s\n' $(1) $(2))

ifeq ($(origin CC),default)
CC := gcc
endif

# A tree that came without git has the number alone. In a foreign repository git would answer too.
GIT_COMMIT := $(if $(wildcard .git),$(shell git describe --always --dirty --exclude='*' 2>/dev/null))
VERSION := $(shell cat VERSION)

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	$(if $(filter 1,$(WERROR)),-Werror)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
ALL_CPPFLAGS := -D_GNU_SOURCE -Iinclude $(CPPFLAGS)
# Where the source lies does not show in the binary: two builds of it are equal.
ALL_CFLAGS := -std=gnu11 $(WARN) $(SANFLAGS) $(CFLAGS) -fvisibility=hidden -ffile-prefix-map=$(CURDIR)=.
# All functions of libraries are found at once, and their table is read-only then: most are called, and
# one by one each is found through a trampoline that saves all vector registers.
ALL_LDFLAGS := -Wl,-z,relro,-z,now $(SANFLAGS) $(LDFLAGS)
# Small libraries that are always needed come from their archives where there are any: a shared one
# would cost every start its loading, used or not.
archive = $(or $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a 2>/dev/null)),-l$(1))
NEEDED_LIBS := $(call archive,aio) $(call archive,fdt)
LIBS := -pthread -ldl $(NEEDED_LIBS)

FOLDERS := vm linux gdb x86/boot x86/tables x86/cpu virtio hw disk net vsock fs console display ipc util
SRC := $(sort $(wildcard *.c $(FOLDERS:%=%/*.c)))
OBJ := $(SRC:%.c=$(O)/%.o) $(patsubst %.S,$(O)/%.o,$(sort $(wildcard $(FOLDERS:%=%/*.S))))

# What no build can do without, as header:package of Debian; all else is left out where it is not there.
NEEDED_HEADERS := stdio.h:libc6-dev libaio.h:libaio-dev libfdt.h:libfdt-dev

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
$(O)/builtin-version.o: ALL_CPPFLAGS += -DLKVM_VERSION='"$(VERSION)"' $(GIT_COMMIT:%=-DLKVM_GIT='"%"')
$(O)/builtin-version.o: $(O)/version

# Rewritten only when the content changes: a changed flag or version rebuilds what depends on it. With
# a new set of flags it is asked first whether there is what a build needs.
$(O)/flags: FORCE
	@mkdir -p $(O)
	@flags='$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)'; echo "$$flags" | cmp -s - $@ || \
		{ $(MAKE) -s --no-print-directory O='$(O)' needed && echo "$$flags" > $@; }

.PHONY: needed
needed:
	@command -v $(firstword $(CC)) >/dev/null || { echo "make: there is no compiler '$(firstword $(CC))'." \
		"Debian: apt-get install gcc libc6-dev; \`tests/setup.sh build\` installs all that a build can use." >&2; exit 1; }
	@headers= packages=; for need in $(NEEDED_HEADERS); do \
		echo "#include <$${need%:*}>" | $(CC) $(ALL_CPPFLAGS) -E - >/dev/null 2>&1 && continue; \
		headers="$$headers $${need%:*}" packages="$$packages $${need#*:}"; done; \
	[ -z "$$headers" ] || { echo "make: missing headers:$$headers." \
		"Debian: apt-get install$$packages; \`tests/setup.sh build\` installs all that a build can use." >&2; exit 1; }

$(O)/version: FORCE
	@mkdir -p $(O)
	@echo '$(VERSION) $(GIT_COMMIT)' | cmp -s - $@ || echo '$(VERSION) $(GIT_COMMIT)' > $@
.PHONY: FORCE
FORCE:

# A target with a comment of two hashes is listed.
.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(filter-out %.d,$(MAKEFILE_LIST))
	@echo
	@echo '  O=FOLDER  CC=clang  CFLAGS=-O0  SAN=address,undefined  WERROR=1  V=1  PREFIX=/usr/local (or prefix=)  DESTDIR='

# TAP programs that `make check` runs; each tests/*/*.mk adds its own. KVM_CHECKS need /dev/kvm and go to
# an emulated host where there is none.
CHECKS := tests/lint.sh tests/build.sh tests/state.sh
KVM_CHECKS :=
export CC

# The objects that a test links: some bring along what they stand on, a whole machine all but the commands.
brings_util/options.o := util/options-help.o util/options-choice.o
brings_util/log.o := util/mask.o util/stream.o
brings_disk/image.o := util/file.o
brings_fs/tree-fd.o := util/file.o
brings_vm/hardware.o := x86/cpu/phys-bits.o
brings_vm/initramfs.o := util/file.o
brings_vm/kconfig-read.o := util/file.o x86/boot/find.o
brings_vm/kernel.o := x86/boot/banner.o
brings_x86/cpu/cpuid.o := x86/cpu/model.o
brings_x86/cpu/model-file.o := util/json.o util/json-read.o util/mask.o util/file.o util/crc32c.o
brings_x86/tables/fdt.o := x86/tables/numa.o
brings_x86/boot/vmlinux.o := x86/boot/banner.o
brings_vm/options-cpu.o := x86/cpu/model.o x86/cpu/model-file.o x86/cpu/cpuid.o x86/cpu/cpuid-flags.o \
	x86/cpu/cpuid-topology.o util/json.o util/json-read.o util/mask.o util/file.o
brings_vm/modinfo.o := util/file.o
brings_vm/modules.o := vm/modinfo.o vm/module-needs.o
brings_vm/module-index.o := vm/kmod-index.o vm/modules.o vm/module-needs.o vm/modinfo.o
brings_x86/boot/file.o := util/file.o
brings_util/json.o := util/mask.o
brings_util/loop.o := util/event.o
brings_disk/nbd.o := util/lib.o
brings_x86/boot/decompress.o := util/lib.o
brings_hw/pci.o := hw/pci-bars.o util/copy.o
brings_console/console.o := console/output.o console/input.o console/client.o util/mask.o util/timer.o util/byte-ring.o
brings_virtio/console-port.o := util/byte-ring.o
brings_vm/session.o := util/byte-ring.o
brings_hw/pci-msix.o := util/event.o
brings_kvm.o := util/event.o
brings_hw/ram.o := hw/ram-log.o hw/ram-beside.o util/copy.o
brings_fs/fuse.o := fs/fuse-window.o fs/window.o fs/fuse-state.o fs/window-state.o
brings_fs/locks.o := fs/locks-state.o
brings_fs/p9.o := fs/p9-state.o
brings_fs/tree.o := fs/tree-state.o hw/state.o
brings_kvm-cpu.o := util/thread.o
brings_hw/ram-save.o := hw/ram-spare.o
brings_virtio/balloon.o := virtio/balloon-hint.o hw/ram-spare.o
brings_virtio/blk.o := virtio/blk-state.o
brings_virtio/console.o := virtio/console-state.o
brings_virtio/fs.o := virtio/fs-state.o
brings_net/net.o := $(patsubst %.c,%.o,$(sort $(wildcard net/*.c))) util/lib.o util/loop.o util/event.o util/timer.o \
	util/byte-ring.o util/keys.o util/options.o util/options-help.o util/options-choice.o util/log.o util/mask.o util/stream.o
brings_virtio/gpu.o := virtio/gpu-request.o virtio/gpu-resource.o virtio/gpu-edid.o virtio/gpu-state.o display/display.o
brings_display/vnc.o := display/vnc-client.o display/vnc-keys.o display/display.o util/key-names.o util/lib.o util/loop.o \
	util/event.o util/thread.o util/keys.o util/options.o util/options-help.o util/options-choice.o util/log.o util/mask.o util/stream.o
brings_virtio/input.o := virtio/input-state.o
brings_virtio/net.o := virtio/net-rx.o virtio/net-tx.o virtio/net-control.o virtio/net-filter.o virtio/net-state.o virtio/net-kernel.o virtio/net-steer.o virtio/net-hash.o
brings_virtio/p9.o := virtio/p9-state.o
brings_virtio/pci.o := virtio/pci-state.o
brings_virtio/virtq.o := virtio/virtq-loan.o
brings_virtio/worker.o := util/thread.o
brings_vm/vm.o := $(filter-out main.o builtin-%.o util/options-complete.o,$(OBJ:$(O)/%=%))
with_brought = $(sort $(1) $(foreach object,$(1),$(brings_$(object))))

include $(sort $(wildcard tests/*/*.mk) $(wildcard Documentation/*.mk) guest/guest.mk)

# Behind the includes: CHECKS is complete only here. What is missing is installed first, so the rest is
# another make.
jobs = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: check
check: ## install what is missing and run every test
	$(Q)tests/setup.sh check
	$(Q)$(MAKE) --no-print-directory $(jobs) check-build
	$(Q)tests/tap.sh --jobs 2 $(LINUX) $(filter-out $(LINUX),$(CHECKS)) --kvm $(KVM_CHECKS)

.PHONY: check-build
check-build: $(O)/lkvm $(CHECKS) $(KVM_CHECKS)

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
STATIC_LIBS := zlib liblzma libzstd liblz4 lzo2
static_have = $(shell for lib in $(STATIC_LIBS); do $(PKG_CONFIG) --exists $$lib && echo $$lib; done)
# Debian's bzip2 has no file for pkg-config.
static_bzip2 = $(if $(filter /%,$(shell $(CC) -print-file-name=libbz2.a)),-lbz2)

.PHONY: static
static: ## build static/lkvm in the build folder, without shared libraries
	$(Q)$(MAKE) --no-print-directory O=$(O)/static CPPFLAGS='$(CPPFLAGS) -DLKVM_STATIC' \
		LDFLAGS='-static $(LDFLAGS)' \
		LIBS='-pthread $(NEEDED_LIBS) $(if $(static_have),$(shell $(PKG_CONFIG) --static --libs $(static_have))) $(static_bzip2)' \
		$(O)/static/lkvm
	@echo "$(O)/static/lkvm: with $(or $(static_have) $(static_bzip2:-l%=%),no library); left out:" \
		"$(or $(filter-out $(static_have),$(STATIC_LIBS)) $(if $(static_bzip2),,bz2),nothing)"

.PHONY: clean
clean: ## remove the build folder
	$(Q)rm -rf $(O)

-include $(shell find $(O) -name '*.d' -type f 2>/dev/null)
