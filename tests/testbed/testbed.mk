# Linux guests and the demonstration. See tests/testbed/host.sh for the emulated
# host that they use where this machine's KVM cannot run Linux.

# The longest first: two run at a time.
LINUX := $(addprefix tests/testbed/,session.sh snapshot.sh look.sh fs.sh user.sh net.sh blk.sh console.sh virtio.sh linux.sh firmware.sh)

CHECKS += $(LINUX)
$(LINUX): $(O)/lkvm
tests/testbed/console.sh tests/testbed/session.sh: $(PTY)
tests/testbed/session.sh: $(FS_DAX)
tests/testbed/net.sh: $(UDP_GSO)
tests/testbed/fs.sh: $(FS_CALLS) $(FS_RANDOM) $(FS_DAX)

.PHONY: check-linux
check-linux: $(LINUX) ## boot Linux guests: all tests, of which `make check` runs some where KVM has to be emulated
	$(Q)tests/setup.sh check
	$(Q)LINUX_TESTS=all tests/tap.sh --jobs 2 $^

# Not part of `make check`: a kernel has to be built for it.
.PHONY: check-small
check-small: $(O)/lkvm ## build a Linux without PCI, one without ACPI, one with simpledrm, and boot them
	$(Q)tests/setup.sh check kernel
	$(Q)tests/tap.sh tests/testbed/small.sh

# For the same reason, and as it takes that long.
.PHONY: check-session-long
check-session-long: $(O)/lkvm ## what of `lkvm run -- CMD` takes long: 1 GiB each way, make and git, fio, a small kernel
	$(Q)tests/setup.sh check kernel
	$(Q)TAP_LIMIT=7200 tests/tap.sh tests/testbed/session-long.sh

# By hand, for the same reason.
.PHONY: check-memory-long
check-memory-long: $(O)/lkvm ## memory that Linux guests give back by the balloon, and 20 idle ones
	$(Q)tests/setup.sh check
	$(Q)TAP_LIMIT=7200 MEMORY_HOST_MB=8192 tests/tap.sh tests/testbed/memory.sh
	$(Q)TAP_LIMIT=7200 MEMORY_HOST_MB=8192 tests/testbed/memory.sh fleet

# By hand, likewise: NET_MIB=8 NET_GUESTS=4 are enough to see that all of it works. iperf3 has 64 MiB each way.
NET_MIB ?= 1024
NET_GUESTS ?= 20
.PHONY: check-net-long
check-net-long: $(O)/lkvm ## 1 GiB and iperf3 both ways over each kind of network, 20 guests with forwards side by side
	$(Q)tests/setup.sh check net
	$(Q)TAP_LIMIT=36000 NET_MIB=$(NET_MIB) NET_TIMEOUT=18000 tests/tap.sh tests/testbed/net-long.sh
	$(Q)TAP_LIMIT=7200 GUESTS=$(NET_GUESTS) USER_HOST_MB=8192 tests/testbed/user.sh many

# By hand, as the kernel's tests are built from its source first.
VSOCK_PRELOAD := $(abspath $(O))/tests/testbed/vsock-preload.so
export VSOCK_PRELOAD
$(VSOCK_PRELOAD): tests/testbed/vsock-preload.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 $(WARN) -O1 -shared -fPIC -o $@ $< -ldl

.PHONY: check-net-selftests
check-net-selftests: $(O)/lkvm $(VSOCK_PRELOAD) ## Linux's own tests of networks and vsocks in guests
	$(Q)tests/setup.sh check net
	$(Q)TAP_LIMIT=7200 tests/tap.sh tests/testbed/net-selftests.sh

# By hand, as it takes minutes on a busy machine: VSOCK_MIB=8 VSOCK_CONNS=300 are enough to see that all of it works.
VSOCK_MIB ?= 1024
VSOCK_CONNS ?= 3000
.PHONY: check-vsock-long
check-vsock-long: $(O)/lkvm ## 1 GiB each way between a Linux guest and the host by vsock, and 1000 connections at once
	$(Q)tests/setup.sh check
	$(Q)TAP_LIMIT=7200 VSOCK_MIB=$(VSOCK_MIB) VSOCK_CONNS=$(VSOCK_CONNS) VSOCK_TIMEOUT=7000 \
		tests/tap.sh tests/testbed/vsock.sh

# By hand: twelve guests of up to 8 GB, and some of eight CPUs.
.PHONY: check-numa-long
check-numa-long: $(O)/lkvm ## nodes of memory and the arrangement of CPUs as Linux sees them
	$(Q)tests/setup.sh check
	$(Q)TAP_LIMIT=7200 NUMA_TIMEOUT=7000 tests/tap.sh tests/testbed/numa.sh

.PHONY: check-clocks-long
check-clocks-long: $(O)/lkvm guests ## each clock of a guest against the host's for a minute, under load
	$(Q)tests/tap.sh tests/testbed/clocks.sh

.PHONY: check-snapshot-long
check-snapshot-long: $(O)/lkvm $(GUEST_BIN) ## what of `lkvm snapshot` takes long: thousands of moments, Linux guests many times
	$(Q)tests/setup.sh check
	$(Q)TAP_LIMIT=86400 LINUX_TESTS=all SNAPSHOT_MOMENTS=1000 SNAPSHOT_ROUNDS=50 SNAPSHOT_FORKS=100 SNAPSHOT_TIMEOUT=80000 \
		tests/tap.sh tests/testbed/snapshot.sh --kvm tests/functional/snapshot-moments.t.sh

# As each boot takes a minute on a busy machine.
.PHONY: check-firmware-long
check-firmware-long: $(O)/lkvm ## OVMF boots a disk with GRUB, a unified kernel image, a kernel by fw_cfg, twice with the same variables, is saved, and boots a disk with none
	$(Q)tests/setup.sh check
	$(Q)TAP_LIMIT=7200 tests/testbed/ovmf.sh disk uki kernel saved novars

# For the Debian, which takes minutes and 600 MB to make, once.
.PHONY: check-debian-long
check-debian-long: $(O)/lkvm ## a whole Debian 13 as a guest: by OVMF to its login, and ssh to its systemd by vsock
	$(Q)tests/setup.sh check debian
	$(Q)TAP_LIMIT=9000 tests/tap.sh tests/testbed/debian.sh

# For an X server and a viewer.
.PHONY: check-screen-long
check-screen-long: $(O)/lkvm ## a Linux guest's screen in TigerVNC's viewer under Xvfb
	$(Q)tests/setup.sh check screen
	$(Q)TAP_LIMIT=5000 tests/tap.sh tests/testbed/viewer.sh

# For its 300 MB of debug information, and a kernel that has to be built.
.PHONY: check-dump-long
check-dump-long: $(O)/lkvm ## drgn and crash on dumps of Linux with debug information, drgn and gdb on guests that run
	$(Q)tests/setup.sh check debuggers kernel
	$(Q)TAP_LIMIT=3600 tests/tap.sh tests/testbed/dump-long.sh

.PHONY: demo
demo: ## boot a Debian kernel with lkvm, installing what is missing
	$(Q)tests/setup.sh demo
	$(Q)$(MAKE) --no-print-directory $(jobs) $(O)/lkvm
	$(Q)tests/demo.sh $(O)/lkvm
