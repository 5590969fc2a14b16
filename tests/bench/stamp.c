/*
 * stamp: run a command and put in front of each line of its standard output when it came, in
 * microseconds since the command was started. The last line is "TIME exit STATUS".
 *
 *	stamp COMMAND [ARG]...
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static pid_t spawn(char **argv, int out_fd)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
	errno = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	if (errno) {
		fprintf(stderr, "stamp: %s: %s\n", argv[0], strerror(errno));
		exit(127);
	}
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

/* Writes out each complete line with the time at which its end came. */
static void copy(int fd, uint64_t start)
{
	static char line[4096];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, line + len, sizeof(line) - 1 - len)) > 0) {
		const uint64_t us = now_us() - start;
		char *at = line, *end;

		len += (size_t)n;
		line[len] = '\0';
		while ((end = memchr(at, '\n', len - (size_t)(at - line)))) {
			printf("%" PRIu64 " %.*s\n", us, (int)(end - at), at);
			at = end + 1;
		}
		len -= (size_t)(at - line);
		memmove(line, at, len);
		if (len == sizeof(line) - 1)
			len = 0;
	}
}

int main(int argc, char **argv)
{
	uint64_t start;
	int fds[2], status;
	pid_t pid;

	if (argc < 2 || pipe2(fds, O_CLOEXEC))
		return 2;
	start = now_us();
	pid = spawn(argv + 1, fds[1]);
	close(fds[1]);
	copy(fds[0], start);
	if (waitpid(pid, &status, 0) < 0)
		return 2;
	printf("%" PRIu64 " exit %d\n", now_us() - start,
	       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}
