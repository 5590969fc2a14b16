/* gdb's client, and where clients come from; see lkvm/vm/gdb.h. */
#include "lkvm/vm/gdb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "debugger.h"
#include "lkvm/event.h"
#include "lkvm/gdb/packet.h"
#include "lkvm/log.h"
#include "lkvm/stream.h"
#include "lkvm/vm/hold.h"
#include "vm-internal.h"

#define INPUT_BYTES 4096

/* The client. */
struct gdb_client {
	struct vm_gdb *gdb;
	struct debugger debugger;
	struct gdb_target target; /* the debugger's, of this machine */
	struct gdb_stub *stub;
	int in_fd, out_fd;
	struct stream in, out;
	struct loop_source readable, writable;
	bool blocked; /* writable is in the loop, and readable is not */
	uint8_t input[INPUT_BYTES];
	size_t at, n; /* of input: what was not taken */
	bool over;    /* it has said so */
	bool busy;    /* pump() is at work: who is called by it does not call it again */
	enum gdb_end how;
	void (*told)(void *ctx);
	void *ctx;
};

struct vm_gdb {
	struct vm *vm;
	struct gdb_client *client; /* NULL: none */
	struct loop_source listener; /* fd -1: there is none */
	const char *path; /* of its socket, to be removed; NULL: it has none */
	struct kernel_log log;     /* what a client is shown */
	struct loop_source events; /* what the VM signals while it is debugged; fd -1: it never was */
};

/* ---- a client's bytes ---- */

static void watch_for_panic(struct vm_gdb *g);

static void client_free(struct gdb_client *c)
{
	struct loop *loop = &c->gdb->vm->loop;

	loop_del(loop, &c->readable);
	loop_del(loop, &c->writable);
	debugger_detach(&c->debugger);
	gdb_stub_free(c->stub);
	stream_close(&c->in);
	stream_close(&c->out);
	stream_close_fd(c->in_fd);
	if (c->out_fd != c->in_fd)
		stream_close_fd(c->out_fd);
	c->gdb->client = NULL;
	watch_for_panic(c->gdb);
	if (c->told)
		c->told(c->ctx);
	free(c);
}

/* After the last of its packets: what it has asked for there, now that nobody debugs the machine any more */
static void client_leaves(struct gdb_client *c)
{
	struct vm *vm = c->gdb->vm;
	const bool over = c->over;
	const enum gdb_end how = c->how;

	client_free(c);
	if (over && how != GDB_DETACH)
		kvm_stop(&vm->kvm, how == GDB_KILL ? STOP_REQUEST : STOP_RESET, 0);
}

static void set_blocked(struct gdb_client *c, bool blocked)
{
	struct loop *loop = &c->gdb->vm->loop;

	if (c->blocked == blocked)
		return;
	loop_del(loop, blocked ? &c->readable : &c->writable);
	loop_add(loop, blocked ? &c->writable : &c->readable, blocked ? EPOLLOUT : EPOLLIN);
	c->blocked = blocked;
}

/* Return: 0: all is sent; -EAGAIN: it will be; -errno: it cannot be */
static int flush(struct gdb_client *c)
{
	const void *bytes;
	size_t n;
	ssize_t sent;

	while ((bytes = gdb_stub_output(c->stub, &n))) {
		sent = stream_write(&c->out, bytes, n);
		if (sent < 0)
			return (int)sent;
		gdb_stub_sent(c->stub, (size_t)sent);
	}
	return 0;
}

/* Answers first: what is asked while they wait is not even read. */
static int work(struct gdb_client *c)
{
	int err = flush(c);

	while (!err && c->at < c->n && !c->over && !gdb_stub_waits(c->stub)) {
		const long taken = gdb_stub_input(c->stub, c->input + c->at, c->n - c->at);

		if (taken > 0)
			c->at += (size_t)taken;
		err = flush(c);
	}
	return err;
}

static void pump(struct gdb_client *c)
{
	int err;

	if (c->busy)
		return;
	c->busy = true;
	err = work(c);
	c->busy = false;
	set_blocked(c, err == -EAGAIN);
	if ((err && err != -EAGAIN) || (c->over && !err))
		client_leaves(c);
}

static void readable(struct loop_source *src, uint32_t events)
{
	struct gdb_client *c = container_of(src, struct gdb_client, readable);
	const ssize_t n = stream_read(&c->in, c->input, sizeof(c->input));

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		client_leaves(c);
		return;
	}
	c->at = 0;
	c->n = (size_t)n;
	pump(c);
}

static void writable(struct loop_source *src, uint32_t events)
{
	(void)events;
	pump(container_of(src, struct gdb_client, writable));
}

