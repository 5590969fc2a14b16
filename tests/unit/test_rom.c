/* Links: vm/rom.o kvm-slots.o hw/ram.o hw/ram-discard.o hw/bus.o util/file.o util/log.o */
/* Firmware as memory, and PAM, without KVM: the test plays its ioctls. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/vm/rom.h"
#include "unit.h"

#define UNIT    0x10000
#define FOUR_GB 0x100000000ULL

static struct kvm kvm;
static struct ram *ram;
static struct rom *rom;
static char path[64];
static int read_only = 1;

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	(void)fd;
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == KVM_CHECK_EXTENSION)
		return (int)(intptr_t)arg == KVM_CAP_READONLY_MEM ? read_only : 64;
	ck_assert_uint_eq(request, KVM_SET_USER_MEMORY_REGION);
	return 0;
}

/* Each byte tells where it is, in units of 64 KiB from the end. */
static void put_file(size_t bytes)
{
	static int fd = -1;
	uint8_t *data = malloc(bytes ? bytes : 1);

	if (fd < 0)
		fd = memfd_create("firmware", MFD_CLOEXEC);
	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)((bytes - 1 - i) / UNIT + 1);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(pwrite(fd, data, bytes, 0), (ssize_t)bytes);
	free(data);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
}

static void unloadable(int err, const char *why)
{
	char text[256], want[256];

	ck_assert_int_eq(rom_load(path, &rom), err);
	log_last_error(text, sizeof(text));
	snprintf(want, sizeof(want), "could not load firmware '%s': %s", path, why);
	ck_assert_str_eq(text, want);
}

START_TEST(test_files)
{
	log_hold_errors(true);
	snprintf(path, sizeof(path), "/nonsense");
	unloadable(-ENOENT, "No such file or directory");
	snprintf(path, sizeof(path), "/");
	unloadable(-EINVAL, "not a regular file");
	snprintf(path, sizeof(path), "/dev/null");
	unloadable(-EINVAL, "not a regular file");
	put_file(0);
	unloadable(-EINVAL, "it is empty");
	put_file(ROM_MIN - 4096);
	unloadable(-EINVAL, "it is smaller than 64 KiB");
	put_file(ROM_MIN + 1);
	unloadable(-EINVAL, "its size is no multiple of 4 KiB");
	put_file(ROM_MAX + 4096);
	unloadable(-EFBIG, "it is larger than 16 MiB");
	for (size_t bytes = ROM_MIN; bytes <= ROM_MAX; bytes *= 2) {
		put_file(bytes);
		ck_assert_int_eq(rom_load(path, &rom), 0);
		ck_assert_uint_eq(rom_bytes(rom), bytes);
		rom_free(rom);
	}
	rom_free(NULL);
}
END_TEST

START_TEST(test_has)
{
	put_file(UNIT + 4096);
	ck_assert_int_eq(rom_load(path, &rom), 0);
	ck_assert(rom_has(rom, "\2\2\1\1"));
	ck_assert(!rom_has(rom, "\1\2"));
	rom_free(rom);
}
END_TEST

static void start(size_t bytes)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	kvm = (struct kvm){ .dev_fd = 1000, .vm_fd = 1001 };
	kvm_slots_init(&kvm);
	bus_init(&kvm.mmio);
	ck_assert_int_eq(ram_new(4 * MIB, &backing, &ram), 0);
	ck_assert_int_eq(kvm_map_ram(&kvm, ram), 0);
	put_file(bytes);
	ck_assert_int_eq(rom_load(path, &rom), 0);
	ck_assert_int_eq(rom_map(rom, &kvm), 0);
}

static void end(void)
{
	bus_fini(&kvm.mmio);
	kvm_slots_fini(&kvm);
	rom_free(rom);
	ram_free(ram);
}

static const struct kvm_slot *slot_at(uint64_t at)
{
	for (unsigned i = 0; i < KVM_MAX_SLOTS; i++)
		if (kvm.slots.slot[i].bytes && at - kvm.slots.slot[i].at.v < kvm.slots.slot[i].bytes)
			return &kvm.slots.slot[i];
	return NULL;
}

