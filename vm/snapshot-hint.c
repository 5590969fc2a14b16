/*
 * See vm/snapshot-hint.h. A page is left out if the guest has hinted that it is free and nobody has written to it since
 * before the guest was asked: not the guest, as KVM's log tells, nor lkvm, as that of hw/ram-log.c does. Whoever else
 * could write, of whom there is no log, must not be there.
 */
#include "snapshot-hint.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/net.h"
#include "lkvm/virtio-balloon.h"
#include "vm-internal.h"

#define MOST_MS 500 /* one that has not told all by then has told some */

struct snapshot_hint {
	struct vm *vm;
	void (*told)(void *ctx);
	void *ctx;
	struct loop_source ended; /* eventfd */
	struct timer late;
	bool has_told;
	bool logs, asks; /* what is to be ended */
	struct ram_spare *hinted, *spare;
};

static bool has_vhost(const struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_nets; i++)
		if (cfg->nets[i].vhost)
			return true;
	return false;
}

/* Return: NULL; or why it makes no sense to ask, or what is written would not all be in the logs */
static const char *why_never(struct vm *vm)
{
	if (!vm->control.balloon)
		return "it has no balloon";
	if (vm->holds || kvm_stop_cause(&vm->kvm, NULL) != STOP_NONE)
		return "it stands still";
	if (ram_backing_shared(&vm->cfg->ram))
		return "other processes may write to its RAM";
	if (has_vhost(vm->cfg))
		return "vhost-net writes to its RAM";
	return NULL;
}

static void stop_waiting(struct snapshot_hint *h)
{
	timer_fini(&h->late);
	if (h->ended.fd < 0)
		return;
	loop_del(&h->vm->loop, &h->ended);
	close(h->ended.fd);
	h->ended.fd = -1;
}

static void enough(struct snapshot_hint *h)
{
	timer_stop(&h->late);
	loop_del(&h->vm->loop, &h->ended);
	if (!h->has_told) {
		h->has_told = true;
		h->told(h->ctx);
	}
}

static void ended(struct loop_source *src, uint32_t events)
{
	struct snapshot_hint *h = container_of(src, struct snapshot_hint, ended);

	(void)events;
	event_clear(src->fd);
	enough(h);
}

static void is_late(struct timer *timer)
{
	enough(container_of(timer, struct snapshot_hint, late));
}

static int wait_for(struct snapshot_hint *h)
{
	int err;

	h->ended.fd = event_open(0);
	err = h->ended.fd < 0 ? h->ended.fd : loop_add(&h->vm->loop, &h->ended, EPOLLIN);
	if (!err)
		err = timer_set(&h->late, now_ns() + MOST_MS * 1000000ULL);
	return err;
}

/* The log first: what is hinted and not in it is free all the time from the hint on. */
static int ask(struct snapshot_hint *h)
{
	int err = kvm_ram_log(&h->vm->kvm, true);

	h->logs = !err;
	if (!err)
		err = virtio_balloon_hint_begin(h->vm->control.balloon, h->hinted, h->ended.fd);
	h->asks = !err;
	return err;
}

static const char *why_not(int err)
{
	if (err == -ENODEV)
		return "its driver of the balloon knows no hints, or is not there";
	if (err == -EPERM)
		return "it wants to find in free pages what it has written there";
	return "the host keeps no log of what it writes";
}

static int begin(struct snapshot_hint *h)
{
	int err = ram_spare_new(h->vm->ram, &h->hinted);

	if (!err)
		err = ram_spare_new(h->vm->ram, &h->spare);
	if (!err)
		err = wait_for(h);
	return err ? err : ask(h);
}

int snapshot_hint_begin(struct vm *vm, void (*told)(void *ctx), void *ctx, struct snapshot_hint **ret,
			const char **ret_why)
{
	struct snapshot_hint *h;
	int err;

	*ret_why = why_never(vm);
	h = *ret_why ? NULL : calloc(1, sizeof(*h));
	if (!h)
		return *ret_why ? -EOPNOTSUPP : -ENOMEM;
	*h = (struct snapshot_hint){ .vm = vm, .told = told, .ctx = ctx };
	h->ended = (struct loop_source){ -1, ended };
	timer_init(&h->late, &vm->loop, CLOCK_MONOTONIC, is_late);
	h->late.always = true; /* it may be paused meanwhile */
	err = begin(h);
	if (err) {
		*ret_why = why_not(err);
		snapshot_hint_free(h);
		return err;
	}
	*ret = h;
	return 0;
}

static void add_unwritten(void *ctx, gpa_t start, uint64_t bytes, const uint64_t *written)
{
	struct snapshot_hint *h = ctx;

	ram_spare_add_unwritten(h->spare, h->hinted, start, bytes, written);
}

/* At the machine's end the device may be gone before. Return: as virtio_balloon_hint_end() */
static bool end_asking(struct snapshot_hint *h)
{
	struct virtio_dev *balloon = h->asks ? h->vm->control.balloon : NULL;

	h->asks = false;
	return balloon && virtio_balloon_hint_end(balloon);
}

const struct ram_spare *snapshot_hint_end(struct snapshot_hint *h, const char **ret_why)
{
	if (!end_asking(h))
		*ret_why = "its driver was reset, or has gone wrong, meanwhile";
	else if (kvm_ram_log_take(&h->vm->kvm, add_unwritten, h))
		*ret_why = "the host has no log of what it has written";
	else
		return h->spare;
	return NULL;
}

void snapshot_hint_free(struct snapshot_hint *h)
{
	if (!h)
		return;
	end_asking(h);
	stop_waiting(h); /* nobody signals it any more */
	if (h->logs)
		kvm_ram_log(&h->vm->kvm, false);
	ram_spare_free(h->hinted);
	ram_spare_free(h->spare);
	free(h);
}
