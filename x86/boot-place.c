/* Where in guest memory things go: what the kernel must leave free, and room for small tables. */
#include "boot-internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

/* What boot_load() and x86/acpi.c write themselves. */
static const struct {
	uint64_t start, end;
	const char *what;
} taken[] = {
	{ 0, LAYOUT_FLAT, "boot GDT, zero page and page tables" },
	{ LAYOUT_CMDLINE, LAYOUT_CMDLINE + LAYOUT_CMDLINE_MAX, "command line" },
	{ LAYOUT_EBDA, LAYOUT_HIGH, "EBDA, video memory and ACPI tables" },
};

uint64_t boot_low_end(const struct ram *ram)
{
	return ram->part[0].start.v + ram->part[0].size_bytes;
}

void *boot_low(const struct ram *ram, uint64_t at, uint64_t len)
{
	void *host = NULL;
	int err = ram_window(ram, GPA(at), len, 1, &host);

	assert(!err && at < LAYOUT_HIGH && len <= LAYOUT_HIGH - at);
	(void)err;
	return host;
}

int boot_place_check(const struct boot *boot, uint64_t at, uint64_t len)
{
	uint64_t end = boot_low_end(boot->ram);

	if (at > end || len > end - at)
		return file_err(&boot->kernel, -EFBIG,
				"does not fit: it needs %#" PRIx64 " bytes at %#" PRIx64
				", but RAM ends at %#" PRIx64,
				len, at, end);
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		if (at < taken[i].end && taken[i].start < at + len)
			return file_err(&boot->kernel, -ENOEXEC,
					"wants [%#" PRIx64 ", %#" PRIx64
					"), which overlaps %s at [%#" PRIx64 ", %#" PRIx64 ")",
					at, at + len, taken[i].what, taken[i].start, taken[i].end);
	return 0;
}

int boot_info_alloc(struct boot *boot, size_t len, size_t align, gpa_t *ret_at, void **ret_host)
{
	uint64_t at = ALIGN_UP(boot->info_next, align);

	if (at > LAYOUT_BOOT_INFO_END || len > LAYOUT_BOOT_INFO_END - at)
		return file_err(&boot->kernel, -EFBIG,
				"boot information of %" PRIu64 " bytes exceeds %d bytes",
				at + len - LAYOUT_BOOT_INFO,
				LAYOUT_BOOT_INFO_END - LAYOUT_BOOT_INFO);
	*ret_host = memset(boot_low(boot->ram, at, len), 0, len);
	boot->info_next = at + len;
	*ret_at = GPA(at);
	return 0;
}

int boot_info_string(struct boot *boot, const char *str, gpa_t *ret_at)
{
	size_t len = strlen(str) + 1;
	void *host;
	int err = boot_info_alloc(boot, len, 1, ret_at, &host);

	if (!err)
		memcpy(host, str, len);
	return err;
}

int boot_cmdline_put(struct boot *boot, const char *first, const char *second, uint64_t max_bytes)
{
	size_t n1 = first ? strlen(first) : 0;
	size_t n2 = second ? strlen(second) : 0;
	size_t blank = n1 && n2 ? 1 : 0;
	size_t len = n1 + blank + n2;
	char *start, *p;

	if (max_bytes > LAYOUT_CMDLINE_MAX - 1)
		max_bytes = LAYOUT_CMDLINE_MAX - 1;
	if (len > max_bytes)
		return file_err(&boot->kernel, -EFBIG,
				"command line of %zu bytes, but this kernel takes %" PRIu64, len,
				max_bytes);
	start = p = boot_low(boot->ram, LAYOUT_CMDLINE, len + 1);
	if (n1)
		p = mempcpy(p, first, n1);
	if (blank)
		*p++ = ' ';
	if (n2)
		p = mempcpy(p, second, n2);
	*p = '\0';
	boot->cmdline = start;
	log_debug(LOG_BOOT, "command line at %#x: %s", LAYOUT_CMDLINE, start);
	return 0;
}
