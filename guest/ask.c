/* See ask.h. */
#include "ask.h"

#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <time.h>

#define NS_PER_S (1000 * NS_PER_MS)

/* ---- WAKE ---- */

static void add_seed(const uint8_t *seed)
{
	struct {
		struct rand_pool_info head;
		uint8_t bytes[SESSION_SEED_BYTES];
	} pool = { .head = { .entropy_count = 8 * SESSION_SEED_BYTES, .buf_size = SESSION_SEED_BYTES } };
	long fd = SYS(open, "/dev/urandom", O_WRONLY | O_CLOEXEC);

	memcpy(pool.bytes, seed, sizeof(pool.bytes));
	if (fd < 0) {
		complain(fd, "open", "/dev/urandom");
		return;
	}
	SYS(ioctl, fd, RNDADDENTROPY, &pool);
	SYS(ioctl, fd, RNDRESEEDCRNG, 0); /* at once, where the kernel knows that */
	SYS(close, fd);
}

void take_wake(const uint8_t *body, size_t len)
{
	struct session_wake wake;
	struct timespec now;

	if (len != sizeof(wake) && len != SESSION_WAKE_NO_SEED)
		channel_broken("a wake of a wrong size");
	memcpy(&wake, body, len);
	now = (struct timespec){ (long)(wake.realtime_ns / NS_PER_S), (long)(wake.realtime_ns % NS_PER_S) };
	SYS(clock_settime, CLOCK_REALTIME, &now);
	if (len == sizeof(wake))
		add_seed(wake.seed);
}

/* ---- ASK ---- */

/* Return: it is all there */
static bool take_plan(struct channel_parts *plan, const struct session_frame *frame, const uint8_t *body)
{
	channel_collect(plan, frame, body);
	if (frame->flags & SESSION_MORE)
		return false;
	if (!plan->len || plan->body[plan->len - 1])
		channel_broken("a plan has no end");
	return true;
}

char *ask_plan(struct channel *ch, size_t *ret_len)
{
	struct channel_parts plan = { 0 };
	struct session_frame frame;
	bool whole = false;
	uint8_t *body;

	channel_send(ch, SESSION_ASK, 0, 0, NULL, 0);
	while (!whole && !ch->closed) {
		struct pollfd fd = { .fd = ch->fd, .events = POLLIN };

		channel_flush(ch);
		fd.events |= ch->out_end > ch->out_at ? POLLOUT : 0;
		SYS(poll, &fd, 1, -1);
		channel_fill(ch);
		while (!whole && channel_next(ch, &frame, &body)) {
			if (frame.type == SESSION_PLAN)
				whole = take_plan(&plan, &frame, body);
			else if (frame.type == SESSION_WAKE)
				take_wake(body, frame.len);
			else if (frame.type == SESSION_BYE)
				power_off();
			else
				channel_broken("a frame before its plan");
		}
	}
	if (!whole)
		power_off();
	*ret_len = plan.len;
	return (char *)plan.body;
}
