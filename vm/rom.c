/*
 * Firmware as memory, and what a chip set's PAM registers make of the addresses below 1 MB; see vm/rom.h. Segments
 * change on the vCPU thread that writes a register, under the PCI host's lock.
 */
#include "lkvm/vm/rom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/access.h"
#include "lkvm/file.h"
#include "lkvm/log.h"

#define ALIAS_AT      (PAM_END - ROM_ALIAS_BYTES)
#define SEGMENT_BYTES (16 * KIB)
#define LAST_SEGMENT  (PAM_SEGMENTS - 1)

enum { READ_RAM = 1, WRITE_RAM = 2 };

struct rom {
	uint8_t *data; /* mapped; @bytes of them */
	uint64_t bytes;
	struct kvm *kvm; /* NULL: not yet */
	struct segment {
		atomic_uint mode; /* READ_RAM, WRITE_RAM */
		int slot;         /* -1: none */
	} segment[PAM_SEGMENTS];
};

/* ---- the file ---- */

static int failed(const char *path, int err, const char *why)
{
	return log_errx(err, "could not load firmware '%s': %s", path, why ? why : strerror(-err));
}

static int judge(const char *path, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return failed(path, -EINVAL, "not a regular file");
	if (!st->st_size)
		return failed(path, -EINVAL, "it is empty");
	if ((uint64_t)st->st_size > ROM_MAX)
		return failed(path, -EFBIG, "it is larger than 16 MiB");
	if ((uint64_t)st->st_size < ROM_MIN)
		return failed(path, -EINVAL, "it is smaller than 64 KiB");
	return st->st_size % (off_t)ROM_UNIT ? failed(path, -EINVAL, "its size is no multiple of 4 KiB") : 0;
}

/* Copied, as a file that is cut while the guest runs must not be missed. */
static int read_all(struct rom *rom, const char *path, int fd)
{
	void *data = mmap(NULL, rom->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t n;

	if (data == MAP_FAILED)
		return failed(path, -errno, NULL);
	rom->data = data;
	n = file_read(fd, data, rom->bytes, 0);
	if (n < 0)
		return failed(path, (int)n, NULL);
	return (uint64_t)n < rom->bytes ? failed(path, -EIO, "it has become shorter") : 0;
}

static int load(struct rom *rom, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int err;

	if (fd < 0)
		return failed(path, -errno, NULL);
	err = fstat(fd, &st) ? failed(path, -errno, NULL) : judge(path, &st);
	if (!err) {
		rom->bytes = (uint64_t)st.st_size;
		err = read_all(rom, path, fd);
	}
	close(fd);
	return err;
}

int rom_load(const char *path, struct rom **ret)
{
	struct rom *rom = calloc(1, sizeof(*rom));
	int err = rom ? load(rom, path) : failed(path, -ENOMEM, NULL);

	for (unsigned i = 0; rom && i < PAM_SEGMENTS; i++)
		rom->segment[i].slot = -1;
	if (err)
		rom_free(rom);
	else
		*ret = rom;
	return err;
}

void rom_free(struct rom *rom)
{
	if (!rom)
		return;
	if (rom->data)
		munmap(rom->data, rom->bytes);
	free(rom);
}

uint64_t rom_bytes(const struct rom *rom)
{
	return rom->bytes;
}

const void *rom_data(const struct rom *rom)
{
	return rom->data;
}

bool rom_has(const struct rom *rom, const char *text)
{
	return memmem(rom->data, rom->bytes, text, strlen(text));
}

/* ---- segments ---- */

static uint64_t segment_at(unsigned i)
{
	return PAM_FIRST + i * SEGMENT_BYTES;
}

static uint64_t segment_bytes(unsigned i)
{
	return i == LAST_SEGMENT ? PAM_END - segment_at(i) : SEGMENT_BYTES;
}

/* Of 64 KiB there is nothing at 0xe0000. Return: what of the ROM is at @at, of which @len are wanted; NULL: nothing */
static uint8_t *rom_at(const struct rom *rom, uint64_t at, uint64_t len)
{
	const uint64_t behind = PAM_END - at;

	return at < ALIAS_AT || behind > rom->bytes || len > behind ? NULL : rom->data + (rom->bytes - behind);
}

static bool slot_of(const struct rom *rom, unsigned i, struct kvm_slot *ret)
{
	const uint64_t at = segment_at(i), bytes = segment_bytes(i);
	const unsigned mode = atomic_load(&rom->segment[i].mode);
	void *host = mode & READ_RAM ? ram_host(rom->kvm->ram, GPA(at), bytes) : rom_at(rom, at, bytes);

	*ret = (struct kvm_slot){
		.name = mode & READ_RAM ? "RAM" : "firmware",
		.at = GPA(at),
		.bytes = bytes,
		.host = host,
		.read_only = mode != (READ_RAM | WRITE_RAM),
	};
	return host;
}

/* What cannot be a slot is no less right by the bus. Logged by the slots */
static void put_segment(struct rom *rom, unsigned i)
{
	struct kvm_slot slot;

	if (rom->segment[i].slot >= 0 && kvm_slot_remove(rom->kvm, (unsigned)rom->segment[i].slot))
		return;
	rom->segment[i].slot = slot_of(rom, i, &slot) ? kvm_slot_add(rom->kvm, &slot) : -1;
}

static unsigned mode_in(const uint8_t *pam, unsigned i)
{
	const uint8_t byte = i == LAST_SEGMENT ? pam[0] : pam[1 + i / 2];

	return (i == LAST_SEGMENT || i % 2 ? byte >> 4 : byte) & (READ_RAM | WRITE_RAM);
}

void rom_pam(void *ctx, const uint8_t *pam)
{
	struct rom *rom = ctx;

	for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
		const unsigned mode = mode_in(pam, i);

		if (mode == atomic_load(&rom->segment[i].mode))
			continue;
		atomic_store(&rom->segment[i].mode, mode);
		put_segment(rom, i);
	}
}

