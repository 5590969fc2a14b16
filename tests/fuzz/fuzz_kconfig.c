/* Links: vm/kconfig.o vm/kconfig-read.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/file.o hw/ram.o util/log.o */
/*
 * A kernel's configuration out of any bytes: text, packed text, bzImage, vmlinux. Whatever comes out
 * is text, and every option of the table has one of four values.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "lkvm/vm/kconfig.h"

static void check_way(const struct kconfig *k, const char *way)
{
	char *missing;
	bool all = kconfig_way(k, way, &missing);

	check(!all || !missing);
	free(missing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct kconfig k;
	char path[32];

	if (fd < 0)
		fd = memfd_create("file", 0);
	check(fd >= 0 && !ftruncate(fd, 0));
	check(pwrite(fd, data, size, 0) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (kconfig_read(path, &k))
		return 0;
	check(k.text.len && !memchr(k.text.bytes, 0, k.text.len));
	check(strspn(k.version, "0123456789abcdefghijklmnopqrstuvwxyz.-+_") == strlen(k.version));
	for (const struct kconfig_need *n = kconfig_needs; n->what; n++)
		for (size_t i = 0; i < 3 && n->ways[i]; i++)
			check_way(&k, n->ways[i]);
	kconfig_free(&k);
	return 0;
}
