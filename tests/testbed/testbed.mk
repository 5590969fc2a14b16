# Linux guests and the demonstration. See tests/testbed/host.sh for the emulated
# host that they use where this machine's KVM cannot run Linux.

LINUX := tests/testbed/linux.sh tests/testbed/virtio.sh tests/testbed/blk.sh \
	tests/testbed/console.sh tests/testbed/fs.sh tests/testbed/session.sh tests/testbed/snapshot.sh

CHECKS += $(LINUX)
$(LINUX): $(O)/lkvm
tests/testbed/console.sh tests/testbed/session.sh: $(PTY)
tests/testbed/session.sh: $(FS_DAX)
tests/testbed/fs.sh: $(FS_CALLS) $(FS_RANDOM) $(FS_DAX)

.PHONY: check-linux
check-linux: $(LINUX) ## boot Linux guests
	$(Q)tests/setup.sh check
	$(Q)tests/tap.sh $^

# Not part of `make check`: a kernel has to be built for it.
.PHONY: check-small
check-small: $(O)/lkvm ## build a Linux without PCI and one without ACPI and boot them (12 minutes)
	$(Q)tests/setup.sh check kernel
	$(Q)tests/tap.sh tests/testbed/small.sh

# For the same reason, and as it takes that long.
.PHONY: check-session-long
check-session-long: $(O)/lkvm ## what of `lkvm run -- CMD` takes long: 1 GiB each way, make and git, fio, a small kernel
	$(Q)tests/setup.sh check kernel
	$(Q)TAP_LIMIT=7200 tests/tap.sh tests/testbed/session-long.sh

.PHONY: demo
demo: ## boot a Debian kernel with lkvm, installing what is missing
	$(Q)tests/setup.sh demo
	$(Q)$(MAKE) --no-print-directory $(jobs) $(O)/lkvm
	$(Q)tests/demo.sh $(O)/lkvm
