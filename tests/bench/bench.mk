# `make bench`: what lkvm costs, each figure beside the floor (bare) and, where they are installed,
# beside QEMU's microvm and the kvmtool that LKVM_BENCH_KVMTOOL names. BENCH_TABLES="startup serial"
# prints only these.

BENCH := $(abspath $(O))/tests/bench
export BENCH
# QEMU 7.2 aborts on a model-specific register (10ah) that some hosts do not have, but for this.
export MICROVM_CPU := host,-arch-capabilities
BENCH_PROGRAMS := $(BENCH)/aio $(BENCH)/bare $(BENCH)/files $(BENCH)/gdb $(BENCH)/measure $(BENCH)/stamp $(BENCH)/wire

.PHONY: bench
bench: $(O)/lkvm $(BENCH_PROGRAMS) guests ## measure start-up, memory, serial port, disks, folders, Linux boot
	$(Q)tests/setup.sh bench || echo "bench: what is missing will fail"
	$(Q)tests/bench/bench.sh $(BENCH_TABLES)

# A functional test keeps the block device's from rotting.
tests/functional/blk-bench.t.sh: $(BENCH)/aio

$(BENCH_PROGRAMS): $(BENCH)/%: $(O)/tests/bench/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIBS)
