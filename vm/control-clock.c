/* `lkvm debug --clock`: the clocks of a guest beside those of the host; see control.h. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>

#include "lkvm/chips.h"
#include "lkvm/clock.h"
#include "lkvm/json.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/platform.h"
#include "lkvm/x86/clock.h"
#include "vm-internal.h"

#define SECOND    ((uint64_t)NS_PER_S)
#define PIT_HZ    1193182
#define PIT_UNSET 0xff /* KVM's mode of a channel that nobody has set */

/* ---- what is shown ---- */

struct clocks {
	struct clock_moment at;
	struct clock_guest guest;
	int64_t behind_ns; /* of the guest's time of day, if that is told */
	struct rtc_view rtc;
	struct kvm_pit_state2 pit;
};

static void look(const struct control *ctl, struct clocks *ret)
{
	const struct kvm_fds fds = kvm_fds_of(ctl->kvm, 0);

	*ret = (struct clocks){ .pit.channels[0].mode = PIT_UNSET };
	clock_look(&fds, &ret->at);
	clock_guest_look(&fds, &ret->guest);
	ret->behind_ns = (int64_t)(ret->at.realtime_ns - (ret->guest.wall_ns + ret->at.clock_ns));
	platform_rtc(ctl->platform, &ret->rtc);
	ioctl(fds.vm_fd, KVM_GET_PIT2, &ret->pit);
}

struct counter {
	uint64_t tsc;
	uint32_t khz;
	int64_t apart; /* ticks that it is ahead of the first vCPU's */
};

/* Exact where KVM tells the offsets, else up to the microseconds between two looks */
static struct counter counter_of(const struct kvm *kvm, unsigned cpu, const struct clocks *clocks)
{
	const struct kvm_fds first = kvm_fds_of(kvm, 0), fds = kvm_fds_of(kvm, cpu);
	struct counter ret = { .khz = clock_tsc_khz(&fds) };
	struct clock_moment at = { 0 };
	uint64_t mine, its;

	if (clock_look(&fds, &at))
		return ret;
	ret.tsc = at.tsc;
	if (!clock_tsc_offset(&fds, &mine) && !clock_tsc_offset(&first, &its))
		ret.apart = (int64_t)(mine - its);
	else
		ret.apart = (int64_t)(at.tsc - clocks->at.tsc) -
			    clock_ticks((int64_t)(at.clock_ns - clocks->at.clock_ns), ret.khz);
	return ret;
}

/* ---- as text ---- */

static void print_date(FILE *out, int64_t seconds)
{
	time_t time = seconds;
	struct tm tm;

	if (gmtime_r(&time, &tm))
		fprintf(out, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
			tm.tm_hour, tm.tm_min, tm.tm_sec);
	else
		fprintf(out, "%" PRId64 " s", seconds);
}

static void print_time(FILE *out, uint64_t ns)
{
	print_date(out, (int64_t)(ns / SECOND));
	fprintf(out, ".%09" PRIu64 " UTC", ns % SECOND);
}

static void print_seconds(FILE *out, uint64_t ns)
{
	fprintf(out, "%" PRIu64 ".%09" PRIu64 " s", ns / SECOND, ns % SECOND);
}

static void print_wall(FILE *out, const struct clocks *c)
{
	static const char *const why_not[] = {
		[CLOCK_WALL_NONE] = "the guest has not asked for it",
		[CLOCK_WALL_BAD] = "the guest wants it where it has no RAM",
		[CLOCK_WALL_BUSY] = "half written",
	};
	const bool ahead = c->behind_ns < 0;

	if (c->guest.wall != CLOCK_WALL_TOLD) {
		fprintf(out, "%s\n", why_not[c->guest.wall]);
		return;
	}
	print_time(out, c->guest.wall_ns + c->at.clock_ns);
	fputs(", ", out);
	print_seconds(out, ahead ? 0 - (uint64_t)c->behind_ns : (uint64_t)c->behind_ns);
	fprintf(out, " %s the host's\n", ahead ? "ahead of" : "behind");
}

