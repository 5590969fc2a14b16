/* Programs that set up an interface, and take it down; see net-internal.h. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "lkvm/log.h"
#include "net-internal.h"

#define LIMIT_MS 60000

static int spawn(const char *program, const char *ifname, pid_t *ret)
{
	char *argv[] = { (char *)program, (char *)ifname, NULL };
	const struct net_child child = { .spawn = posix_spawn, .program = program, .argv = argv };

	return net_spawn(&child, ret);
}

/* Return: 0: it has ended; -ETIMEDOUT: it was killed */
static int wait_for(pid_t pid, int *ret_status)
{
	const bool ended = net_child_ends(pid, LIMIT_MS);

	if (!ended)
		kill(-pid, SIGKILL);
	while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
		;
	return ended ? 0 : -ETIMEDOUT;
}

int net_script(const char *name, const char *program, const char *ifname)
{
	int status = 0, err;
	pid_t pid = -1;

	err = spawn(program, ifname, &pid);
	if (err)
		return log_err(err, "%s: run '%s'", name, program);
	err = wait_for(pid, &status);
	if (err)
		return log_errx(err, "%s: '%s %s' did not end within %d seconds", name, program, ifname, LIMIT_MS / 1000);
	if (WIFSIGNALED(status))
		return log_errx(-ECHILD, "%s: '%s %s' was ended by signal %d", name, program, ifname, WTERMSIG(status));
	if (WEXITSTATUS(status))
		return log_errx(-ECHILD, "%s: '%s %s' failed with status %d", name, program, ifname, WEXITSTATUS(status));
	return 0;
}
