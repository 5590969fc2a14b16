/*
 * `lkvm balloon`, and what the guest's kernel says of its memory for `lkvm stat`; see control.h. Who asks for either
 * may have to wait for the guest: until it has followed, or has sent statistics, or for as long as he likes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/json.h"
#include "lkvm/timer.h"
#include "lkvm/types.h"
#include "lkvm/virtio-balloon.h"
#include "lkvm/vm/control.h"
#include "vm-internal.h"

#define STATS_MS 250 /* a guest that runs answers in much less, one that hangs does not */

struct waiting {
	struct waiting *next;
	struct control *ctl;
	struct ipc_client *client;
	struct timer timer;
	bool for_stats, json; /* else for the size */
	uint32_t n_stats;     /* there have been so many */
};

struct control_balloon {
	struct loop_source changed; /* eventfd */
	struct waiting *first;
};

static struct loop *loop_of(const struct control *ctl)
{
	return vm_loop(ctl->vm);
}

static struct balloon_view view_of(const struct control *ctl)
{
	struct balloon_view v;

	virtio_balloon_view(ctl->balloon, &v);
	return v;
}

/* ---- what is said of it ---- */

static struct ipc_balloon_end answer_of(const struct control *ctl)
{
	const struct balloon_view v = view_of(ctl);

	return (struct ipc_balloon_end){
		.ram_bytes = v.ram_bytes,
		.target_bytes = v.target_bytes,
		.actual_bytes = v.actual_bytes,
		.has_driver = v.driver,
	};
}

static bool is_bytes(unsigned tag)
{
	const char *name = virtio_balloon_stat_name(tag), *end = strstr(name, "_bytes");

	return end;
}

void control_balloon_text(const struct control *ctl, FILE *out)
{
	struct balloon_view v;
	char a[24], b[24];

	if (!ctl->balloon)
		return;
	v = view_of(ctl);
	fprintf(out, "balloon:  %s", ram_mb_text(v.actual_bytes, a, sizeof(a)));
	if (v.target_bytes != v.actual_bytes)
		fprintf(out, ", to be %s", ram_mb_text(v.target_bytes, b, sizeof(b)));
	fprintf(out, v.driver ? "; %lluMB of free memory were given back\n" : "; the guest has no driver for it\n",
		(unsigned long long)(v.reported_bytes / MIB));
	for (unsigned tag = 0; tag < BALLOON_STATS; tag++) {
		if (!(v.stats >> tag & 1))
			continue;
		fprintf(out, "  %-24s ", virtio_balloon_stat_name(tag));
		if (is_bytes(tag))
			fprintf(out, "%s\n", ram_mb_text(v.stat[tag], a, sizeof(a)));
		else
			fprintf(out, "%llu\n", (unsigned long long)v.stat[tag]);
	}
}

void control_balloon_json(const struct control *ctl, struct json *json)
{
	struct balloon_view v;

	if (!ctl->balloon) {
		json_str(json, "balloon", NULL);
		return;
	}
	v = view_of(ctl);
	json_object(json, "balloon");
	json_bool(json, "driver", v.driver);
	json_u64(json, "bytes", v.actual_bytes);
	json_u64(json, "target_bytes", v.target_bytes);
	json_u64(json, "reported_bytes", v.reported_bytes);
	json_object(json, "stats");
	for (unsigned tag = 0; tag < BALLOON_STATS; tag++)
		if (v.stats >> tag & 1)
			json_u64(json, virtio_balloon_stat_name(tag), v.stat[tag]);
	json_end(json);
	json_end(json);
}

/* ---- who waits ---- */

static void forget(struct waiting *w)
{
	struct waiting **at = &w->ctl->balloon_waits->first;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	timer_fini(&w->timer);
	free(w);
}

/* There may be less to say than was hoped for. */
static void finish(struct waiting *w)
{
	struct control *ctl = w->ctl;
	struct ipc_client *client = w->client;
	const struct ipc_balloon_end end = answer_of(ctl);
	const bool for_stats = w->for_stats, json = w->json;
	struct ipc_reply reply;
	int err;

	forget(w);
	if (for_stats) {
		err = control_reply_stat(ctl, json, &reply);
		ipc_answer(client, err, reply.body, err ? 0 : reply.len);
	} else {
		ipc_answer(client, 0, &end, sizeof(end));
	}
}

static bool is_done(const struct waiting *w)
{
	const struct balloon_view v = view_of(w->ctl);

	if (w->for_stats)
		return v.n_stats != w->n_stats || !v.answers;
	return v.actual_bytes == v.target_bytes || !v.driver;
}

static void changed(struct loop_source *src, uint32_t events)
{
	struct control_balloon *waits = container_of(src, struct control_balloon, changed);
	struct waiting *next;

	(void)events;
	event_clear(src->fd);
	for (struct waiting *w = waits->first; w; w = next) {
		next = w->next;
		if (is_done(w))
			finish(w);
	}
}

