# Linux guests, the whole test run, and the demonstration. See tests/testbed/host.sh for the emulated
# host that they use where this machine's KVM cannot run Linux.

.PHONY: check
check: export LKVM := $(abspath $(O)/lkvm)
check: ## install what is missing and run every test
	$(Q)tests/setup.sh check
	$(Q)$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc)) check-build
	$(Q)tests/tap.sh $(CHECKS)

.PHONY: check-build
check-build: $(O)/lkvm $(CHECKS)

.PHONY: demo
demo: ## boot a Debian kernel with lkvm, installing what is missing
	$(Q)tests/demo.sh $(O)/lkvm
