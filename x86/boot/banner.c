/*
 * "Linux version 6.1.0-18-amd64 (builder) ...": what Linux says first, in every release, and what a
 * stripped image has too. The words stand in format strings as well.
 */
#include <string.h>

#include "lkvm/x86/boot.h"

#define BANNER	     "Linux version "
#define BANNER_BYTES (sizeof(BANNER) - 1)
#define RELEASE_MAX  (BOOT_RELEASE_BYTES - 1)

_Static_assert(BOOT_BANNER_BYTES == BANNER_BYTES + RELEASE_MAX + 2, "what a banner needs");

/* A release is a word that begins with a digit; who built it follows in parentheses. */
static bool take_release(const char *at, size_t len, char ret[BOOT_RELEASE_BYTES])
{
	size_t n = 0;

	while (n < len && n <= RELEASE_MAX && at[n] > ' ' && at[n] < 0x7f)
		n++;
	if (!n || n > RELEASE_MAX || at[0] < '0' || at[0] > '9' || len - n < 2 ||
	    memcmp(at + n, " (", 2) != 0)
		return false;
	memcpy(ret, at, n);
	ret[n] = '\0';
	return true;
}

/*
 * What memmem() does, a few times faster: it looks at every byte, memchr() at 32 of them at once, and
 * of the banner's letters the 'x' is the one that a kernel's code and texts have least.
 */
#define BANNER_X 4

static const char *find(const char *p, const char *end)
{
	const char *x;

	while ((size_t)(end - p) >= BANNER_BYTES &&
	       (x = memchr(p + BANNER_X, BANNER[BANNER_X], (size_t)(end - p) - BANNER_BYTES + 1))) {
		p = x - BANNER_X;
		if (!memcmp(p, BANNER, BANNER_BYTES))
			return p;
		p++;
	}
	return NULL;
}

bool boot_banner(const char *p, size_t len, char ret[BOOT_RELEASE_BYTES])
{
	const char *end = p + len;

	while ((p = find(p, end))) {
		p += BANNER_BYTES;
		if (take_release(p, (size_t)(end - p), ret))
			return true;
	}
	return false;
}
