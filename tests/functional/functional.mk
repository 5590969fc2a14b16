# Tests of the command line: every tests/functional/*.sh but lib.sh is a TAP program. LKVM in its
# environment is the binary to test.

FUNCTIONAL := $(filter-out %/lib.sh,$(sort $(wildcard tests/functional/*.sh)))

# These start no guest.
FUNCTIONAL_PLAIN := $(filter $(foreach t,cli completion config exec init completion-shells fuse install man,%/$(t).t.sh),$(FUNCTIONAL))
FUNCTIONAL_KVM := $(filter-out $(FUNCTIONAL_PLAIN),$(FUNCTIONAL))

CHECKS += $(FUNCTIONAL_PLAIN)
KVM_CHECKS += $(FUNCTIONAL_KVM)
$(FUNCTIONAL): $(O)/lkvm $(MAN) $(COMPLETIONS)

tests/functional/init.t.sh: $(GUEST_INIT)
export INIT := $(abspath $(O))/guest/init
export LKVM := $(abspath $(O))/lkvm

.PHONY: check-functional
check-functional: $(FUNCTIONAL) ## run the tests of the command line (FUNCTIONAL=FILE: one)
	$(Q)tests/tap.sh $(FUNCTIONAL_PLAIN) --kvm $(FUNCTIONAL_KVM)
