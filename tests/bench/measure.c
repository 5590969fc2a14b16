/*
 * measure: run commands in turn (A B C A B C ...) and tell what each costs, so that whatever else
 * the host does falls on all of them alike.
 *
 *	measure ROUNDS COMMAND...
 *
 * Each COMMAND is one word, split at blanks. One line a command on standard output:
 *	wall-median-us wall-min-us cpu-median-us maxrss-KiB status output-bytes
 * wall is from before posix_spawn() to after wait4(); cpu is user + system of the command and all
 * its children; the first round warms up and is not counted. The command's output is read through
 * a pipe and counted, its standard error and input are /dev/null.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORDS 64

extern char **environ;

struct command {
	char *argv[MAX_WORDS + 1];
	uint64_t *wall_us, *cpu_us;
	long maxrss_kib;
	int status;
	uint64_t out_bytes;
};

static void die(const char *what)
{
	fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t timeval_us(struct timeval tv)
{
	return (uint64_t)tv.tv_sec * 1000000 + (uint64_t)tv.tv_usec;
}

static void split(char *line, struct command *ret)
{
	unsigned n = 0;

	for (char *word = strtok(line, " "); word && n < MAX_WORDS; word = strtok(NULL, " "))
		ret->argv[n++] = word;
	if (!n)
		die("empty command");
}

static pid_t spawn(struct command *cmd, int out_fd)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	errno = posix_spawnp(&pid, cmd->argv[0], &actions, NULL, cmd->argv, environ);
	if (errno)
		die(cmd->argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static void run(struct command *cmd, unsigned round)
{
	static char buf[1 << 16];
	struct rusage usage;
	uint64_t start;
	int fds[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		die("pipe2");
	cmd->out_bytes = 0;
	start = now_us();
	pid = spawn(cmd, fds[1]);
	close(fds[1]);
	while ((n = read(fds[0], buf, sizeof(buf))) > 0)
		cmd->out_bytes += (uint64_t)n;
	if (wait4(pid, &cmd->status, 0, &usage) < 0)
		die("wait4");
	cmd->wall_us[round] = now_us() - start;
	cmd->cpu_us[round] = timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime);
	if (usage.ru_maxrss > cmd->maxrss_kib)
		cmd->maxrss_kib = usage.ru_maxrss;
	close(fds[0]);
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(struct command *cmd, unsigned rounds)
{
	const int status = WIFEXITED(cmd->status) ? WEXITSTATUS(cmd->status)
						  : 128 + WTERMSIG(cmd->status);

	qsort(cmd->wall_us, rounds, sizeof(uint64_t), compare);
	qsort(cmd->cpu_us, rounds, sizeof(uint64_t), compare);
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %ld %d %" PRIu64 "\n", cmd->wall_us[rounds / 2],
	       cmd->wall_us[0], cmd->cpu_us[rounds / 2], cmd->maxrss_kib, status, cmd->out_bytes);
}

int main(int argc, char **argv)
{
	const unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	const unsigned n = argc > 2 ? (unsigned)argc - 2 : 0;
	struct command *cmds = calloc(n + 1, sizeof(*cmds));

	if (!cmds || !n || !rounds) {
		fputs("usage: measure ROUNDS COMMAND...\n", stderr);
		return 2;
	}
	for (unsigned i = 0; i < n; i++) {
		split(argv[i + 2], &cmds[i]);
		cmds[i].wall_us = calloc(rounds, sizeof(uint64_t));
		cmds[i].cpu_us = calloc(rounds, sizeof(uint64_t));
		if (!cmds[i].wall_us || !cmds[i].cpu_us)
			die("calloc");
		run(&cmds[i], 0);
		cmds[i].maxrss_kib = 0;
	}
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned i = 0; i < n; i++)
			run(&cmds[i], round);
	for (unsigned i = 0; i < n; i++)
		report(&cmds[i], rounds);
}
