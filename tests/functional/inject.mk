# inject is preloaded into lkvm and makes the host fail; see inject.c.
INJECT := $(abspath $(O))/tests/functional/inject.so
export INJECT

# Not sanitized itself: it must load before the sanitizer's own library does.
$(INJECT): tests/functional/inject.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) -std=gnu11 $(WARN) $(CFLAGS) -fPIC -shared -o $@ $< -ldl

tests/functional/inject.t.sh tests/functional/host.t.sh tests/functional/pmem.t.sh tests/functional/run-end.t.sh: $(INJECT)
