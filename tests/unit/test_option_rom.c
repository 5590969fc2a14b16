/* Links: vm/option-rom.o util/file.o util/log.o */
/* Option ROMs of devices: files that are none, and what is changed in those that are. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/access.h"
#include "lkvm/log.h"
#include "lkvm/vm/option-rom.h"
#include "unit.h"

#define ID 0x10411af4

static uint8_t file[8192];
static char path[64];
static struct option_rom rom;

/* An image at @at: @units of 512 bytes for code of @kind */
static void put_image(unsigned at, unsigned units, uint8_t kind, bool last)
{
	uint8_t *image = file + at;

	memset(image, 0x11, units * 512);
	image[0] = 0x55;
	image[1] = 0xaa;
	image[2] = (uint8_t)units;
	access_put(image + 0x18, 2, 0x40);
	memcpy(image + 0x40, "PCIR", 4);
	access_put(image + 0x44, 4, 0x10001af4);
	access_put(image + 0x50, 2, units);
	image[0x54] = kind;
	image[0x55] = last ? 0x80 : 0;
}

static int load(size_t bytes)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("rom", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(pwrite(fd, file, bytes, 0), (ssize_t)bytes);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rom = (struct option_rom){ 0 };
	return option_rom_load(path, ID, &rom);
}

START_TEST(test_images)
{
	uint8_t sum = 0;

	put_image(0, 2, 0, false);
	put_image(1024, 8, 3, true);
	ck_assert_int_eq(load(1024 + 4096), 0);
	ck_assert_uint_eq(rom.bytes, 8192);
	ck_assert_uint_eq(access_get(rom.data + 0x44, 4), ID);
	ck_assert_uint_eq(access_get(rom.data + 1024 + 0x44, 4), ID);
	for (unsigned i = 0; i < 1024; i++)
		sum += rom.data[i];
	ck_assert_uint_eq(sum, 0);
	ck_assert_uint_eq(rom.data[1024 + 6], 0x11); /* no code for a BIOS, and no sum */
	ck_assert_uint_eq(rom.data[5120], 0xff);
	option_rom_free(&rom);
	put_image(0, 1, 0, true);
	ck_assert_int_eq(load(512), 0);
	ck_assert_uint_eq(rom.bytes, 4096);
	option_rom_free(&rom);
}
END_TEST

static void refused(size_t bytes)
{
	char text[256], want[256];

	ck_assert_int_eq(load(bytes), -EINVAL);
	log_last_error(text, sizeof(text));
	snprintf(want, sizeof(want), "could not load option ROM '%s': it is no option ROM", path);
	ck_assert_str_eq(text, want);
	ck_assert_ptr_null(rom.data);
}

START_TEST(test_damaged)
{
	log_hold_errors(true);
	refused(0);
	put_image(0, 4, 0, true);
	refused(511);
	refused(2047);
	file[0] = 0;
	refused(2048);
	put_image(0, 4, 0, true);
	file[1] = 0;
	refused(2048);
	put_image(0, 4, 0, true);
	file[0x41] = 0;
	refused(2048);
	put_image(0, 4, 0, false); /* and there is no other */
	refused(2048);
	put_image(0, 4, 0, true);
	access_put(file + 0x50, 2, 0);
	refused(2048);
	put_image(0, 4, 0, true);
	file[2] = 5;
	refused(2048);
	for (unsigned at = 2048 - 0x17; at < 0x10000; at += 0x7f) {
		put_image(0, 4, 0, true);
		access_put(file + 0x18, 2, at);
		refused(2048);
	}
	put_image(0, 4, 0, true);
	memcpy(file + 2048 - 0x18, file + 0x40, 0x18);
	access_put(file + 0x18, 2, 2048 - 0x18);
	ck_assert_int_eq(load(2048), 0);
	option_rom_free(&rom);
}
END_TEST

START_TEST(test_files)
{
	static const struct {
		const char *path;
		int err;
		const char *why;
	} cases[] = {
		{ "/nonsense", -ENOENT, "No such file or directory" },
		{ "/dev/null", -EINVAL, "not a regular file" },
	};

	log_hold_errors(true);
	for (size_t i = 0; i < 2; i++) {
		char text[256], want[256];

		ck_assert_int_eq(option_rom_load(cases[i].path, ID, &rom), cases[i].err);
		log_last_error(text, sizeof(text));
		snprintf(want, sizeof(want), "could not load option ROM '%s': %s", cases[i].path, cases[i].why);
		ck_assert_str_eq(text, want);
	}
	option_rom_free(&(struct option_rom){ 0 });
}
END_TEST

UNIT_MAIN("option-rom", test_images, test_damaged, test_files)
