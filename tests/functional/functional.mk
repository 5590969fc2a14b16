# Tests of the command line: every tests/functional/*.sh but lib.sh is a TAP program. LKVM in its
# environment is the binary to test.

FUNCTIONAL := $(filter-out %/lib.sh,$(sort $(wildcard tests/functional/*.sh)))

CHECKS += $(FUNCTIONAL)
$(FUNCTIONAL): $(O)/lkvm $(MAN) $(O)/completion/lkvm

export LKVM := $(abspath $(O))/lkvm

.PHONY: check-functional
check-functional: $(FUNCTIONAL) ## run the tests of the command line
	$(Q)tests/tap.sh $^