/* What a vCPU does, with the slots and the bus */
static uint8_t load8(uint64_t at)
{
	const struct kvm_slot *slot = slot_at(at);
	uint8_t byte;

	if (slot)
		return ((uint8_t *)slot->host)[at - slot->at.v];
	bus_rw(&kvm.mmio, at, &byte, 1, false);
	return byte;
}

static void store8(uint64_t at, uint8_t byte)
{
	const struct kvm_slot *slot = slot_at(at);

	if (slot && !slot->read_only)
		((uint8_t *)slot->host)[at - slot->at.v] = byte;
	else
		bus_rw(&kvm.mmio, at, &byte, 1, true);
}

static void fill_ram(uint8_t byte)
{
	memset(ram_host(ram, GPA(PAM_FIRST), PAM_END - PAM_FIRST), byte, PAM_END - PAM_FIRST);
}

static uint8_t ram8(uint64_t at)
{
	uint8_t byte;

	ck_assert_int_eq(ram_read(ram, GPA(at), &byte, 1), 0);
	return byte;
}

START_TEST(test_reset)
{
	start(4 * UNIT);
	fill_ram(0x77);
	ck_assert_uint_eq(load8(FOUR_GB - 1), 1);
	ck_assert_uint_eq(load8(FOUR_GB - 16), 1);
	ck_assert_uint_eq(load8(FOUR_GB - 4 * UNIT), 4);
	ck_assert_ptr_null(slot_at(FOUR_GB - 4 * UNIT - 1));
	ck_assert_uint_eq(load8(0xf0000), 1);
	ck_assert_uint_eq(load8(0xfffff), 1);
	ck_assert_uint_eq(load8(0xe0000), 2);
	ck_assert_uint_eq(load8(0xeffff), 2);
	ck_assert_uint_eq(load8(0xdffff), 0xff);
	ck_assert_uint_eq(load8(0xc0000), 0xff);
	ck_assert(!slot_at(0xbffff)->read_only);
	ck_assert(!slot_at(0x100000)->read_only);
	ck_assert_ptr_eq(slot_at(0xbffff)->host, ram_host(ram, GPA(0), 1));
	ck_assert_ptr_eq(slot_at(0x100000)->host, ram_host(ram, GPA(0x100000), 1));
	/* Writes are lost. */
	for (uint64_t at = PAM_FIRST; at < PAM_END; at += 0x800) {
		store8(at, 9);
		ck_assert_uint_eq(ram8(at), 0x77);
	}
	store8(FOUR_GB - 1, 9);
	ck_assert_uint_eq(load8(FOUR_GB - 1), 1);
	ck_assert_uint_eq(load8(0xfffff), 1);
	end();
}
END_TEST

/* All segments, each in each of the four ways while the others are as they were */
START_TEST(test_each_segment)
{
	start(2 * UNIT);
	for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
		const uint64_t at = PAM_FIRST + i * 0x4000, last = (i == 12 ? PAM_END : at + 0x4000) - 1;
		const uint8_t there = load8(at);

		for (unsigned mode = 0; mode < 4; mode++) {
			uint8_t pam[PAM_REGISTERS] = { 0 };

			pam[i == 12 ? 0 : 1 + i / 2] = (uint8_t)(i == 12 || i % 2 ? mode << 4 : mode);
			fill_ram(0x77);
			rom_pam(rom, pam);
			for (unsigned side = 0; side < 2; side++) {
				const uint64_t here = side ? last : at;

				ck_assert_uint_eq(load8(here), mode & 1 ? 0x77 : there);
				store8(here, 9);
				ck_assert_uint_eq(ram8(here), mode & 2 ? 9 : 0x77);
				ck_assert_uint_eq(load8(here), !(mode & 1) ? there : mode & 2 ? 9 : 0x77);
			}
			if (i) {
				store8(at - 1, 9);
				ck_assert_uint_eq(ram8(at - 1), 0x77);
			}
			if (last < PAM_END - 1) {
				store8(last + 1, 9);
				ck_assert_uint_eq(ram8(last + 1), 0x77);
			}
		}
		rom_pam(rom, (uint8_t[PAM_REGISTERS]){ 0 });
		ck_assert_uint_eq(load8(at), there);
	}
	end();
}
END_TEST

