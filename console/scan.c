/* The guest's kernel messages; see console-scan.h. */
#include "lkvm/console/scan.h"

#include <string.h>

#define ENDING_LINES 4 /* of other CPUs, say, behind the announcement of an end */

static const char *skip_digits(const char *s)
{
	return s + strspn(s, "0123456789");
}

/* "<6>": a message's level, with console_msg_format=syslog. Return: behind it, or @s. */
static const char *skip_level(const char *s)
{
	const char *end = *s == '<' ? skip_digits(s + 1) : s;

	return end > s + 1 && *end == '>' ? end + 1 : s;
}

/* "[    1.234567]". Return: behind it, or @s. */
static const char *skip_stamp(const char *s)
{
	const char *seconds, *dot, *end;

	if (*s != '[')
		return s;
	seconds = s + 1 + strspn(s + 1, " ");
	dot = skip_digits(seconds);
	if (dot == seconds || *dot != '.')
		return s;
	end = skip_digits(dot + 1);
	return end > dot + 1 && *end == ']' ? end + 1 : s;
}

/* "[   T1]" or "[   C0]": thread or CPU, with CONFIG_PRINTK_CALLER. Return: behind it, or @s. */
static const char *skip_caller(const char *s)
{
	const char *id, *end;

	if (*s != '[')
		return s;
	id = s + 1 + strspn(s + 1, " ");
	if (*id != 'T' && *id != 'C')
		return s;
	end = skip_digits(id + 1);
	return end > id + 1 && *end == ']' ? end + 1 : s;
}

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

static const char panic_mark[] = "Kernel panic - not syncing";
static const char garbled_panic[] = "Kernel panic - not syncing (why is mixed with other output)";

/* @text is part of a line, so no longer than one. */
static void set_panic(struct console_scan *scan, const char *text, bool stamped)
{
	if (*scan->panic && strcmp(scan->panic, garbled_panic) != 0)
		return;
	strcpy(scan->panic, text);
	scan->panic_stamped = stamped || scan->bare_kernel;
}

/*
 * While a kernel panics its other CPUs still print: output of user space may stand between any two
 * letters of the panic's own line. Its notifier that tells where the kernel was loaded comes later,
 * when only one CPU is left, and prints in no other case.
 */
static bool is_panic_notifier(const char *text)
{
	return starts_with(text, "Kernel Offset: 0x") ||
	       starts_with(text, "Kernel Offset: disabled");
}

static bool check_panic(struct console_scan *scan, const char *text, bool stamped)
{
	static const char end_mark[] = "---[ end ";
	bool end = starts_with(text, end_mark);

	if (end)
		text += strlen(end_mark);
	if (is_panic_notifier(text))
		text = garbled_panic;
	else if (!starts_with(text, panic_mark))
		return false;
	scan->halted |= end;
	set_panic(scan, text, stamped);
	return true;
}

/* Does @s say @what, and nothing more than a full stop? */
static bool is_sentence(const char *s, const char *what)
{
	size_t len = strlen(what);

	return !strncmp(s, what, len) && !s[len + (s[len] == '.')];
}

/* Linux has "reboot: " before these since 3.10; without it, only a time tells them from other words. */
static enum console_ending linux_ending(const char *text, bool stamped)
{
	static const char prefix[] = "reboot: ", command[] = "Restarting system with command ";
	bool prefixed = starts_with(text, prefix);

	if (prefixed)
		text += strlen(prefix);
	if (!prefixed && !stamped)
		return SCAN_GOES_ON;
	if (is_sentence(text, "Restarting system") || starts_with(text, command) ||
	    (prefixed && is_sentence(text, "machine restart")))
		return SCAN_RESTARTS;
	if (is_sentence(text, "Power down"))
		return SCAN_POWERS_OFF;
	return is_sentence(text, "System halted") ? SCAN_HALTS : SCAN_GOES_ON;
}

/* A kernel that ends in good order has not panicked: if only the end has a time, somebody else spoke. */
static void set_ending(struct console_scan *scan, enum console_ending ending, bool stamped)
{
	scan->ending = ending;
	scan->ending_at = scan->n_done + 1;
	if (!stamped || scan->panic_stamped)
		return;
	*scan->panic = '\0';
	scan->halted = false;
}

/*
 * A kernel begins. If others have printed a panic without a time before, it was no old log: that kernel is
 * gone, and this is the one for its crash.
 */
static void check_begin(struct console_scan *scan, const char *text, bool stamped)
{
	static const char banner[] = "Linux version ";
	const char digit = starts_with(text, banner) ? text[strlen(banner)] : 'x';

	scan->stamps |= stamped;
	if (digit < '0' || digit > '9')
		return;
	scan->bare_kernel = !scan->stamps;
	scan->panic_stamped |= stamped && *scan->panic;
}

static void check_message(struct console_scan *scan, const char *text, bool stamped)
{
	enum console_ending ending;

	check_begin(scan, text, stamped);
	/* Where the kernel's lines have a time, others are somebody else's. */
	if (scan->message && (stamped || !scan->stamps))
		scan->message(scan->ctx, text);
	if (check_panic(scan, text, stamped))
		return;
	ending = linux_ending(text, stamped);
	if (ending != SCAN_GOES_ON)
		set_ending(scan, ending, stamped);
}