static void on_stop(void *ctx, const struct gdb_stop *stop)
{
	struct gdb_client *c = ctx;

	gdb_stub_stopped(c->stub, stop);
	pump(c);
}

static void on_say(void *ctx, const char *text)
{
	struct gdb_client *c = ctx;

	gdb_stub_say(c->stub, 0, text);
	pump(c);
}

static void on_end(void *ctx, enum gdb_end how)
{
	struct gdb_client *c = ctx;

	c->over = true;
	c->how = how;
}

/* ---- what the VM signals ---- */

/* Without a client: a guest that would end is kept for one. */
static void keep(struct vm_gdb *g)
{
	const char *name = g->vm->cfg->name;

	if (vm_hold(g->vm, VM_HOLD_GDB) != -ESHUTDOWN)
		log_warn("guest '%s' would end, and waits for a debugger: `lkvm gdb %s`", name, name);
}

static void events_ready(struct loop_source *src, uint32_t events)
{
	struct vm_gdb *g = container_of(src, struct vm_gdb, events);

	(void)events;
	event_clear(src->fd);
	if (g->client)
		debugger_event(&g->client->debugger);
	else if (atomic_load(&g->vm->kvm.caught))
		keep(g);
}

/* Open until the vCPUs are gone, which may signal it at any time. */
static int open_events(struct vm_gdb *g)
{
	int err;

	if (g->events.fd >= 0)
		return 0;
	g->events = (struct loop_source){ event_open(0), events_ready };
	if (g->events.fd < 0)
		return g->events.fd;
	err = loop_add(&g->vm->loop, &g->events, EPOLLIN);
	if (err) {
		close(g->events.fd);
		g->events.fd = -1;
	}
	return err;
}

/* With --gdb-on-panic, while there is no client */
static void watch_for_panic(struct vm_gdb *g)
{
	if (g->vm->cfg->gdb.on_panic && g->events.fd >= 0)
		atomic_store(&g->vm->kvm.debug_fd, g->events.fd);
}

/* ---- a client comes ---- */

static int make_stub(struct gdb_client *c)
{
	struct gdb_stop first;
	int err = open_events(c->gdb);

	if (!err)
		err = debugger_attach(&c->debugger, c->gdb->events.fd, &first);
	if (err)
		return err;
	c->target = debugger_target;
	c->target.cpus = c->gdb->vm->kvm.n_cpus;
	c->target.n_regs = x86_view_count(&c->debugger.views[0]);
	c->target.told = c->debugger.views[0].long_mode ? x86_view_told_64 : x86_view_told_32;
	c->target.n_told = X86_VIEW_TOLD;
	c->stub = gdb_stub_new(&c->target, &c->debugger, &first);
	if (!c->stub)
		debugger_detach(&c->debugger);
	return c->stub ? 0 : -ENOMEM;
}

static int open_streams(struct gdb_client *c)
{
	int err;

	stream_open(&c->in, c->in_fd, O_RDONLY);
	stream_open(&c->out, c->out_fd, O_WRONLY);
	c->readable = (struct loop_source){ c->in.fd, readable };
	c->writable = (struct loop_source){ c->out.fd, writable };
	err = loop_add(&c->gdb->vm->loop, &c->readable, EPOLLIN);
	return err == -EPERM ? -EINVAL : err; /* a file or /dev/null, which nobody can wait for */
}

int vm_gdb_connect(struct vm *vm, int in_fd, int out_fd, void (*over)(void *ctx), void *ctx)
{
	struct vm_gdb *g = vm->gdb;
	struct gdb_client *c;
	int err;

	if (g->client)
		return -EBUSY;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct gdb_client){ .gdb = g, .in_fd = in_fd, .out_fd = out_fd, .ctx = ctx };
	c->debugger = (struct debugger){
		.vm = vm, .stopped = on_stop, .end = on_end, .say = on_say, .ctx = c,
		.is_local = over || vm->cfg->gdb.where == GDB_UNIX,
	};
	err = make_stub(c);
	if (!err) {
		err = open_streams(c);
		if (err) {
			debugger_detach(&c->debugger);
			gdb_stub_free(c->stub);
			stream_close(&c->in);
			stream_close(&c->out);
		}
	}
	if (err) {
		watch_for_panic(g);
		free(c);
		return err;
	}
	kernel_log_init(&g->log, KERNEL_LOG_BUG | KERNEL_LOG_OOPS, NULL);
	c->told = over;
	g->client = c;
	return 0;
}

void vm_gdb_hear(struct vm *vm, const char *line)
{
	struct vm_gdb *g = vm->gdb;
	unsigned before;

	if (!g || !g->client || !g->client->debugger.running)
		return;
	before = g->log.open;
	kernel_log_line(&g->log, line);
	if ((!before && g->log.open) || !strncmp(line, "Kernel panic", 12))
		debugger_halt(&g->client->debugger, GDB_ABRT);
}

