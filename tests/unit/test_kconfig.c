/* Links: vm/kconfig.o vm/kconfig-read.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/file.o hw/ram.o util/log.o */
/* What a kernel's configuration says, and what of it is enough for lkvm. */
#include "lkvm/vm/kconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

static struct kconfig from(const char *text)
{
	static char copy[4096];

	/* Nothing readable behind it but what is not its own */
	memset(copy, 'y', sizeof(copy));
	memcpy(copy, text, strlen(text));
	return (struct kconfig){ .text = { .bytes = (uint8_t *)copy, .len = strlen(text) } };
}

static char get(const char *text, const char *name)
{
	const struct kconfig k = from(text);

	return kconfig_get(&k, name, strlen(name));
}

START_TEST(test_values)
{
	ck_assert_int_eq(get("CONFIG_A=y\n", "A"), 'y');
	ck_assert_int_eq(get("CONFIG_A=m\n", "A"), 'm');
	ck_assert_int_eq(get("CONFIG_A=n\n", "A"), 'n');
	ck_assert_int_eq(get("# CONFIG_A is not set\n", "A"), 'n');
	ck_assert_int_eq(get("", "A"), 'n');
	ck_assert_int_eq(get("CONFIG_A=yes\n", "A"), '=');
	ck_assert_int_eq(get("CONFIG_A=64\n", "A"), '=');
	ck_assert_int_eq(get("CONFIG_A=\"y\"\n", "A"), '=');
	ck_assert_int_eq(get("CONFIG_A=\n", "A"), '=');
	ck_assert_int_eq(get("CONFIG_A=y\r\n", "A"), 'y');
}
END_TEST

START_TEST(test_ends)
{
	ck_assert_int_eq(get("CONFIG_A=y", "A"), 'y');
	ck_assert_int_eq(get("CONFIG_A=", "A"), '='); /* the y behind is not its own */
	ck_assert_int_eq(get("CONFIG_A", "A"), 'n');
	ck_assert_int_eq(get("# CONFIG_A is not se", "A"), 'n');
	ck_assert_int_eq(get("CONFIG_A=y\n# CONFIG_A is not se", "A"), 'y');
}
END_TEST

START_TEST(test_names)
{
	ck_assert_int_eq(get("CONFIG_AB=y\nCONFIG_BA=y\nCONFIG_B_A=y\n", "A"), 'n');
	ck_assert_int_eq(get("XCONFIG_A=y\n CONFIG_A=y\n#CONFIG_A=y\n# CONFIG_A=y\n", "A"), 'n');
	ck_assert_int_eq(get("CONFIG_B=\"CONFIG_A=y\"\n", "A"), 'n');
}
END_TEST

START_TEST(test_last_holds)
{
	ck_assert_int_eq(get("CONFIG_A=y\n# CONFIG_A is not set\n", "A"), 'n');
	ck_assert_int_eq(get("# CONFIG_A is not set\nCONFIG_A=m\n", "A"), 'm');
	ck_assert_int_eq(get("CONFIG_A=y\n# CONFIG_A is something else\n", "A"), 'y');
}
END_TEST

static bool has(const char *text, const struct kconfig_need *need)
{
	const struct kconfig k = from(text);

	return kconfig_has(&k, need);
}

START_TEST(test_ways)
{
	const struct kconfig_need need = { "all", NULL, { "A !B", "C" }, NULL };

	ck_assert(has("CONFIG_A=y\nCONFIG_B=y\n", &need));
	ck_assert(has("CONFIG_MODULES=y\nCONFIG_A=m\nCONFIG_B=y\n", &need));
	ck_assert(!has("CONFIG_A=m\nCONFIG_B=y\n", &need)); /* nothing loads it */
	ck_assert(!has("CONFIG_MODULES=y\nCONFIG_A=y\nCONFIG_B=m\n", &need)); /* too late */
	ck_assert(!has("CONFIG_A=y\n", &need));
	ck_assert(has("CONFIG_C=y\n", &need));
	ck_assert(!has("", &need));
}
END_TEST