/* What a BIOS does: copy itself to RAM, write there, forbid that. */
START_TEST(test_shadow)
{
	static const uint8_t all[PAM_REGISTERS] = { 0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33 };
	static const uint8_t locked[PAM_REGISTERS] = { 0x10, 0x11, 0x11, 0x11, 0x11, 0x31, 0x33 };

	start(4 * UNIT);
	rom_pam(rom, all);
	for (uint64_t at = PAM_FIRST; at < PAM_END; at += 0x1000) {
		store8(at, (uint8_t)(at >> 12));
		ck_assert_uint_eq(load8(at), (uint8_t)(at >> 12));
	}
	ck_assert_uint_eq(load8(FOUR_GB - 0x10000), 1); /* the ROM is what it was */
	rom_pam(rom, locked);
	rom_pam(rom, locked);
	store8(0xf0000, 1);
	ck_assert_uint_eq(load8(0xf0000), 0xf0);
	store8(0xe4000, 1);
	ck_assert_uint_eq(load8(0xe4000), 1);
	store8(0xe0000, 1);
	ck_assert_uint_eq(load8(0xe0000), 0xe0);
	end();
}
END_TEST

/* 64 KiB have nothing for 0xe0000; what straddles an end sees no byte of others. */
START_TEST(test_small)
{
	uint8_t bytes[8];

	start(UNIT);
	ck_assert_uint_eq(load8(0xe0000), 0xff);
	ck_assert_uint_eq(load8(0xf0000), 1);
	bus_rw(&kvm.mmio, 0xefffc, bytes, 8, false);
	ck_assert_uint_eq(bytes[7], 0xff);
	bus_rw(&kvm.mmio, 0xffff8, bytes, 8, false);
	ck_assert_uint_eq(bytes[7], 1);
	ck_assert_int_eq(bus_rw(&kvm.mmio, 0xffffc, bytes, 8, false), -ENODEV);
	ck_assert_int_eq(bus_rw(&kvm.mmio, FOUR_GB - 4, bytes, 8, true), -ENODEV);
	end();
}
END_TEST

/* 68 KiB: what of a segment the ROM has is in no slot, as not all of it is there, but can be read. */
START_TEST(test_odd)
{
	start(UNIT + 4096);
	ck_assert_uint_eq(load8(FOUR_GB - UNIT - 4096), 2);
	ck_assert_ptr_null(slot_at(FOUR_GB - UNIT - 4097));
	ck_assert_uint_eq(load8(0xf0000), 1);
	ck_assert_uint_eq(load8(0xeffff), 2);
	ck_assert_uint_eq(load8(0xef000), 2);
	ck_assert_uint_eq(load8(0xeefff), 0xff);
	end();
}
END_TEST

START_TEST(test_no_read_only_memory)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	char text[256];

	log_hold_errors(true);
	read_only = 0;
	kvm = (struct kvm){ .dev_fd = 1000, .vm_fd = 1001 };
	kvm_slots_init(&kvm);
	bus_init(&kvm.mmio);
	ck_assert_int_eq(ram_new(4 * MIB, &backing, &ram), 0);
	ck_assert_int_eq(kvm_map_ram(&kvm, ram), 0);
	put_file(UNIT);
	ck_assert_int_eq(rom_load(path, &rom), 0);
	ck_assert_int_eq(rom_map(rom, &kvm), -ENOTSUP);
	log_last_error(text, sizeof(text));
	ck_assert_str_eq(text, "memory of firmware, 65536 bytes at 0xffff0000: this host's KVM lacks KVM_CAP_READONLY_MEM");
	end();
}
END_TEST

UNIT_MAIN("rom", test_files, test_has, test_reset, test_each_segment, test_shadow, test_small, test_odd, test_no_read_only_memory)
