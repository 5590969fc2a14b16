/*
 * `lkvm mem`: how much memory a guest has, beyond what it was started with; see control.h. Who asks for more or less
 * may have to wait until the guest has followed, or for as long as he likes.
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
#include "lkvm/virtio-mem.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/control.h"
#include "vm-internal.h"

struct waiting {
	struct waiting *next;
	struct control *ctl;
	struct ipc_client *client;
	struct timer timer;
};

struct control_mem {
	struct loop_source changed; /* eventfd */
	struct waiting *first;
};

static struct loop *loop_of(const struct control *ctl)
{
	return vm_loop(ctl->vm);
}

static struct mem_view view_of(const struct control *ctl)
{
	struct mem_view v;

	virtio_mem_view(ctl->mem, &v);
	return v;
}

/* ---- what is said of it ---- */

static struct ipc_mem_end answer_of(const struct control *ctl)
{
	const struct mem_view v = view_of(ctl);
	const uint64_t ram = ctl->config->ram.size_bytes;

	return (struct ipc_mem_end){
		.ram_bytes = ram,
		.max_bytes = ram + v.most_bytes,
		.block_bytes = v.block_bytes,
		.target_bytes = v.requested_bytes,
		.plugged_bytes = v.plugged_bytes,
		.has_driver = v.driver,
		.n_busy = v.n_busy,
	};
}

void control_mem_text(const struct control *ctl, FILE *out)
{
	char text[24];
	struct mem_view v;

	if (!ctl->mem)
		return;
	v = view_of(ctl);
	fprintf(out, "plugged:  %s", ram_mb_text(v.plugged_bytes, text, sizeof(text)));
	if (v.requested_bytes != v.plugged_bytes)
		fprintf(out, ", to be %s", ram_mb_text(v.requested_bytes, text, sizeof(text)));
	fprintf(out, ", of %s%s\n", ram_mb_text(v.most_bytes, text, sizeof(text)),
		v.driver ? "" : "; the guest has no driver for it");
}

void control_mem_json(const struct control *ctl, struct json *json)
{
	struct mem_view v;

	if (!ctl->mem) {
		json_str(json, "mem", NULL);
		return;
	}
	v = view_of(ctl);
	json_object(json, "mem");
	json_bool(json, "driver", v.driver);
	json_u64(json, "plugged_bytes", v.plugged_bytes);
	json_u64(json, "requested_bytes", v.requested_bytes);
	json_u64(json, "most_bytes", v.most_bytes);
	json_u64(json, "block_bytes", v.block_bytes);
	json_end(json);
}

/* ---- who waits ---- */

static void forget(struct waiting *w)
{
	struct waiting **at = &w->ctl->mem_waits->first;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	timer_fini(&w->timer);
	free(w);
}

/* It may not be as it was to be. */
static void finish(struct waiting *w)
{
	const struct ipc_mem_end end = answer_of(w->ctl);
	struct ipc_client *client = w->client;

	forget(w);
	ipc_answer(client, 0, &end, sizeof(end));
}

static bool is_done(const struct control *ctl)
{
	const struct mem_view v = view_of(ctl);

	return v.plugged_bytes == v.requested_bytes || !v.driver;
}

static void changed(struct loop_source *src, uint32_t events)
{
	struct control_mem *waits = container_of(src, struct control_mem, changed);
	struct waiting *next;

	(void)events;
	event_clear(src->fd);
	for (struct waiting *w = waits->first; w; w = next) {
		next = w->next;
		if (is_done(w->ctl))
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
	struct control_mem *waits;
	int err;

	if (ctl->mem_waits)
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
	ctl->mem_waits = waits;
	virtio_mem_watch(ctl->mem, waits->changed.fd);
	return 0;
}

/* Return: IPC_LATER, or -errno */
static int wait_for(struct control *ctl, struct ipc_client *client, uint32_t ms)
{
	struct waiting *w;
	int err = watch(ctl);

	if (err)
		return err;
	w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct waiting){ .next = ctl->mem_waits->first, .ctl = ctl, .client = client };
	ctl->mem_waits->first = w;
	timer_init(&w->timer, loop_of(ctl), CLOCK_MONOTONIC, is_late);
	w->timer.always = true; /* he waits for no guest that stands still */
	err = timer_set(&w->timer, now_ns() + ms * 1000000ULL);
	if (!err)
		err = ipc_later(client, &late, w);
	if (err < 0) {
		forget(w);
		return err;
	}
	event_signal(ctl->mem_waits->changed.fd); /* it may have happened meanwhile */
	return IPC_LATER;
}

void control_end_mem(struct control *ctl)
{
	static const char why[] = "the guest ended before";
	struct control_mem *waits = ctl->mem_waits;

	if (!waits)
		return;
	virtio_mem_watch(ctl->mem, -1);
	while (waits->first) {
		struct ipc_client *client = waits->first->client;

		forget(waits->first);
		ipc_answer(client, -ESHUTDOWN, why, strlen(why));
	}
	loop_del(loop_of(ctl), &waits->changed);
	close(waits->changed.fd);
	free(waits);
	ctl->mem_waits = NULL;
}

/* ---- requests ---- */

/* Blocks hold at least what was asked for, if there are so many. Return: 0 or -errno */
static int plugged_for(const struct mem_view *v, uint64_t ram, const struct ipc_size *req, uint64_t *ret)
{
	const uint64_t max = ram + v->most_bytes, now = ram + v->requested_bytes;
	uint64_t bytes;

	switch (req->how) {
	case IPC_SIZE_THAT:
		bytes = req->bytes;
		break;
	case IPC_SIZE_MORE:
		bytes = req->bytes <= max - now ? now + req->bytes : UINT64_MAX;
		break;
	case IPC_SIZE_LESS:
		bytes = req->bytes <= v->requested_bytes ? now - req->bytes : 0;
		break;
	case IPC_SIZE_MAX:
		bytes = max;
		break;
	default:
		return -EINVAL;
	}
	if (bytes < ram || bytes > max)
		return -ERANGE;
	*ret = ALIGN_UP(bytes - ram, v->block_bytes);
	return 0;
}

int control_mem(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct ipc_mem_end end;
	struct mem_view v;
	struct ipc_size req;
	uint64_t bytes;
	int err = 0;

	memcpy(&req, body, sizeof(req));
	if (!ctl->mem)
		return -ENODEV;
	v = view_of(ctl);
	if (req.how != IPC_SIZE_SHOW) {
		err = plugged_for(&v, ctl->config->ram.size_bytes, &req, &bytes);
		if (err == -EINVAL)
			return err;
		if (!err)
			virtio_mem_set(ctl->mem, bytes);
	}
	if (!err && req.wait_ms && !is_done(ctl))
		return wait_for(ctl, reply->to, req.wait_ms);
	end = answer_of(ctl);
	memcpy(reply->body, &end, sizeof(end));
	reply->len = sizeof(end);
	return err;
}