START_TEST(test_missing_is_named)
{
	const struct kconfig k = from("CONFIG_B=y\n");
	char *missing;

	ck_assert(!kconfig_way(&k, "A B !C", &missing));
	ck_assert_str_eq(missing, "CONFIG_A, CONFIG_C");
	free(missing);
	ck_assert(kconfig_way(&k, "B", &missing));
	ck_assert_ptr_null(missing);
}
END_TEST

/* Every row has a way, and no way an empty name. */
START_TEST(test_table)
{
	for (const struct kconfig_need *n = kconfig_needs; n->what; n++) {
		ck_assert_ptr_nonnull(n->ways[0]);
		for (size_t i = 0; i < 3 && n->ways[i]; i++) {
			ck_assert(!strstr(n->ways[i], "  ") && *n->ways[i] != ' ');
			ck_assert_int_ne(n->ways[i][strlen(n->ways[i]) - 1], ' ');
		}
	}
}
END_TEST

static int read_bytes(const void *bytes, size_t len, struct kconfig *ret)
{
	char path[32];
	int fd = memfd_create("file", 0);

	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return kconfig_read(path, ret);
}

static int read_text(const char *text, struct kconfig *ret)
{
	return read_bytes(text, strlen(text), ret);
}

START_TEST(test_read)
{
	struct kconfig k;

	ck_assert_int_eq(read_text("#\n# Automatically generated file; DO NOT EDIT.\n"
				   "# Linux/x86 6.1.170-rc1 Kernel Configuration\n#\nCONFIG_A=y\n", &k), 0);
	ck_assert_str_eq(k.version, "6.1.170-rc1");
	ck_assert_int_eq(kconfig_get(&k, "A", 1), 'y');
	kconfig_free(&k);
	ck_assert_int_eq(read_text("# Linux/x86 \033[2J Kernel Configuration\nCONFIG_A=y\n", &k), 0);
	ck_assert_str_eq(k.version, ""); /* it would be printed */
	kconfig_free(&k);
	ck_assert_int_eq(read_text("some words\n", &k), -ENOEXEC);
	ck_assert_int_eq(read_bytes("CONFIG_A=y\n\0", 12, &k), -ENOEXEC);
	ck_assert_int_eq(read_text("", &k), -ENOEXEC);
	ck_assert_int_eq(kconfig_read("/nonexistent", &k), -ENOENT);
	ck_assert_int_eq(kconfig_read("/dev/null", &k), -ENOEXEC);
}
END_TEST

/* A vmlinux is read in pieces: the mark may lie anywhere, also across two. */
START_TEST(test_mark_anywhere)
{
	static const uint8_t packed[] = { /* "CONFIG_A=y\n" */
		0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x01, 0x0b, 0x00, 0xf4,
		0xff, 'C',  'O',  'N',	'F',  'I',  'G',  '_',	'A',  '=',  'y',  '\n',
		0x8e, 0xb1, 0x80, 0xda, 0x0b, 0x00, 0x00, 0x00 };
	static uint8_t image[2 << 20];
	static const size_t at[] = { 64, (1 << 20) - 12, (1 << 20) - 3, (2 << 20) - 60 };

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		struct kconfig k;

		memset(image, 0, sizeof(image));
		memcpy(image, "\177ELF", 4);
		memcpy(image + 32, "IKCFG_ST not here", 17);
		memcpy(image + at[i], "IKCFG_ST", 8);
		memcpy(image + at[i] + 8, packed, sizeof(packed));
		ck_assert_int_eq(read_bytes(image, sizeof(image), &k), 0);
		ck_assert_int_eq(kconfig_get(&k, "A", 1), 'y');
		kconfig_free(&k);
		image[at[i] + 30] ^= 1;
		ck_assert_int_eq(read_bytes(image, sizeof(image), &k), -ENOEXEC);
	}
}
END_TEST

UNIT_MAIN("kconfig", test_values, test_ends, test_names, test_last_holds, test_ways, test_missing_is_named,
	  test_table, test_read, test_mark_anywhere)
