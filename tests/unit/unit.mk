# Unit tests (check). The first line of tests/unit/test_X.c names the objects that its module may
# need, and only those are linked:   /* Links: hw/ram.o */
# Its second line may name functions of libraries for which it has a __wrap_ of its own: the objects
# of lkvm call that one.   /* Wraps: calloc */

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(O)/%)
links_of = $(addprefix $(O)/,$(call with_brought,$(shell sed -n '1s|^/\* Links: *\(.*\) \*/$$|\1|p' $(1))))
wraps_of = $(addprefix -Wl$(comma)--wrap=,$(shell sed -n '2s|^/\* Wraps: *\(.*\) \*/$$|\1|p' $(1)))

# They make virtual machines, and run guests.
UNIT_KVM := $(O)/tests/unit/test_vm $(O)/tests/unit/test_machine $(O)/tests/unit/test_cpu_state
$(UNIT_KVM): | $(GUEST_BIN)

CHECKS += $(filter-out $(UNIT_KVM),$(UNIT_BIN))
KVM_CHECKS += $(UNIT_KVM)

define unit_rule
$(O)/tests/unit/$(1): $(O)/tests/unit/$(1).o $(call links_of,tests/unit/$(1).c)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) $(call wraps_of,tests/unit/$(1).c) -o $$@ $$^ $$(shell $$(PKG_CONFIG) --libs check) $$(LIBS)
endef
$(foreach t,$(UNIT_SRC:tests/unit/%.c=%),$(eval $(call unit_rule,$(t))))

.PHONY: check-unit
check-unit: $(UNIT_BIN) ## run the unit tests
	$(Q)tests/tap.sh $(filter-out $(UNIT_KVM),$^) --kvm $(UNIT_KVM)
