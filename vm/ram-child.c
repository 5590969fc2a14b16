/* See lkvm/vm/ram-child.h. */
#include "lkvm/vm/ram-child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/ram.h"
#include "lkvm/types.h"

void ram_child_init(struct ram_child *child, const struct ram_child_config *cfg)
{
	*child = (struct ram_child){ .cfg = *cfg, .pipe.fd = -1, .pidfd.fd = -1 };
}

/* ---- the child ---- */

/* Others see their end when this process has it no more, too. As many as the child needs are few. */
static void close_all_but(const int *keep, unsigned n)
{
	int from = 0;

	for (;;) {
		int next = -1;

		for (unsigned i = 0; i < n; i++)
			if (keep[i] >= from && (next < 0 || keep[i] < next))
				next = keep[i];
		if (next != from)
			syscall(SYS_close_range, from, next < 0 ? ~0U : (unsigned)next - 1, 0);
		if (next < 0)
			return;
		from = next + 1;
	}
}

/* ---- making it ---- */

static void says(struct loop_source *src, uint32_t events)
{
	struct ram_child *child = container_of(src, struct ram_child, pipe);

	(void)events;
	child->cfg.says(child->cfg.ctx, src->fd);
}

/* Return: it is dead */
static bool reap(struct ram_child *child, int options)
{
	pid_t pid;

	while ((pid = waitpid(child->pid, NULL, options)) < 0 && errno == EINTR)
		;
	if (pid)
		child->pid = 0;
	return pid;
}

static void stop_watching(struct ram_child *child, struct loop_source *src)
{
	loop_del(child->cfg.loop, src);
	if (src->fd >= 0)
		close(src->fd);
	src->fd = -1;
}

static void end(struct ram_child *child, bool is_dead)
{
	struct ram_child **at = &child->cfg.dying->first;

	while (*at && *at != child)
		at = &(*at)->next_dying;
	if (*at)
		*at = child->next_dying;
	stop_watching(child, &child->pipe);
	stop_watching(child, &child->pidfd);
	child->cfg.over(child->cfg.ctx, is_dead);
}

static void is_dead(struct loop_source *src, uint32_t events)
{
	struct ram_child *child = container_of(src, struct ram_child, pidfd);

	(void)events;
	if (!reap(child, WNOHANG))
		return;
	loop_del(child->cfg.loop, src);
	if (child->freed)
		end(child, true);
}

/* Return: 0 or -errno */
static int make(struct ram_child *child, int pipe_fd, const int *keep, unsigned n)
{
	int err = ram_let_fork(child->cfg.ram, true);

	if (!err) {
		child->pid = fork();
		if (!child->pid) {
			close_all_but(keep, n);
			child->cfg.run(child->cfg.ctx, pipe_fd);
			_exit(EXIT_FAILURE); /* it does not come back */
		}
		err = child->pid < 0 ? -errno : 0;
	}
	ram_let_fork(child->cfg.ram, false);
	if (child->pid < 0)
		child->pid = 0;
	return err;
}

static int watch(struct ram_child *child)
{
	int err;

	child->pidfd = (struct loop_source){ (int)syscall(SYS_pidfd_open, child->pid, 0), is_dead };
	err = child->pidfd.fd < 0 ? -errno : loop_add(child->cfg.loop, &child->pidfd, EPOLLIN);
	if (!err)
		err = loop_add(child->cfg.loop, &child->pipe, EPOLLIN);
	return err;
}

int ram_child_start(struct ram_child *child, const int *keep, unsigned n)
{
	int fds[2], *all, err;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	child->pipe = (struct loop_source){ fds[0], says };
	all = calloc(n + 2, sizeof(*all));
	if (all) {
		memcpy(all, keep, n * sizeof(*all));
		all[n] = fds[1];
		all[n + 1] = ram_file(child->cfg.ram);
	}
	err = all ? make(child, fds[1], all, n + 2) : -ENOMEM;
	free(all);
	close(fds[1]);
	return err ? err : watch(child);
}

/* ---- the end ---- */

void ram_child_hush(struct ram_child *child)
{
	loop_del(child->cfg.loop, &child->pipe);
}

void ram_child_free(struct ram_child *child)
{
	if (child->pid)
		kill(child->pid, SIGKILL);
	/* One that cannot be watched has hardly begun. */
	if (!child->pid || reap(child, child->pidfd.fd < 0 ? 0 : WNOHANG)) {
		end(child, true);
		return;
	}
	stop_watching(child, &child->pipe);
	child->freed = true;
	child->next_dying = child->cfg.dying->first;
	child->cfg.dying->first = child;
}

void ram_children_end(struct ram_children *dying, int64_t deadline_ms)
{
	struct ram_child *child;

	while ((child = dying->first)) {
		struct pollfd gone = { .fd = child->pidfd.fd, .events = POLLIN };
		const int64_t left = deadline_ms - now_ms();

		poll(&gone, 1, left > 0 ? (int)left : 0);
		if (reap(child, WNOHANG))
			end(child, true);
		else if (now_ms() >= deadline_ms)
			end(child, false);
	}
}