/* ---- accesses that come by the bus: to what is no slot, or must not be written ---- */

static unsigned segment_with(uint64_t at)
{
	const uint64_t i = (at - PAM_FIRST) / SEGMENT_BYTES;

	return i < LAST_SEGMENT ? (unsigned)i : LAST_SEGMENT;
}

/* One that straddles two segments is seen by the first. */
static uint64_t pam_read(void *dev, uint64_t off, unsigned len)
{
	struct rom *rom = dev;
	const uint64_t at = PAM_FIRST + off;
	uint8_t bytes[8];
	const uint8_t *from;

	if (atomic_load(&rom->segment[segment_with(at)].mode) & READ_RAM)
		return ram_read(rom->kvm->ram, GPA(at), bytes, len) ? UINT64_MAX : access_get(bytes, len);
	from = rom_at(rom, at, len);
	return from ? access_get(from, len) : UINT64_MAX;
}

static void pam_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct rom *rom = dev;
	const uint64_t at = PAM_FIRST + off;
	uint8_t bytes[8];

	if (!(atomic_load(&rom->segment[segment_with(at)].mode) & WRITE_RAM))
		return;
	access_put(bytes, len, value);
	ram_write(rom->kvm->ram, GPA(at), bytes, len);
}

static const struct bus_ops pam_ops = { pam_read, pam_write };

static uint64_t high_read(void *dev, uint64_t off, unsigned len)
{
	const struct rom *rom = dev;

	return access_get(rom->data + off, len);
}

static void high_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	(void)dev, (void)off, (void)len, (void)value;
}

static const struct bus_ops high_ops = { high_read, high_write };

static int put_on_bus(struct rom *rom)
{
	const struct bus_range pam = {
		.base = PAM_FIRST, .size = PAM_END - PAM_FIRST, .ops = &pam_ops, .dev = rom, .name = "firmware",
	};
	const struct bus_range high = {
		.base = RAM_GAP_END - rom->bytes, .size = rom->bytes, .ops = &high_ops, .dev = rom, .name = "firmware",
	};
	int err = bus_add(&rom->kvm->mmio, &pam);

	return err ? err : bus_add(&rom->kvm->mmio, &high);
}

/* ---- all of it ---- */

/* The RAM's first part is one slot up to here, and gets room for the segments. */
static int split_ram(struct kvm *kvm)
{
	struct kvm_slot low, high;
	int n;

	if (!kvm_slot_get(kvm, 0, &low))
		return -ENOENT;
	high = low;
	low.bytes = PAM_FIRST;
	high.at = GPA(PAM_END);
	high.bytes -= PAM_END;
	high.host = (uint8_t *)high.host + PAM_END;
	n = kvm_slot_remove(kvm, 0);
	if (!n)
		n = kvm_slot_add(kvm, &low);
	if (n >= 0)
		n = kvm_slot_add(kvm, &high);
	return n < 0 ? n : 0;
}

int rom_map(struct rom *rom, struct kvm *kvm)
{
	const struct kvm_slot high = {
		.name = "firmware",
		.at = GPA(RAM_GAP_END - rom->bytes),
		.bytes = rom->bytes,
		.host = rom->data,
		.read_only = true,
	};
	int err = split_ram(kvm), n;

	if (err)
		return err;
	rom->kvm = kvm;
	n = kvm_slot_add(kvm, &high);
	if (n < 0)
		return n;
	for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
		put_segment(rom, i);
		if (rom->segment[i].slot < -1)
			return rom->segment[i].slot;
	}
	err = put_on_bus(rom);
	return err ? log_err(err, "firmware on the bus") : 0;
}
