# Fuzzers (libFuzzer, so clang whatever CC is). As with unit tests, the first line of
# tests/fuzz/fuzz_X.c names the objects that it links:   /* Links: hw/ram.o */
# All of them are compiled once more with coverage and sanitizers, below $(O)/fuzz. Seeds are in
# tests/fuzz/corpus/X; what a run finds beyond them goes to $(O)/fuzz/corpus/X.
#
#	make fuzz [FUZZ_SECONDS=60] [FUZZ=fuzz_X]	each (or one) fuzzer for a while
#	make check					each for FUZZ_CHECK_SECONDS

FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
FUZZ_CHECK_SECONDS ?= 3
FUZZ_O := $(O)/fuzz
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ ?= $(FUZZ_SRC:tests/fuzz/%.c=%)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(FUZZ_O)/%)
FUZZ_SAN := address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# libFuzzer calls LLVMFuzzerTestOneInput() but has no header that declares it.
FUZZ_CFLAGS := -std=gnu11 $(WARN) -Wno-missing-prototypes $(CFLAGS) -fvisibility=hidden

fuzz_links_of = $(addprefix $(FUZZ_O)/obj/,$(call with_brought,$(shell sed -n '1s|^/\* Links: *\(.*\) \*/$$|\1|p' $(1))))

CHECKS += $(FUZZ_O)/check

$(FUZZ_O)/obj/%.o: %.c $(O)/flags tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(call say,FUZZCC,$<)
	$(Q)$(FUZZ_CC) $(ALL_CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link,$(FUZZ_SAN) -MMD -MP -c -o $@ $<

define fuzz_rule
$(FUZZ_O)/$(1): $(FUZZ_O)/obj/tests/fuzz/$(1).o $(call fuzz_links_of,tests/fuzz/$(1).c)
	$$(call say,FUZZLD,$$@)
	$$(Q)$$(FUZZ_CC) $$(FUZZ_CFLAGS) -fsanitize=fuzzer,$$(FUZZ_SAN) -o $$@ $$^ $$(LIBS)
endef
$(foreach f,$(FUZZ_SRC:tests/fuzz/%.c=%),$(eval $(call fuzz_rule,$(f))))

# The TAP program of `make check`. Without clang it is one skipped test, counted as such.
ifneq ($(shell command -v $(FUZZ_CC)),)
$(FUZZ_O)/check: $(FUZZ_BIN) FORCE
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec tests/fuzz/run.sh %s %s %s\n' '$(FUZZ_O)' '$(FUZZ_CHECK_SECONDS)' \
		'$(notdir $(FUZZ_BIN))' >$@
	@chmod +x $@
else
$(FUZZ_O)/check: FORCE
	@mkdir -p $(@D)
	@printf '#!/bin/sh\necho 1..1\necho "ok 1 - fuzzers # SKIP %s is not installed"\n' '$(FUZZ_CC)' >$@
	@chmod +x $@
endif

.PHONY: fuzz
fuzz: $(FUZZ:%=$(FUZZ_O)/%) ## run the fuzzers for FUZZ_SECONDS=60 each, or one: FUZZ=fuzz_X
	$(Q)tests/fuzz/run.sh $(FUZZ_O) $(FUZZ_SECONDS) $(FUZZ)
