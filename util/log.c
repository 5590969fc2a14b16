/*
 * Messages to the user; see log.h. Each message is one write(2), so lines of threads never mix, as
 * long as standard error takes it whole.
 */
#include "lkvm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/mask.h"
#include "lkvm/stream.h"
#include "lkvm/types.h"

#define LINE_MAX_BYTES 1024
#define PREFIX "lkvm: "

#define TOPIC(name_, bits_, help_) { name_, .kind = KEY_BITS, .bits = (bits_), .help = help_ }

const struct opt_key log_topic_keys[] = {
	TOPIC("boot", LOG_BOOT, "What was loaded where."),
	TOPIC("ram", LOG_RAM, "Memory advice that the host refused, placement."),
	TOPIC("ioport", LOG_IOPORT, "Accesses to ports that no device claims."),
	TOPIC("mmio", LOG_MMIO, "Accesses to memory addresses that nothing claims."),
	TOPIC("cpu", LOG_CPU, "Threads of virtual CPUs, model-specific registers."),
	TOPIC("ipc", LOG_IPC, "The control socket."),
	TOPIC("device", LOG_DEVICE, "Devices, and bytes written to ports 0x80, 0xe9 and 0x402."),
	TOPIC("all", ~0U, "All of these."),
	KEYS_END,
};

/* Standard error is the process's, and so is how it is written to. */
static atomic_uint topics_on;
static atomic_bool raw_tty;
static atomic_int patience_ms = -1;
static atomic_uint lost; /* messages that standard error did not take, and nobody was told of yet */
static atomic_bool cut;  /* it has taken a part of the last one */

/* ... as is the last failure: whoever reports it later did not pass it up as anything but -errno. */
static struct {
	pthread_mutex_t lock;
	char text[LINE_MAX_BYTES];
	bool hold;
} last_error = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Return: bytes that were taken until the reader stood still for too long, or left */
static size_t write_patiently(struct stream *err, const char *text, size_t len)
{
	struct pollfd room = { .fd = err->fd, .events = POLLOUT };
	int64_t until = now_ms() + atomic_load(&patience_ms);
	size_t done = 0;

	while (done < len) {
		ssize_t n = stream_write(err, text + done, len - done);
		int64_t left = until - now_ms();

		if (n > 0)
			done += (size_t)n;
		else if (n != -EAGAIN)
			return len; /* a closed one is the user's wish; there is nowhere to complain */
		else if (left <= 0)
			break;
		else
			poll(&room, 1, (int)left);
	}
	/* A reader that stood still once is not waited for again. */
	if (done < len)
		atomic_store(&patience_ms, 0);
	if (done)
		atomic_store(&cut, done < len);
	return done;
}

static bool tell_lost(struct stream *err)
{
	unsigned n = atomic_exchange(&lost, 0);
	char text[96];
	int len;

	if (!n)
		return true;
	len = snprintf(text, sizeof(text), "%slkvm: %u message%s lost: standard error was full%s\n",
		       atomic_load(&cut) ? "\n" : "", n, n == 1 ? " was" : "s were",
		       atomic_load(&raw_tty) ? "\r" : "");
	if (write_patiently(err, text, (size_t)len))
		return true;
	atomic_fetch_add(&lost, n);
	return false;
}

static void put(const char *text, size_t len)
{
	struct stream err;

	if (atomic_load(&patience_ms) < 0) {
		/* A closed standard error is the user's wish; there is nowhere to complain about it. */
		if (write(STDERR_FILENO, text, len) < 0)
			return;
		return;
	}
	stream_open(&err, STDERR_FILENO, O_WRONLY);
	if (!tell_lost(&err) || write_patiently(&err, text, len) < len)
		atomic_fetch_add(&lost, 1);
	stream_close(&err);
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

/* Return: is it kept only, and not to be printed? */
static bool keep_error(const struct line *line)
{
	bool hold;

	pthread_mutex_lock(&last_error.lock);
	snprintf(last_error.text, sizeof(last_error.text), "%.*s",
		 (int)(line->len - strlen(PREFIX)), line->text + strlen(PREFIX));
	hold = last_error.hold;
	pthread_mutex_unlock(&last_error.lock);
	return hold;
}

/* @level: what stands in front of the message; NULL: it is a failure */
static void emit(const char *level, int err, const char *fmt, va_list ap)
{
	struct line line = { .len = 0 };

	append(&line, PREFIX "%s", level ? level : "");
	append_va(&line, fmt, ap);
	if (err)
		append(&line, ": %s", strerror(-err));
	/* Names come from the user, texts from the guest: neither may make lines or move the cursor. */
	line.len = mask_text(line.text, line.len, "");
	if (!level && keep_error(&line))
		return;
	if (atomic_load(&raw_tty))
		line.text[line.len++] = '\r';
	line.text[line.len++] = '\n';
	put(line.text, line.len);
}

int log_err(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(NULL, err, fmt, ap);
	va_end(ap);
	return err;
}

int log_errx(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(NULL, 0, fmt, ap);
	va_end(ap);
	return err;
}

void log_last_error(char *ret, size_t cap)
{
	pthread_mutex_lock(&last_error.lock);
	snprintf(ret, cap, "%s", last_error.text);
	pthread_mutex_unlock(&last_error.lock);
}

void log_hold_errors(bool hold)
{
	pthread_mutex_lock(&last_error.lock);
	last_error.hold = hold;
	last_error.text[0] = '\0';
	pthread_mutex_unlock(&last_error.lock);
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

void log_set_topics(unsigned topics)
{
	atomic_store(&topics_on, topics);
}

void log_set_raw(bool raw)
{
	atomic_store(&raw_tty, raw);
}

void log_set_patience(int ms)
{
	atomic_store(&patience_ms, ms);
}

void log_text(const char *text, size_t len)
{
	put(text, len);
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
