/*
 * Where in guest memory things go. The kernel says first where it wants to lie: boot_claim(). What
 * lkvm itself puts into low memory then goes to its usual address, or makes way: boot_alloc().
 */
#include "boot-internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Written before any kernel is looked at, or no RAM on a PC */
static const struct boot_range fixed = { LAYOUT_EBDA, LAYOUT_HIGH,
					 "EBDA, video memory and ACPI tables" };

uint64_t boot_low_end(const struct ram *ram)
{
	unsigned n;
	const struct ram_part *part = ram_parts(ram, &n);

	return part->start.v + part->size_bytes;
}

void *boot_low(const struct ram *ram, uint64_t at, uint64_t len)
{
	void *host = ram_host(ram, GPA(at), len);

	assert(host);
	return host;
}

int boot_take(struct boot *boot, uint64_t at, uint64_t len, const char *what)
{
	if (boot->n_taken == BOOT_MAX_TAKEN)
		return file_err(&boot->kernel, -ENOEXEC, "has too many parts");
	boot->taken[boot->n_taken++] = (struct boot_range){ at, at + len, what };
	return 0;
}

const char *boot_size_hint(uint64_t at, uint64_t len, char ret[BOOT_HINT_BYTES])
{
	*ret = '\0';
	if (at < RAM_GAP_START && len <= RAM_GAP_START - at)
		snprintf(ret, BOOT_HINT_BYTES, "; -m %" PRIu64 " has room for it",
			 (uint64_t)(ALIGN_UP(at + len, MIB) / MIB));
	return ret;
}

static int no_ram(const struct boot *boot, uint64_t at, uint64_t len)
{
	char hint[BOOT_HINT_BYTES];

	return file_err(&boot->kernel, -EFBIG,
			"does not fit: it needs %#" PRIx64 " bytes at %#" PRIx64
			", but RAM ends at %#" PRIx64 "%s",
			len, at, boot_low_end(boot->ram), boot_size_hint(at, len, hint));
}

int boot_claim(struct boot *boot, uint64_t at, uint64_t len)
{
	uint64_t end = boot_low_end(boot->ram);

	if (at > end || len > end - at)
		return no_ram(boot, at, len);
	if (at < fixed.end && fixed.start < at + len)
		return file_err(&boot->kernel, -ENOEXEC,
				"wants [%#" PRIx64 ", %#" PRIx64
				"), which overlaps %s at [%#" PRIx64 ", %#" PRIx64 ")",
				at, at + len, fixed.what, fixed.start, fixed.end);
	return boot_take(boot, at, len, "kernel");
}

uint64_t boot_taken_end(const struct boot *boot)
{
	uint64_t end = LAYOUT_HIGH;

	for (unsigned i = 0; i < boot->n_taken; i++)
		if (boot->taken[i].end > end)
			end = boot->taken[i].end;
	return end;
}

static const struct boot_range *find_taken(const struct boot *boot, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < boot->n_taken; i++)
		if (start < boot->taken[i].end && boot->taken[i].start < end)
			return &boot->taken[i];
	return NULL;
}

/* The lowest free place in [@from, @to); every step ends behind something that is taken. */
static bool find_free(const struct boot *boot, uint64_t from, uint64_t to, uint64_t len,
		      uint64_t align, uint64_t *ret)
{
	const struct boot_range *taken;
	uint64_t at = ALIGN_UP(from, align);

	for (;;) {
		if (at > to || len > to - at)
			return false;
		taken = find_taken(boot, at, at + len);
		if (!taken)
			break;
		at = ALIGN_UP(taken->end, align);
	}
	*ret = at;
	return true;
}

int boot_alloc(struct boot *boot, const char *what, uint64_t want, uint64_t len, uint64_t align,
	       uint64_t *ret)
{
	uint64_t at;

	if (!find_free(boot, want, want + len, len, align, &at) &&
	    !find_free(boot, LAYOUT_LOW, LAYOUT_EBDA, len, align, &at) &&
	    !find_free(boot, LAYOUT_HIGH, boot_low_end(boot->ram), len, align, &at))
		return file_err(&boot->kernel, -EFBIG,
				"leaves no room in guest RAM for the %" PRIu64 " bytes of the %s",
				len, what);
	if (at != want)
		log_debug(LOG_BOOT, "%s at %#" PRIx64 ", because the kernel lies at %#" PRIx64,
			  what, at, want);
	*ret = at;
	return boot_take(boot, at, len, what);
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

int boot_cmdline_put(struct boot *boot, const char *const part[BOOT_CMDLINE_PARTS],
		     uint64_t max_bytes)
{
	size_t len = 0;
	char *start, *p;
	int err;

	for (unsigned i = 0; i < BOOT_CMDLINE_PARTS; i++)
		if (part[i] && *part[i])
			len += strlen(part[i]) + (len ? 1 : 0);
	if (max_bytes > LAYOUT_CMDLINE_MAX - 1)
		max_bytes = LAYOUT_CMDLINE_MAX - 1;
	if (len > max_bytes)
		return file_err(&boot->kernel, -EFBIG,
				"command line of %zu bytes, but this kernel takes %" PRIu64, len,
				max_bytes);
	err = boot_alloc(boot, "command line", LAYOUT_CMDLINE, len + 1, 1, &boot->cmdline_at);
	if (err)
		return err;
	start = p = boot_low(boot->ram, boot->cmdline_at, len + 1);
	for (unsigned i = 0; i < BOOT_CMDLINE_PARTS; i++) {
		if (!part[i] || !*part[i])
			continue;
		if (p != start)
			*p++ = ' ';
		p = mempcpy(p, part[i], strlen(part[i]));
	}
	*p = '\0';
	boot->cmdline = start;
	log_debug(LOG_BOOT, "command line at %#" PRIx64 ": %s", boot->cmdline_at, start);
	return 0;
}
