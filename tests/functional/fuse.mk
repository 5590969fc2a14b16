# fuse-mount mounts a folder by the FUSE server of fs/ on this machine's own kernel; see fuse-mount.c.
FUSE_MOUNT := $(abspath $(O))/tests/functional/fuse-mount
export FUSE_MOUNT
FUSE_OBJ := $(patsubst %.c,%.o,$(wildcard fs/*.c)) hw/state.o util/file.o util/log.o util/mask.o util/stream.o

$(FUSE_MOUNT): $(O)/tests/functional/fuse-mount.o $(addprefix $(O)/,$(FUSE_OBJ))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# What system calls give, many of them at random, what is in mapped memory, and datagrams at once; static, for a guest that has no
# libraries.
FS_CALLS := $(abspath $(O))/tests/testbed/fs-calls
FS_RANDOM := $(abspath $(O))/tests/testbed/fs-random
FS_DAX := $(abspath $(O))/tests/testbed/fs-dax
UDP_GSO := $(abspath $(O))/tests/testbed/udp-gso
export FS_CALLS FS_RANDOM FS_DAX UDP_GSO
$(FS_CALLS) $(FS_RANDOM) $(FS_DAX) $(UDP_GSO): $(abspath $(O))/tests/testbed/%: tests/testbed/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 $(WARN) -O1 -static -pthread -o $@ $<

tests/functional/fuse.t.sh: $(FUSE_MOUNT) $(FS_CALLS) $(FS_RANDOM)
