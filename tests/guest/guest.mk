# Guest programs: small kernels of our own that use no floating point and no vector registers, so
# that they run on every KVM, software virtualizers included. X.S is a flat real-mode program; X.c
# is linked with start.S and lib.c once for each boot protocol that it is listed under.

GUEST := $(O)/tests/guest

GUEST_REAL := $(filter-out start guest.lds rom,$(patsubst tests/guest/%.S,%,$(wildcard tests/guest/*.S)))
GUEST_FLAT := firmware flash i8042 ramfb rtc saved serial serial-burst serial-poll serial-shared test-device timers unclaimed virtio-mmio
GUEST_MULTIBOOT := acpi attacks bios clocks copy cpuid debug disks framebuffer hammer hints hostile hvc multiboot pmem ram screen smp witness
GUEST_LOW := multiboot
GUEST_MULTIBOOT2 := multiboot2
GUEST_PVH := blk-bench net-bench pvh quit screen-bench serial-burst serial-poll spin
GUEST_BZIMAGE := bzimage dtb session

GUEST_BIN := $(GUEST_REAL:%=$(GUEST)/%.bin) $(GUEST_FLAT:%=$(GUEST)/%.bin) \
	$(GUEST_MULTIBOOT:%=$(GUEST)/%.mb) $(GUEST_LOW:%=$(GUEST)/%.low) \
	$(GUEST_MULTIBOOT2:%=$(GUEST)/%.mb2) $(GUEST_PVH:%=$(GUEST)/%.pvh) $(GUEST_BZIMAGE:%=$(GUEST)/%.bz) \
	$(GUEST)/firmware.rom $(GUEST)/flash.rom $(GUEST)/ramfb.rom $(GUEST)/saved.rom

GUEST_CFLAGS := -std=gnu11 $(WARN) -O2 -m64 -ffreestanding -fno-pic -mgeneral-regs-only -mno-red-zone \
	-fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -Itests/guest
GUEST_LDFLAGS := -m elf_x86_64 -nostdlib -static --build-id=none -z noexecstack -z max-page-size=4096 \
	--no-warn-rwx-segments

.PHONY: guests
guests: $(GUEST_BIN)

$(GUEST)/%.o: tests/guest/%.S $(O)/flags
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) -m64 -Itests/guest -MMD -MP -c -o $@ $<

$(GUEST)/%.o: tests/guest/%.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,GUESTCC,$<)
	$(Q)$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(GUEST_REAL:%=$(GUEST)/%.bin): $(GUEST)/%.bin: $(GUEST)/%.o
	$(call say,GUESTLD,$@)
	$(Q)ld -m elf_x86_64 -Ttext=0 --oformat=binary -o $@ $<

# guest_protocol LIST,SUFFIX,MACRO,BASE,OBJCOPY-ARGUMENTS: one start object, one linker script, one rule
define guest_protocol
$(GUEST)/start-$(2).o: tests/guest/start.S $(O)/flags
	@mkdir -p $$(@D)
	$$(call say,AS,$$@)
	$(Q)$$(CC) -m64 -D$(3) -Itests/guest -MMD -MP -c -o $$@ $$<
$(GUEST)/$(2).lds: tests/guest/guest.lds.S $(O)/flags
	@mkdir -p $$(@D)
	$(Q)$$(CC) -E -P -x assembler-with-cpp -D$(3) -DBASE=$(4) -o $$@ $$<
$(1:%=$(GUEST)/%.$(2)): $(GUEST)/%.$(2): $(GUEST)/%.o $(GUEST)/lib.o $(GUEST)/start-$(2).o $(GUEST)/$(2).lds
	$$(call say,GUESTLD,$$@)
	$(Q)ld $(GUEST_LDFLAGS) -T $(GUEST)/$(2).lds -o $$@.elf $$(filter %.o,$$^)
	$(Q)objcopy $(5) $$@.elf $$@
endef
$(eval $(call guest_protocol,$(GUEST_FLAT),bin,START_FLAT,0x10000,-O binary))
$(eval $(call guest_protocol,$(GUEST_MULTIBOOT),mb,START_MULTIBOOT,0x100000,-O elf32-i386))
$(eval $(call guest_protocol,$(GUEST_LOW),low,START_MULTIBOOT,0x1000,-O elf32-i386))
$(eval $(call guest_protocol,$(GUEST_MULTIBOOT2),mb2,START_MULTIBOOT2,0x100000,))
$(eval $(call guest_protocol,$(GUEST_PVH),pvh,START_PVH,0x100000,))
$(eval $(call guest_protocol,$(GUEST_BZIMAGE),bz,START_BZIMAGE,0x100000,-O binary))

# Firmware that copies the program to RAM
$(GUEST)/firmware.rom $(GUEST)/flash.rom $(GUEST)/ramfb.rom $(GUEST)/saved.rom: $(GUEST)/%.rom: tests/guest/rom.S tests/guest/rom.h $(GUEST)/%.bin
	$(call say,GUESTLD,$@)
	$(Q)$(CC) -m64 -DPAYLOAD='"$(GUEST)/$*.bin"' -Itests/guest -c -o $@.o $<
	$(Q)ld -m elf_x86_64 -Ttext=0 --oformat=binary -o $@ $@.o

# A program of more than one file
$(GUEST)/hostile.mb: $(patsubst %,$(GUEST)/%.o,virtio-driver virtio-requests \
	$(addprefix hostile-,status queue split packed rng blk console net balloon mem pmem vsock gpu input pci pci-config msix mmio))

$(GUEST)/attacks.mb: $(GUEST)/virtio-driver.o

$(GUEST)/hvc.mb: $(GUEST)/virtio-driver.o
$(GUEST)/ramfb.bin $(GUEST)/session.bz: $(patsubst %,$(GUEST)/%.o,virtio-driver virtio-requests)
$(GUEST)/blk-bench.pvh $(GUEST)/net-bench.pvh $(GUEST)/screen-bench.pvh: $(patsubst %,$(GUEST)/%.o,virtio-driver virtio-requests)

$(GUEST)/debug.o: GUEST_CFLAGS += -g
$(GUEST)/debug.mb $(GUEST)/smp.mb: $(GUEST)/cpus.o
$(GUEST)/hammer.mb: $(patsubst %,$(GUEST)/%.o,cpus virtio-driver virtio-requests)

$(GUEST)/disks.mb $(GUEST)/framebuffer.mb $(GUEST)/hints.mb $(GUEST)/pmem.mb $(GUEST)/screen.mb $(GUEST)/witness.mb: $(patsubst %,$(GUEST)/%.o,virtio-driver virtio-requests)

# The tests that run them are among the functional ones.
export GUESTS := $(abspath $(GUEST))
$(FUNCTIONAL): $(GUEST_BIN)