void vm_gdb_hide(struct vm *vm, bool hide)
{
	if (vm->gdb && vm->gdb->client)
		debugger_hide(&vm->gdb->client->debugger, hide);
}

enum stop_cause vm_gdb_held_up(struct vm *vm, uint32_t *ret_value)
{
	unsigned cpu;

	if (vm->gdb && vm->gdb->client)
		return debugger_held_up(&vm->gdb->client->debugger, ret_value);
	return kvm_caught(&vm->kvm, ret_value, &cpu);
}

void vm_gdb_leave(struct vm *vm, const void *ctx)
{
	struct gdb_client *c = vm->gdb ? vm->gdb->client : NULL;

	if (!c || c->ctx != ctx)
		return;
	c->told = NULL;
	client_free(c);
}

/* ---- where clients come from ---- */

/* He is told in his own words, if there is memory for them. */
static void refuse(int fd, int err)
{
	struct gdb_writer *w = malloc(sizeof(*w));

	if (w) {
		gdb_begin(w);
		gdb_printf(w, "E.%s", err == -EBUSY ? "another debugger is connected" : strerror(-err));
		gdb_end(w);
		send(fd, w->buf, w->n, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	free(w);
	close(fd);
}

static void listener_ready(struct loop_source *src, uint32_t events)
{
	struct vm_gdb *g = container_of(src, struct vm_gdb, listener);
	const int fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC);
	int err;

	(void)events;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE) {
			log_err(-errno, "gdb: accept; no further clients are");
			loop_del(&g->vm->loop, src);
		}
		return;
	}
	err = vm_gdb_connect(g->vm, fd, fd, NULL, g);
	if (!err)
		return;
	if (err != -EBUSY)
		log_err(err, "gdb");
	refuse(fd, err);
}

static int listen_there(struct vm_gdb *g, const struct gdb_config *cfg)
{
	const int fd = gdb_listen(cfg);
	int err;

	if (fd < 0)
		return fd;
	g->listener = (struct loop_source){ fd, listener_ready };
	g->path = cfg->path; /* which it is the name of now */
	err = loop_add(&g->vm->loop, &g->listener, EPOLLIN);
	return err ? log_err(err, "gdb: listen") : 0;
}

/* ---- the first instruction ---- */

void vm_gdb_before_run(struct vm *vm)
{
	for (unsigned i = 0; vm->cfg->gdb.wait && i < vm->kvm.n_cpus; i++)
		kvm_hold_cpu(&vm->kvm.cpus[i], true);
}

void vm_gdb_after_run(struct vm *vm)
{
	if (!vm->cfg->gdb.wait)
		return;
	vm_hold(vm, VM_HOLD_GDB);
	for (unsigned i = 0; i < vm->kvm.n_cpus; i++)
		kvm_hold_cpu(&vm->kvm.cpus[i], false);
}

/* ---- the step ---- */

int vm_make_gdb(struct vm *vm)
{
	struct vm_gdb *g = calloc(1, sizeof(*g));
	int err = 0;

	if (!g)
		return log_err(-ENOMEM, "gdb");
	*g = (struct vm_gdb){ .vm = vm, .listener.fd = -1, .events.fd = -1 };
	vm->gdb = g;
	if (vm->cfg->gdb.where != GDB_NOWHERE)
		err = listen_there(g, &vm->cfg->gdb);
	if (!err && vm->cfg->gdb.on_panic)
		err = open_events(g);
	watch_for_panic(g);
	return err;
}

void vm_gdb_unlink_now(const struct vm *vm)
{
	const struct vm_gdb *g = vm->gdb;

	if (g && g->path)
		unlink(g->path);
}

static void close_listener(struct vm_gdb *g)
{
	if (g->listener.fd >= 0) {
		loop_del(&g->vm->loop, &g->listener);
		close(g->listener.fd);
	}
	vm_gdb_unlink_now(g->vm);
}

/* What it is told it takes at once, or not at all. */
static void tell_end(struct gdb_client *c)
{
	gdb_stub_exited(c->stub, (unsigned)vm_status(c->gdb->vm));
	flush(c);
	client_free(c);
}

void vm_undo_gdb(struct vm *vm)
{
	struct vm_gdb *g = vm->gdb;

	if (!g)
		return;
	if (g->client)
		tell_end(g->client);
	close_listener(g);
	atomic_store(&vm->kvm.debug_fd, -1);
	if (g->events.fd >= 0) {
		loop_del(&vm->loop, &g->events);
		close(g->events.fd);
	}
	vm->gdb = NULL;
	free(g);
}
