/* Messages to the user; see log.h. Each message is one write(2), so lines of threads never mix. */
#include "lkvm/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/types.h"

#define LINE_MAX_BYTES 1024

static const struct {
	const char *name;
	enum log_topic topic;
} log_topics[] = {
	{ "boot", LOG_BOOT }, { "ram", LOG_RAM }, { "ioport", LOG_IOPORT }, { "mmio", LOG_MMIO },
	{ "cpu", LOG_CPU },   { "ipc", LOG_IPC }, { "device", LOG_DEVICE },
};

/* Standard error is the process's, and so is how it is written to. */
static atomic_uint topics_on;
static atomic_bool raw_tty;

/* Names come from the user and texts from the guest: neither may make lines or move the cursor. */
static void mask_controls(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			text[i] = '?';
}

/* One line under construction; the end of what is too long is cut. */
struct line {
	size_t len;
	char text[LINE_MAX_BYTES];
};

static void append_va(struct line *line, const char *fmt, va_list ap)
{
	size_t room = sizeof(line->text) - 1 - line->len; /* CR LF takes one byte more than NUL */
	int n = vsnprintf(line->text + line->len, room, fmt, ap);

	if (n > 0)
		line->len += (size_t)n < room ? (size_t)n : room - 1;
}

static void __attribute__((format(printf, 2, 3))) append(struct line *line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	append_va(line, fmt, ap);
	va_end(ap);
}

static void emit(const char *level, int err, const char *fmt, va_list ap)
{
	struct line line = { .len = 0 };

	append(&line, "lkvm: %s", level);
	append_va(&line, fmt, ap);
	if (err)
		append(&line, ": %s", strerror(-err));
	mask_controls(line.text, line.len);
	if (atomic_load(&raw_tty))
		line.text[line.len++] = '\r';
	line.text[line.len++] = '\n';
	/* A closed standard error is the user's wish; there is nowhere to complain about it. */
	if (write(STDERR_FILENO, line.text, line.len) < 0)
		return;
}

int log_err(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit("", err, fmt, ap);
	va_end(ap);
	return err;
}

int log_errx(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit("", 0, fmt, ap);
	va_end(ap);
	return err;
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit("warning: ", 0, fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit("", 0, fmt, ap);
	va_end(ap);
}

void log_debug(enum log_topic topic, const char *fmt, ...)
{
	va_list ap;

	if (!log_topic_on(topic))
		return;
	va_start(ap, fmt);
	emit("debug: ", 0, fmt, ap);
	va_end(ap);
}

bool log_topic_on(enum log_topic topic)
{
	return atomic_load_explicit(&topics_on, memory_order_relaxed) & topic;
}

static unsigned topic_of(const char *name, size_t len)
{
	if (len == 3 && !memcmp(name, "all", 3))
		return ~0U;
	for (size_t i = 0; i < ARRAY_SIZE(log_topics); i++)
		if (strlen(log_topics[i].name) == len && !memcmp(name, log_topics[i].name, len))
			return log_topics[i].topic;
	return 0;
}

int log_set_topics(const char *list)
{
	unsigned on = 0;

	while (list && *list) {
		size_t len = strcspn(list, ",");
		unsigned topic = topic_of(list, len);

		if (!topic)
			return -EINVAL;
		on |= topic;
		list += len;
		list += *list == ',';
	}
	atomic_store(&topics_on, on);
	return 0;
}

const char *log_topic_names(void)
{
	static char names[128];
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(log_topics); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s,", log_topics[i].name);
	snprintf(names + len, sizeof(names) - len, "all");
	return names;
}

void log_set_raw(bool raw)
{
	atomic_store(&raw_tty, raw);
}

bool ratelimit_ok(struct ratelimit *rl)
{
	const uint64_t window_ns = 10 * NS_PER_S, now = now_ns();

	if (!rl->window_start_ns || now - rl->window_start_ns > window_ns) {
		rl->window_start_ns = now;
		rl->count = 0;
	}
	if (rl->count < 5) {
		rl->count++;
		return true;
	}
	return false;
}