static char *current(struct console_scan *scan)
{
	return scan->line[scan->n_done % SCAN_LINES];
}

/* What others say, always alone on a line: the BSDs, and the program that unpacks a Linux kernel. */
static void check_foreign(struct console_scan *scan, const char *line)
{
	const char *before = scan->n_done ? scan->line[(scan->n_done - 1) % SCAN_LINES] : line;

	if (is_sentence(line, "The operating system has halted"))
		set_ending(scan, SCAN_HALTS, false);
	if (!is_sentence(line, " -- System halted"))
		return;
	scan->halted = true; /* the line before says why */
	set_panic(scan, before, false);
}

/*
 * A message starts its line, or follows output of user space that did not end its own line: then
 * only the time stamp tells the kernel's words from somebody else's.
 */
static void check_line(struct console_scan *scan, const char *line)
{
	for (const char *s = line; s; s = strchr(s + 1, '[')) {
		const char *from = s == line ? skip_level(s) : s;
		const char *text = skip_stamp(from);
		bool stamped;

		if (s > line && text == from)
			continue;
		stamped = text > from;
		text = skip_caller(text);
		if (text > from && *text == ' ')
			text++;
		check_message(scan, text, stamped);
	}
	check_foreign(scan, line);
}

static void end_line(struct console_scan *scan)
{
	if (!scan->len)
		return;
	current(scan)[scan->len] = '\0';
	check_line(scan, current(scan));
	scan->n_done++;
	scan->len = 0;
}

static void add_text(struct console_scan *scan, uint8_t c)
{
	if (scan->len < SCAN_LINE_BYTES - 1)
		current(scan)[scan->len++] = c < 0x80 ? (char)c : '?';
}

/* Inside an escape sequence: what state does printable @c lead to? (ECMA-48, 5.3 to 5.6) */
static enum console_scan_state next_state(enum console_scan_state state, uint8_t c)
{
	switch (state) {
	case SCAN_ESC:
		if (c < '0')
			return SCAN_ESC;
		return c == '[' ? SCAN_CSI : c == ']' ? SCAN_OSC : SCAN_TEXT;
	case SCAN_CSI:
		return c < '@' ? SCAN_CSI : SCAN_TEXT;
	case SCAN_OSC:
		return SCAN_OSC;
	case SCAN_TEXT:
		break;
	}
	return SCAN_TEXT;
}

static bool is_control(uint8_t c)
{
	return c < ' ' || c == 0x7f;
}

/* And to what state does control character @c lead? */
static enum console_scan_state state_after(enum console_scan_state state, uint8_t c)
{
	if (c == 0x1b)
		return SCAN_ESC;
	return c == '\n' || c == '\a' ? SCAN_TEXT : state; /* no sequence goes on over these */
}

static void feed_control(struct console_scan *scan, uint8_t c)
{
	if (c == '\n')
		end_line(scan);
	if (c == '\t' && scan->state == SCAN_TEXT)
		add_text(scan, ' ');
	scan->state = state_after(scan->state, c);
}

static void feed_byte(struct console_scan *scan, uint8_t c)
{
	if (is_control(c))
		feed_control(scan, c);
	else if (scan->state != SCAN_TEXT)
		scan->state = next_state(scan->state, c);
	else
		add_text(scan, c);
}

void console_scan_feed(struct console_scan *scan, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		feed_byte(scan, buf[i]);
}

size_t console_scan_strip(char *text, size_t len)
{
	enum console_scan_state state = SCAN_TEXT;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];

		if (is_control(c) ? c && strchr("\b\t\n\r", c) : state == SCAN_TEXT)
			text[n++] = text[i];
		state = is_control(c) ? state_after(state, c) : next_state(state, c);
	}
	return n;
}

enum console_ending console_scan_ending(const struct console_scan *scan)
{
	return scan->n_done - scan->ending_at <= ENDING_LINES ? scan->ending : SCAN_GOES_ON;
}

bool console_scan_silent(const struct console_scan *scan)
{
	return scan->n_done == scan->ending_at && !scan->len;
}

static size_t length(const struct console_scan *scan, uint64_t n)
{
	return n == scan->n_done ? scan->len : strlen(scan->line[n % SCAN_LINES]);
}

void console_scan_last(const struct console_scan *scan, char *ret, size_t cap)
{
	uint64_t end = scan->n_done + (scan->len > 0);
	uint64_t oldest = scan->n_done < SCAN_LINES ? 0 : scan->n_done - SCAN_LINES + 1;
	uint64_t first = end;
	size_t used = 1;

	if (!cap)
		return;
	while (first > oldest && length(scan, first - 1) + 1 <= cap - used)
		used += length(scan, --first) + 1;
	for (; first < end; first++) {
		size_t len = length(scan, first);

		memcpy(ret, scan->line[first % SCAN_LINES], len);
		ret[len] = '\n';
		ret += len + 1;
	}
	*ret = '\0';
}
