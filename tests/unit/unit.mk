# Unit tests (check). The first line of tests/unit/test_X.c names the objects that its module may
# need, and only those are linked:   /* Links: hw/ram.o */

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(O)/%)
links_of = $(addprefix $(O)/,$(shell sed -n '1s|^/\* Links: *\(.*\) \*/$$|\1|p' $(1)))

CHECKS += $(UNIT_BIN)

define unit_rule
$(O)/tests/unit/$(1): $(O)/tests/unit/$(1).o $(call links_of,tests/unit/$(1).c)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -o $$@ $$^ $$(shell $$(PKG_CONFIG) --libs check) $$(LIBS)
endef
$(foreach t,$(UNIT_SRC:tests/unit/%.c=%),$(eval $(call unit_rule,$(t))))

.PHONY: check-unit
check-unit: $(UNIT_BIN) ## run the unit tests
	$(Q)tests/tap.sh $^
