/* Links: vm/modules.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/file.o hw/ram.o util/log.o */
/* Modules made for the test, in folders as a build and an installation leave them. */
#include "lkvm/vm/modules.h"
#include "lkvm/vm/modinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "module-file.h"

static struct kernel kernel = { .image = own_folder, .modules = own_folder };

static void enter(enum kernel_modules kind)
{
	enter_own_folder();
	kernel.kind = kind;
}

/* @names and all they need are, in this order, @wanted; or it fails with @err */
static void needs(const char *names, int err, const char *wanted)
{
	struct module_list list = { 0 };
	char word[64], got[1024] = "";
	struct modules *m;
	int rc = 0, n;

	ck_assert_int_eq(modules_open(&kernel, &m), 0);
	for (; !rc && sscanf(names, "%63s%n", word, &n) == 1; names += n)
		rc = modules_add(m, word, &list);
	ck_assert_int_eq(rc, err);
	for (unsigned i = 0; i < list.n; i++) {
		ck_assert(!memcmp(list.list[i].file.bytes, ELFMAG, SELFMAG));
		strcat(strcat(got, i ? " " : ""), list.list[i].name);
	}
	if (!err)
		ck_assert_str_eq(got, wanted);
	module_list_free(&list);
	modules_close(m);
}

START_TEST(test_order)
{
	enter(KERNEL_INSTALLED);
	put_text("modules.order", "kernel/a/virtio.ko\nkernel/a/virtio-ring.ko\nkernel/b/virtio_pci.ko\n"
				  "kernel/b/virtiofs.ko\nkernel/b/lone.ko");
	put_text("modules.builtin", "kernel/fs/fuse.ko\n");
	put_module("kernel/a/virtio.ko", "depends=virtio_ring");
	put_module("kernel/a/virtio-ring.ko", "depends=");
	put_module("kernel/b/virtio_pci.ko", "license=GPL|depends=virtio,virtio-ring|name=virtio_pci");
	put_module("kernel/b/virtiofs.ko", "depends=fuse,virtio");
	put_module("kernel/b/lone.ko", "license=GPL");
	needs("virtio_pci", 0, "virtio_ring virtio virtio_pci");
	needs("virtio-pci virtiofs virtio lone", 0, "virtio_ring virtio virtio_pci virtiofs lone");
	needs("fuse", 0, "");
	needs("virtio_p", -ENOENT, NULL);
	needs("virtio_pci_", -ENOENT, NULL);
	ck_assert_int_eq(unlink("kernel/a/virtio-ring.ko"), 0);
	needs("virtio_pci", -ENOENT, NULL);
	leave_own_folder();
}
END_TEST

START_TEST(test_soft)
{
	enter(KERNEL_INSTALLED);
	put_text("modules.order", "kernel/a.ko\nkernel/b.ko\nkernel/c.ko\nkernel/d.ko\n");
	put_module("kernel/a.ko", "softdep=post: c pre: b missing|depends=d");
	put_module("kernel/b.ko", "depends=");
	put_module("kernel/c.ko", "depends=");
	put_module("kernel/d.ko", "softdep=pre: a"); /* a circle */
	needs("a", 0, "b d a c");
	leave_own_folder();
}
END_TEST

/* ext4 asks for what its checksums need by the alias that several modules have. */
START_TEST(test_soft_alias)
{
	static const char builtin[] = "crc32c_generic.license=GPL\0crc32c_generic.alias=crypto-crc32c";

	enter(KERNEL_INSTALLED);
	put_text("modules.order", "kernel/ext4.ko\nkernel/crc32c-intel.ko\nkernel/crc32c_generic.ko\nkernel/x.ko\n");
	put_module("kernel/ext4.ko", "softdep=pre: crypto-crc32c crypto-none|depends=x");
	put_module("kernel/crc32c-intel.ko", "alias=crypto-crc32c-|alias=crypto-crc32c");
	put_module("kernel/crc32c_generic.ko", "alias=crc32c|alias=crypto-crc32c*");
	put_module("kernel/x.ko", "alias=crypto-crc32");
	needs("ext4", 0, "crc32c_intel crc32c_generic x ext4");
	put_text("modules.alias", "# made by depmod\nalias crypto-crc32c x\nalias\nalias crypto_crc32c crc32c_generic\n");
	needs("ext4", 0, "x crc32c_generic ext4");
	put("modules.builtin.modinfo", builtin, sizeof(builtin));
	needs("ext4", 0, "x ext4");
	leave_own_folder();
}
END_TEST

