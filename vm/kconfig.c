/*
 * What lkvm needs of a kernel's configuration: the table, and the look-up in the text of a .config.
 * vm/kconfig-read.c finds that text.
 */
#include "lkvm/vm/kconfig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct kconfig_need kconfig_needs[] = {
	{ "a 64-bit kernel", NULL, { "!64BIT" }, NULL },
	{ "the kernel's messages on the serial port", NULL,
	  { "!PRINTK !SERIAL_8250 !SERIAL_8250_CONSOLE" }, "TTY" },
	{ "the initramfs that lkvm makes", NULL, { "!BLK_DEV_INITRD !BINFMT_ELF" }, NULL },
	{ "scripts", NULL, { "BINFMT_SCRIPT" }, NULL },
	{ "the bus of lkvm's devices", NULL,
	  { "PCI VIRTIO_PCI", "VIRTIO_MMIO !ACPI", "VIRTIO_MMIO !VIRTIO_MMIO_CMDLINE_DEVICES" },
	  "VIRTIO_MENU" },
	{ "the host's files", NULL,
	  { "FUSE_FS VIRTIO_FS", "NET_9P NET_9P_VIRTIO 9P_FS" }, NULL },
	{ "a writable layer over the host's files", NULL, { "OVERLAY_FS !TMPFS" }, "SHMEM" },
	{ "/proc, /sys and /dev", NULL, { "!PROC_FS !SYSFS !DEVTMPFS" }, NULL },
	{ "the channel of the command", NULL, { "VIRTIO_CONSOLE" }, "VIRTIO_MENU" },
	{ "what lkvm's init waits with", NULL, { "!EPOLL !SIGNALFD" }, NULL },
	{ "a terminal for the command", NULL, { "!UNIX98_PTYS" }, "TTY" },

	{ "ACPI", "no power button, and devices over PCI have MSI-X only", { "!ACPI" }, NULL },
	{ "MSI interrupts", "PCI devices share slower interrupts", { "!PCI_MSI" }, "PCI" },
	{ "more than one CPU", "-c has no effect", { "!SMP" }, NULL },
	{ "KVM's clock", "a clock that is slow to read and drifts", { "!KVM_GUEST" },
	  "HYPERVISOR_GUEST PARAVIRT" },
	{ "the PVH entry", "a vmlinux is entered in an older way", { "!PVH" }, "HYPERVISOR_GUEST" },
	{ "disks", "-d has no effect", { "VIRTIO_BLK" }, "BLOCK BLK_DEV VIRTIO_MENU" },
	{ "random numbers of the host", "the guest starts with little entropy",
	  { "HW_RANDOM HW_RANDOM_VIRTIO" }, "VIRTIO_MENU" },
	{ "the generation ID", "guests that go on from one snapshot draw the same random numbers",
	  { "VMGENID" }, "VIRT_DRIVERS ACPI" },
	{ "virtio-fs with a window", "each guest has a copy of the host's page cache", { "!FUSE_DAX" },
	  "FUSE_FS VIRTIO_FS DAX ZONE_DEVICE" },
	{ "panics told by a device", "a panic is known by its message only",
	  { "PVPANIC PVPANIC_PCI", "PVPANIC PVPANIC_MMIO" }, NULL },
	{ "the configuration in the image", "lkvm cannot tell what an image lacks before it boots",
	  { "!IKCONFIG" }, NULL },
	{ 0 },
};

/* Is @at the name of an option in a line of its own? Then its value, else 0. */
static char value_at(const char *line, size_t before, const char *end, const char *at, size_t len)
{
	static const char prefix[] = "CONFIG_", unset[] = "# CONFIG_", is_not_set[] = " is not set";
	const char *behind = at + len;
	size_t left = (size_t)(end - behind);

	if (before == sizeof(unset) - 1 && !memcmp(line, unset, before))
		return left >= sizeof(is_not_set) - 1 &&
				       !memcmp(behind, is_not_set, sizeof(is_not_set) - 1) ?
			       'n' :
			       0;
	if (before != sizeof(prefix) - 1 || memcmp(line, prefix, before) || !left || *behind != '=')
		return 0;
	if (left >= 2 && (left == 2 || behind[2] == '\n' || behind[2] == '\r') &&
	    strchr("ymn", behind[1]) && behind[1])
		return behind[1];
	return '=';
}

static const char *line_of(const char *text, const char *at)
{
	const char *nl = memrchr(text, '\n', (size_t)(at - text));

	return nl ? nl + 1 : text;
}

/* As with make, the last line that says something holds. */
char kconfig_get(const struct kconfig *k, const char *name, size_t len)
{
	const char *text = (const char *)k->text.bytes, *end = text + k->text.len, *at = text;
	char value = 'n';

	while ((at = memmem(at, (size_t)(end - at), name, len))) {
		const char *line = line_of(text, at);
		char here = value_at(line, (size_t)(at - line), end, at, len);

		if (here)
			value = here;
		at++;
	}
	return value;
}

static void add(char **list, const char *name, int len)
{
	char *more;

	if (asprintf(&more, "%s%sCONFIG_%.*s", *list ? *list : "", *list ? ", " : "", len, name) < 0)
		return;
	free(*list);
	*list = more;
}

bool kconfig_way(const struct kconfig *k, const char *way, char **ret_missing)
{
	const bool modules = kconfig_get(k, "MODULES", 7) == 'y';
	char *missing = NULL;
	bool all = true;

	while (*way) {
		const bool must_be_in = *way == '!';
		const char *name = way + must_be_in;
		size_t len = strcspn(name, " ");
		char value = kconfig_get(k, name, len);

		if (value != 'y' && (value != 'm' || must_be_in || !modules)) {
			all = false;
			if (ret_missing)
				add(&missing, name, (int)len);
		}
		way = name + len + (name[len] == ' ');
	}
	if (ret_missing)
		*ret_missing = missing;
	return all;
}

bool kconfig_has(const struct kconfig *k, const struct kconfig_need *need)
{
	for (size_t i = 0; i < sizeof(need->ways) / sizeof(need->ways[0]) && need->ways[i]; i++)
		if (kconfig_way(k, need->ways[i], NULL))
			return true;
	return false;
}