static void print_rtc(FILE *out, const struct rtc_view *rtc)
{
	print_date(out, rtc->time_s);
	fprintf(out, " UTC%s, ", rtc->held ? " (being set)" : "");
	if (rtc->has_alarm && rtc->alarm_s) {
		fputs("alarm at ", out);
		print_date(out, rtc->alarm_s);
		fputc('\n', out);
	} else {
		fprintf(out, "%s\n", rtc->has_alarm ? "alarm at no time" : "no alarm");
	}
}

static void print_pit(FILE *out, const struct kvm_pit_channel_state *channel)
{
	const bool again = channel->mode == 2 || channel->mode == 3;
	const uint64_t ns = channel->count * SECOND / PIT_HZ;

	if (channel->mode == PIT_UNSET)
		fputs("channel 0 is not set\n", out);
	else
		fprintf(out, "channel 0 in mode %u, %s %" PRIu64 ".%06" PRIu64 " ms\n", channel->mode,
			again ? "every" : "once after", ns / 1000000, ns % 1000000);
}

static void clock_text(const struct control *ctl, const struct clocks *c, FILE *out)
{
	fputs("host:         ", out);
	print_time(out, c->at.realtime_ns);
	fputs("\nhost, raw:    ", out);
	print_seconds(out, c->at.raw_ns);
	fputs("\nkvm-clock:    ", out);
	if (c->guest.used)
		print_seconds(out, c->at.clock_ns);
	else
		fputs("the guest does not use it", out);
	fputs("\ntime of day:  ", out);
	print_wall(out, c);
	fputs("RTC:          ", out);
	print_rtc(out, &c->rtc);
	fputs("PIT:          ", out);
	print_pit(out, &c->pit.channels[0]);
	fprintf(out, "\nvCPU %20s %10s %20s\n", "TSC", "kHz", "ahead of vCPU 0");
	for (unsigned i = 0; i < ctl->kvm->n_cpus; i++) {
		const struct counter n = counter_of(ctl->kvm, i, c);

		fprintf(out, "%4u %20" PRIu64 " %10" PRIu32 " %20" PRId64 "\n", i, n.tsc, n.khz, n.apart);
	}
}

/* ---- as JSON ---- */

static void clock_json(const struct control *ctl, const struct clocks *c, FILE *out)
{
	struct json json;

	json_init(&json, out);
	json.flat_depth = 2;
	json_object(&json, NULL);
	json_u64(&json, "host_realtime_ns", c->at.realtime_ns);
	json_u64(&json, "host_monotonic_raw_ns", c->at.raw_ns);
	json_bool(&json, "kvm_clock_used", c->guest.used);
	json_u64(&json, "kvm_clock_ns", c->at.clock_ns);
	if (c->guest.wall == CLOCK_WALL_TOLD) {
		json_u64(&json, "realtime_ns", c->guest.wall_ns + c->at.clock_ns);
		json_i64(&json, "behind_ns", c->behind_ns);
	}
	json_i64(&json, "rtc_seconds", c->rtc.time_s);
	if (c->rtc.has_alarm && c->rtc.alarm_s)
		json_i64(&json, "rtc_alarm_seconds", c->rtc.alarm_s);
	json_u64(&json, "pit_mode", c->pit.channels[0].mode);
	json_u64(&json, "pit_count", c->pit.channels[0].count);
	json_array(&json, "vcpus");
	for (unsigned i = 0; i < ctl->kvm->n_cpus; i++) {
		const struct counter n = counter_of(ctl->kvm, i, c);

		json_object(&json, NULL);
		json_u64(&json, "id", i);
		json_u64(&json, "tsc", n.tsc);
		json_u64(&json, "tsc_khz", n.khz);
		json_i64(&json, "tsc_apart", n.apart);
		json_end(&json);
	}
	json_end(&json);
	json_end(&json);
}

void control_clock(const struct control *ctl, bool json, FILE *out)
{
	struct clocks clocks;

	look(ctl, &clocks);
	(json ? clock_json : clock_text)(ctl, &clocks, out);
}
