# `make bench`: what lkvm costs, each figure beside the floor (bare) and, where they are installed,
# beside QEMU's microvm and the kvmtool that LKVM_BENCH_KVMTOOL names. BENCH_TABLES="startup serial"
# prints only these.

BENCH := $(O)/tests/bench
BENCH_PROGRAMS := $(BENCH)/bare $(BENCH)/measure $(BENCH)/stamp

.PHONY: bench
bench: $(O)/lkvm $(BENCH_PROGRAMS) guests ## measure start-up, memory, serial port, Linux boot
	$(Q)BENCH=$(BENCH) tests/bench/bench.sh $(BENCH_TABLES)

$(BENCH_PROGRAMS): $(BENCH)/%: $(BENCH)/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIBS)