static void is_late(struct timer *timer)
{
	finish(container_of(timer, struct waiting, timer));
}

static void gone(void *ctx)
{
	forget(ctx);
}

static const struct ipc_late late = { .gone = gone };

/* Once somebody has waited the device goes on telling: it does so rarely. */
static int watch(struct control *ctl)
{
	struct control_balloon *waits;
	int err;

	if (ctl->balloon_waits)
		return 0;
	waits = calloc(1, sizeof(*waits));
	if (!waits)
		return -ENOMEM;
	waits->changed = (struct loop_source){ event_open(0), changed };
	err = waits->changed.fd < 0 ? waits->changed.fd : loop_add(loop_of(ctl), &waits->changed, EPOLLIN);
	if (err) {
		if (waits->changed.fd >= 0)
			close(waits->changed.fd);
		free(waits);
		return err;
	}
	ctl->balloon_waits = waits;
	virtio_balloon_watch(ctl->balloon, waits->changed.fd);
	return 0;
}

/* Return: IPC_LATER, or -errno */
static int wait_for(const struct waiting *what, uint32_t ms)
{
	struct control *ctl = what->ctl;
	struct waiting *w;
	int err = watch(ctl);

	if (err)
		return err;
	w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = *what;
	w->next = ctl->balloon_waits->first;
	ctl->balloon_waits->first = w;
	timer_init(&w->timer, loop_of(ctl), CLOCK_MONOTONIC, is_late);
	w->timer.always = true; /* he waits for no guest that stands still */
	err = timer_set(&w->timer, now_ns() + ms * 1000000ULL);
	if (!err)
		err = ipc_later(w->client, &late, w);
	if (err < 0) {
		forget(w);
		return err;
	}
	event_signal(ctl->balloon_waits->changed.fd); /* it may have happened meanwhile */
	return IPC_LATER;
}

void control_end_balloon(struct control *ctl)
{
	static const char why[] = "the guest ended before";
	struct control_balloon *waits = ctl->balloon_waits;

	if (!waits)
		return;
	virtio_balloon_watch(ctl->balloon, -1);
	while (waits->first) {
		struct ipc_client *client = waits->first->client;

		forget(waits->first);
		ipc_answer(client, -ESHUTDOWN, why, strlen(why));
	}
	loop_del(loop_of(ctl), &waits->changed);
	close(waits->changed.fd);
	free(waits);
	ctl->balloon_waits = NULL;
}

/* ---- requests ---- */

int control_balloon_stats(struct control *ctl, bool json, struct ipc_reply *reply)
{
	struct waiting w = { .ctl = ctl, .client = reply->to, .for_stats = true, .json = json };
	struct balloon_view v;
	int err;

	if (!ctl->balloon || control_state(ctl->kvm) != IPC_RUNNING)
		return 0;
	v = view_of(ctl);
	if (!v.answers || !v.n_stats)
		return 0;
	w.n_stats = v.n_stats;
	err = wait_for(&w, STATS_MS);
	if (err == IPC_LATER)
		virtio_balloon_ask(ctl->balloon);
	return err == IPC_LATER ? err : 0; /* else he gets those that came last */
}

/* Of the guest's memory, without the balloon. Return: 0 or -errno */
static int size_of(const struct balloon_view *v, const struct ipc_size *req, uint64_t *ret)
{
	const uint64_t now = v->ram_bytes - v->actual_bytes;

	switch (req->how) {
	case IPC_SIZE_THAT:
		*ret = req->bytes;
		break;
	case IPC_SIZE_MORE:
		*ret = req->bytes <= v->actual_bytes ? now + req->bytes : UINT64_MAX;
		break;
	case IPC_SIZE_LESS:
		*ret = req->bytes <= now ? now - req->bytes : UINT64_MAX;
		break;
	case IPC_SIZE_MAX:
		*ret = v->ram_bytes;
		break;
	default:
		return -EINVAL;
	}
	if (*ret % BALLOON_PAGE_BYTES)
		return -EINVAL;
	return *ret && *ret <= v->ram_bytes ? 0 : -ERANGE;
}

int control_balloon(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct waiting w = { .ctl = ctl, .client = reply->to };
	struct ipc_balloon_end end;
	struct balloon_view v;
	struct ipc_size req;
	uint64_t bytes;
	int err = 0;

	memcpy(&req, body, sizeof(req));
	if (!ctl->balloon)
		return -ENODEV;
	v = view_of(ctl);
	if (req.how != IPC_SIZE_SHOW) {
		err = size_of(&v, &req, &bytes);
		if (err == -EINVAL)
			return err;
		if (!err)
			virtio_balloon_set(ctl->balloon, v.ram_bytes - bytes);
	}
	if (!err && req.wait_ms && !is_done(&w))
		return wait_for(&w, req.wait_ms);
	end = answer_of(ctl);
	memcpy(reply->body, &end, sizeof(end));
	reply->len = sizeof(end);
	return err;
}
