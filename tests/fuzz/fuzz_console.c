/* Links: console/scan.o console/keys.o util/log.o */
/* What the guest prints and what the user types: reports stay plain text in whole lines. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/console/keys.h"
#include "lkvm/console/scan.h"

static void check_text(const char *s, const char *also)
{
	for (; *s; s++)
		assert((*s >= ' ' && *s <= '~') || strchr(also, *s));
}

/* The same bytes in pieces of another size must mean the same. */
static void feed(struct console_scan *scan, const uint8_t *data, size_t len, size_t piece)
{
	while (len) {
		size_t n = len < piece ? len : piece;

		console_scan_feed(scan, data, n);
		data += n;
		len -= n;
	}
}

static void check_last(const struct console_scan *scan, size_t cap)
{
	char *all = malloc(SCAN_LINES * SCAN_LINE_BYTES + 1), *last = malloc(cap ? cap : 1);
	size_t all_len, len;

	assert(all && last);
	console_scan_last(scan, all, SCAN_LINES * SCAN_LINE_BYTES + 1);
	check_text(all, "\n");
	all_len = strlen(all);
	console_scan_last(scan, last, cap);
	if (cap) {
		/* a tail of it, from the start of a line */
		len = strlen(last);
		assert(len <= all_len && !memcmp(all + all_len - len, last, len));
		assert(len == all_len || all[all_len - len - 1] == '\n');
	}
	free(all);
	free(last);
}

static void check_scan(const uint8_t *data, size_t len, size_t piece, size_t cap)
{
	struct console_scan *scan = calloc(2, sizeof(*scan));

	assert(scan);
	feed(&scan[0], data, len, len);
	feed(&scan[1], data, len, piece);
	assert(!memcmp(&scan[0], &scan[1], sizeof(*scan)));
	check_text(scan->panic, "");
	/* What cannot be unpacked says so in words of its own, and halts. */
	assert(!*scan->panic || scan->halted ||
	       !strncmp(scan->panic, "Kernel panic - not syncing", 26));
	assert(!scan->halted || *scan->panic);
	check_last(scan, cap);
	free(scan);
}

/* Stripped once, there is nothing left to be stripped, and nothing that a terminal would answer. */
static void check_strip(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);
	size_t n;

	assert(text);
	memcpy(text, data, len);
	n = console_scan_strip(text, len);
	assert(n <= len);
	for (size_t i = 0; i < n; i++)
		assert((uint8_t)text[i] >= ' ' ? text[i] != 0x7f : text[i] && strchr("\b\t\n\r", text[i]));
	assert(console_scan_strip(text, n) == n);
	free(text);
}

static void check_keys(const uint8_t *data, size_t len)
{
	struct console_keys keys = { 0 };
	size_t ctrl_a = 0, sent = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t byte;
		enum key_action action = console_keys_feed(&keys, data[i], &byte);

		if (keys.escaped) {
			assert(data[i] == 1 && action == KEY_NOTHING);
			ctrl_a++;
		}
		sent += action == KEY_SEND;
		assert(action != KEY_SEND || byte == data[i] || (byte == 1 && data[i] == 'a'));
	}
	assert(sent <= len - ctrl_a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 2)
		return 0;
	check_keys(data, len);
	check_strip(data, len);
	check_scan(data + 2, len - 2, 1 + data[0] % 32, (size_t)data[1] * 16);
	return 0;
}
