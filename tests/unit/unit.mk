# Unit tests (check). The first line of tests/unit/test_X.c names the objects that its module may
# need, and only those are linked:   /* Links: hw/ram.o */
# Its second line may name functions of libraries for which it has a __wrap_ of its own: the objects
# of lkvm call that one.   /* Wraps: calloc */

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(O)/%)
links_of = $(addprefix $(O)/,$(shell sed -n '1s|^/\* Links: *\(.*\) \*/$$|\1|p' $(1)))
wraps_of = $(addprefix -Wl$(comma)--wrap=,$(shell sed -n '2s|^/\* Wraps: *\(.*\) \*/$$|\1|p' $(1)))

CHECKS += $(UNIT_BIN)

define unit_rule
$(O)/tests/unit/$(1): $(O)/tests/unit/$(1).o $(call links_of,tests/unit/$(1).c)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) $(call wraps_of,tests/unit/$(1).c) -o $$@ $$^ $$(shell $$(PKG_CONFIG) --libs check) $$(LIBS)
endef
$(foreach t,$(UNIT_SRC:tests/unit/%.c=%),$(eval $(call unit_rule,$(t))))

.PHONY: check-unit
check-unit: $(UNIT_BIN) ## run the unit tests
	$(Q)tests/tap.sh $^
