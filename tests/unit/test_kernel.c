/* Links: vm/kernel.o x86/boot/find.o util/log.o */
/* Which image, release and modules a name of a kernel leads to, in folders made for it. */
#include "lkvm/vm/kernel.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "own-folder.h"

static void put_bzimage(const char *path, const char *version)
{
	uint8_t bytes[2048] = { 0 };
	uint16_t at = 0x100;

	memcpy(bytes + 0x202, "HdrS", 4);
	memcpy(bytes + offsetof(struct boot_params, hdr.kernel_version), &at, 2);
	snprintf((char *)bytes + 0x300, 1000, "%s", version);
	put(path, bytes, sizeof(bytes));
}

static void finds(const char *name, const char *image, const char *release, enum kernel_modules kind,
		  const char *modules)
{
	struct kernel k;

	ck_assert_int_eq(kernel_find_below(".", name, &k), 0);
	ck_assert_str_eq(k.image, image);
	ck_assert_str_eq(k.release, release);
	ck_assert_int_eq(k.kind, kind);
	if (modules)
		ck_assert_str_eq(k.modules, modules);
	else
		ck_assert_ptr_null(k.modules);
	kernel_free(&k);
}

START_TEST(test_release)
{
	struct kernel k;

	enter_own_folder();
	put_bzimage("boot/vmlinuz-6.1.0-9-amd64", "6.1.0-9-amd64 (root@host) #1 SMP");
	finds("6.1.0-9-amd64", "./boot/vmlinuz-6.1.0-9-amd64", "6.1.0-9-amd64", KERNEL_NO_MODULES, NULL);
	put_text("lib/modules/6.1.0-9-amd64/modules.order", "");
	finds("6.1.0-9-amd64", "./boot/vmlinuz-6.1.0-9-amd64", "6.1.0-9-amd64", KERNEL_INSTALLED,
	      "./boot/../lib/modules/6.1.0-9-amd64");
	put_bzimage("lib/modules/7.0/vmlinuz", "7.0 x");
	finds("7.0", "./lib/modules/7.0/vmlinuz", "7.0", KERNEL_INSTALLED, "./lib/modules/7.0");
	ck_assert_int_eq(kernel_find_below(".", "6.2", &k), -ENOENT);
	ck_assert_int_eq(kernel_find_below(".", "../boot/vmlinuz-7.0", &k), -ENOENT);
	put_bzimage("7.0", "8.0 x"); /* a file of that name comes first */
	finds("7.0", "7.0", "8.0", KERNEL_NO_MODULES, NULL);
	leave_own_folder();
}
END_TEST

START_TEST(test_tree)
{
	struct kernel k;

	enter_own_folder();
	put_text("my linux/include/config/kernel.release", "6.5.0-rc1+\n");
	ck_assert_int_eq(kernel_find_below(".", "my linux", &k), -ENOENT);
	put_bzimage("my linux/arch/x86/boot/bzImage", "older");
	put_text("lib/modules/6.5.0-rc1+/x", "");
	finds("my linux", "my linux/arch/x86/boot/bzImage", "6.5.0-rc1+", KERNEL_INSTALLED,
	      "./lib/modules/6.5.0-rc1+");
	put_text("my linux/lib/modules/6.5.0-rc1+/x", "");
	finds("my linux", "my linux/arch/x86/boot/bzImage", "6.5.0-rc1+", KERNEL_INSTALLED,
	      "my linux/./lib/modules/6.5.0-rc1+");
	put_text("my linux/modules.order", "fs/fuse/fuse.ko\n");
	finds("my linux", "my linux/arch/x86/boot/bzImage", "6.5.0-rc1+", KERNEL_BUILT, "my linux/.");
	/* An image in it is the same kernel. */
	finds("my linux/arch/x86/boot/bzImage", "my linux/arch/x86/boot/bzImage", "6.5.0-rc1+", KERNEL_BUILT,
	      "my linux/.");
	put_text("my linux/vmlinux", "\177ELF");
	finds("my linux/vmlinux", "my linux/vmlinux", "6.5.0-rc1+", KERNEL_BUILT, "my linux/.");
	leave_own_folder();
}
END_TEST

START_TEST(test_image)
{
	static char elf[600000] = "\177ELF Linux version %s";

	enter_own_folder();
	put_bzimage("boot/bz", "6.1.0 (x)");
	put_text("lib/modules/6.1.0/x", "");
	finds("boot/bz", "boot/bz", "6.1.0", KERNEL_INSTALLED, "boot/../lib/modules/6.1.0");
	/* Across the seam of two pieces */
	snprintf(elf + (256 << 10) - 20, 100, "Linux version 6.1.0 (gcc)");
	put("vmlinux", elf, sizeof(elf));
	finds("vmlinux", "vmlinux", "6.1.0", KERNEL_INSTALLED, "./lib/modules/6.1.0");
	put_text("flat", "x");
	finds("flat", "flat", "", KERNEL_NO_MODULES, NULL);
	leave_own_folder();
}
END_TEST

/* A release is not a way out of /lib/modules. */
START_TEST(test_hostile_release)
{
	static const char *const bad[] = { "../../etc x", "..", ".", "", "6.1/../..", "6.1\033[2J x" };
	char longest[200];

	enter_own_folder();
	put_text("lib/modules/x", "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put_bzimage("bz", bad[i]);
		finds("bz", "bz", "", KERNEL_NO_MODULES, NULL);
	}
	memset(longest, '6', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	put_bzimage("bz", longest);
	finds("bz", "bz", "", KERNEL_NO_MODULES, NULL);
	leave_own_folder();
}
END_TEST

START_TEST(test_default)
{
	struct kernel k;

	enter_own_folder();
	ck_assert_int_eq(kernel_find_below(".", NULL, &k), -ENOENT);
	put_bzimage("boot/vmlinuz-5.0", "5.0 x");
	finds(NULL, "./boot/vmlinuz-5.0", "5.0", KERNEL_NO_MODULES, NULL);
	leave_own_folder();
}
END_TEST

UNIT_MAIN("kernel", test_release, test_tree, test_image, test_hostile_release, test_default)
