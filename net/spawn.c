/* Programs that an end of a network starts: a tap's scripts, passt. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net-internal.h"

extern char **environ;

int net_spawn(const struct net_child *child, pid_t *ret)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int err;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	err = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	for (unsigned i = 0; !err && i < child->n_fds; i++)
		err = posix_spawn_file_actions_adddup2(&files, child->fds[i].ours, child->fds[i].its);
	if (!err)
		err = child->spawn(ret, child->program, &files, &attr, child->argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -err;
}

bool net_child_ends(pid_t pid, int patience_ms)
{
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	const bool ended = p.fd < 0 || poll(&p, 1, patience_ms) > 0;

	if (p.fd >= 0)
		close(p.fd);
	return ended;
}
