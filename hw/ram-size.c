/* How much RAM a guest gets: the default and the grammar of -m; see ram.h. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/ram.h"

#define RAM_MIN_BYTES (64 * MIB)
#define PAGE_BYTES    4096ULL /* of the x86 guest, and of every host that can run one */

uint64_t ram_default_bytes(unsigned cpus, uint64_t host_bytes)
{
	uint64_t want = 64 * MIB * ((uint64_t)cpus + 3);
	/* Four fifths without overflow: 0.8 in whole numbers. */
	uint64_t most = host_bytes / 5 * 4 + host_bytes % 5 * 4 / 5;

	if (want > most)
		want = ALIGN_DOWN(most, PAGE_BYTES);
	return want < RAM_MIN_BYTES ? RAM_MIN_BYTES : want;
}

static int unit_shift(char unit)
{
	static const char units[] = "bkmgtp";
	const char *at;

	if (!unit)
		return 20;
	at = strchr(units, unit | 0x20);
	return at ? (int)(at - units) * 10 : -1;
}

enum ram_size_error ram_parse_size(const char *arg, uint64_t *ret)
{
	size_t digits = strspn(arg, "0123456789");
	int shift = unit_shift(arg[digits]);
	uint64_t value = 0;
	bool too_large = false;

	if (!digits || shift < 0 || (arg[digits] && arg[digits + 1]))
		return RAM_SIZE_SPECIFIER;
	for (size_t i = 0; i < digits; i++)
		too_large |= __builtin_mul_overflow(value, 10, &value) ||
			     __builtin_add_overflow(value, (uint64_t)(arg[i] - '0'), &value);
	if (!too_large && !value)
		return RAM_SIZE_ZERO;
	if (too_large || value > UINT64_MAX >> shift)
		return RAM_SIZE_OVERFLOW;
	value <<= shift;
	*ret = value;
	if (value < RAM_MIN_BYTES)
		return RAM_SIZE_SMALL;
	return value % PAGE_BYTES ? RAM_SIZE_PAGES : RAM_SIZE_OK;
}

const char *ram_mb_text(uint64_t bytes, char *buf, size_t cap)
{
	unsigned long long mb = bytes / MIB, part = bytes % MIB * 1000 / MIB;

	if (bytes % MIB)
		snprintf(buf, cap, "%llu.%03lluMB", mb, part);
	else
		snprintf(buf, cap, "%lluMB", mb);
	return buf;
}

uint64_t ram_host_bytes(const char **ret_failed)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long page_bytes = sysconf(_SC_PAGE_SIZE);
	uint64_t bytes;

	*ret_failed = pages <= 0 ? "_SC_PHYS_PAGES" : page_bytes <= 0 ? "_SC_PAGE_SIZE" : NULL;
	if (*ret_failed)
		return 0;
	if (__builtin_mul_overflow((uint64_t)pages, (uint64_t)page_bytes, &bytes))
		return UINT64_MAX;
	return bytes;
}

uint64_t ram_available_bytes(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * KIB;
}

/* The number in @dir/@file, or UINT64_MAX: there is none, or it is the word "max" */
static uint64_t read_limit(const char *dir, const char *file)
{
	unsigned long long bytes = UINT64_MAX;
	char path[PATH_MAX];
	FILE *f;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, file) >= sizeof(path))
		return UINT64_MAX;
	f = fopen(path, "re");
	if (!f)
		return UINT64_MAX;
	if (fscanf(f, "%llu", &bytes) != 1)
		bytes = UINT64_MAX;
	fclose(f);
	return bytes;
}

/* @dir is a cgroup below @root: the least of its limit and of all up to the root. */
static uint64_t least_limit(const char *root, char *dir, const char *file)
{
	uint64_t least = UINT64_MAX;

	while (strlen(dir) >= strlen(root)) {
		uint64_t limit = read_limit(dir, file);

		if (limit < least)
			least = limit;
		*strrchr(dir, '/') = '\0';
	}
	return least;
}

uint64_t ram_cgroup_bytes(void)
{
	/* Each line is "ID:CONTROLLERS:PATH"; version 2 has ID 0 and no controllers. */
	static const char v1[] = "/sys/fs/cgroup/memory", v2[] = "/sys/fs/cgroup";
	FILE *f = fopen("/proc/self/cgroup", "re");
	uint64_t least = UINT64_MAX, limit = UINT64_MAX;
	char line[PATH_MAX], dir[PATH_MAX + sizeof(v1)], *path;

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		path = strchr(line, '/');
		if (path && !strncmp(line, "0::", 3)) {
			snprintf(dir, sizeof(dir), "%s%s", v2, path);
			limit = least_limit(v2, dir, "memory.max");
		} else if (path && strstr(line, ":memory:")) {
			snprintf(dir, sizeof(dir), "%s%s", v1, path);
			limit = least_limit(v1, dir, "memory.limit_in_bytes");
		}
		if (limit < least)
			least = limit;
	}
	if (f)
		fclose(f);
	return least;
}
