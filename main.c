/* lkvm: the command table, and nothing else but what every command needs around it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/log.h"

/* In the order of `lkvm help`. */
const struct command *const commands[] = {
	&run_command,
	&exec_command,
	&gdb_command,
	&console_command,
	&vsock_command,
	&dmesg_command,
	&screenshot_command,
	&type_command,
	&key_command,
	&click_command,
	&list_command,
	&stop_command,
	&pause_command,
	&resume_command,
	&snapshot_command,
	&dump_command,
	&fork_command,
	&warm_command,
	&balloon_command,
	&mem_command,
	&stat_command,
	&profile_command,
	&debug_command,
	&check_command,
	&config_command,
	&version_command,
	&help_command,
	NULL,
};

/*
 * Whoever started lkvm may have closed the standard descriptors. A file opened later must not land
 * there: log lines would go into the guest's disk.
 */
static int open_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDWR) != fd)
			return -EBADF;
	return 0;
}

/* Output that did not arrive (disk full) is a failure, and it may show only now. */
static int close_stdout(int status)
{
	bool failed = ferror(stdout);

	errno = 0;
	if ((!fclose(stdout) && !failed) || status) /* a command that failed has said why */
		return status;
	log_err(-(errno ? errno : EIO), "write 'standard output'");
	return EXIT_FAILURE;
}

static int dispatch(int argc, char **argv)
{
	const struct command *cmd = command_find(argv[0]);

	return cmd ? cmd->run(cmd, argc, argv) : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static char help[] = "help", version[] = "version";
	char *no_words[] = { help, NULL };

	if (open_standard_fds() < 0)
		return EXIT_USAGE;
	if (argc < 2)
		return close_stdout(dispatch(1, no_words));
	argc--, argv++;
	if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))
		argv[0] = help;
	else if (!strcmp(argv[0], "--version"))
		argv[0] = version;
	return close_stdout(dispatch(argc, argv));
}