START_TEST(test_build)
{
	enter(KERNEL_BUILT);
	put_text("modules.order", "fs/fuse/fuse.o\nkernel/fs/old.ko\nkernel/trace/t.ko\nkernel/kernel/u.ko\n");
	put_module("fs/fuse/fuse.ko", "depends=");
	put_module("fs/old.ko", "depends=fuse");
	put_module("kernel/trace/t.ko", "depends=u");
	put_module("kernel/u.ko", "depends=");
	needs("fuse", 0, "fuse");
	needs("old", 0, "fuse old");
	needs("t", 0, "u t");
	leave_own_folder();
}
END_TEST

START_TEST(test_packed)
{
	enter(KERNEL_INSTALLED);
	put_text("modules.dep", "kernel/a.ko.gz: kernel/b.ko\n");
	put_text("modules.order", "kernel/b.ko\n");
	put_module("kernel/a.ko", "depends=b");
	put_module("kernel/b.ko", "depends=");
	ck_assert_int_eq(system("gzip kernel/a.ko kernel/b.ko"), 0);
	needs("a", 0, "b a");
	ck_assert_int_eq(truncate("kernel/b.ko.gz", 60), 0);
	needs("a", -ENOEXEC, NULL);
	leave_own_folder();
}
END_TEST

START_TEST(test_no_folder)
{
	kernel.modules = NULL;
	needs("virtio", -ENOENT, NULL);
	kernel.modules = own_folder;
}
END_TEST

START_TEST(test_find)
{
	struct modules *m;

	enter(KERNEL_INSTALLED);
	put_text("modules.order", "kernel/9pnet.ko\n");
	put_text("modules.builtin", "kernel/virtio.ko\n");
	ck_assert_int_eq(modules_open(&kernel, &m), 0);
	ck_assert_int_eq(modules_find(m, "9pnet"), MODULE_FILE);
	ck_assert_int_eq(modules_find(m, "virtio"), MODULE_BUILT_IN);
	ck_assert_int_eq(modules_find(m, "9p"), MODULE_NONE);
	ck_assert_int_eq(modules_find(m, ""), MODULE_NONE);
	modules_close(m);
	leave_own_folder();
}
END_TEST

/* What is read of a file of @len bytes; both ways are one */
static int read_info(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len + !len);
	struct modinfo info, of_file;
	int err, fd = memfd_create("module", 0);

	memcpy(copy, bytes, len);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	err = modinfo_find(copy, len, &info);
	ck_assert_int_eq(modinfo_read(fd, &of_file), err);
	if (!err) {
		ck_assert_uint_eq(of_file.len, info.len);
		ck_assert(!memcmp(of_file.text, info.text, info.len));
		modinfo_next(&info, "depends", NULL);
		modinfo_next(&info, "softdep", NULL);
		modinfo_free(&info);
		modinfo_free(&of_file);
	}
	close(fd);
	free(copy);
	return err;
}

/* Whatever of it is changed or cut off, nothing behind the file is read, and a module is never half there. */
START_TEST(test_damaged)
{
	static const uint8_t with[] = { 0, 1, 0x7f, 0x80, 0xff };
	uint8_t bytes[1024];
	size_t len = make_module("depends=a,b|softdep=pre: c", bytes);

	ck_assert_int_eq(read_info(bytes, len), 0);
	for (size_t at = 0; at < len; at++) {
		uint8_t was = bytes[at];

		for (size_t i = 0; i < sizeof(with); i++) {
			bytes[at] = with[i];
			read_info(bytes, len);
		}
		bytes[at] = was;
	}
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_int_eq(read_info(bytes, cut), -ENOEXEC);
}
END_TEST

START_TEST(test_damaged_file)
{
	enter(KERNEL_INSTALLED);
	put_text("modules.order", "kernel/a.ko\nkernel/long.ko\n");
	put_text("kernel/a.ko", "not ELF");
	needs("a", -ENOEXEC, NULL);
	put_text("kernel/a.ko", "");
	needs("a", -ENOEXEC, NULL);
	put_module("kernel/long.ko", "depends=0123456789012345678901234567890123456789012345678901234567890123");
	needs("long", -ENOEXEC, NULL);
	leave_own_folder();
}
END_TEST

UNIT_MAIN("modules", test_order, test_soft, test_soft_alias, test_build, test_packed, test_no_folder, test_find, test_damaged,
	  test_damaged_file)
