# What runs inside of a guest: a static program of some KB without any library, which stands in lkvm
# itself (vm/guest-init.S). It is for every guest, so no option of the build changes it.

GUEST_INIT := $(O)/guest/init
GUEST_INIT_CFLAGS := -std=gnu11 $(WARN) -Os -m64 -ffreestanding -fno-pic -mno-sse -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -fno-builtin -fvisibility=hidden \
	-ffunction-sections -Iinclude -ffile-prefix-map=$(CURDIR)=.
GUEST_INIT_LDFLAGS := -m64 -nostdlib -static -s -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--gc-sections
GUEST_INIT_SRC := $(sort $(wildcard guest/*.c))

# All at once: it takes less than a second, and there are no objects between.
$(GUEST_INIT): $(GUEST_INIT_SRC) $(wildcard guest/*.h) include/lkvm/session.h guest/guest.mk $(O)/flags
	@mkdir -p $(@D)
	$(call say,GUESTCC,$@)
	$(Q)$(CC) $(GUEST_INIT_CFLAGS) $(GUEST_INIT_LDFLAGS) -o $@ $(GUEST_INIT_SRC)

$(O)/vm/guest-init.o: ALL_CPPFLAGS += -Wa,-I$(O)
# A compiler cache does not see that the program has changed.
$(O)/vm/guest-init.o: export CCACHE_DISABLE = 1
$(O)/vm/guest-init.o: $(GUEST_INIT)
