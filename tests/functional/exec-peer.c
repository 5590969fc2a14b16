/*
 * exec-peer NAME [old]: what `lkvm exec` talks to, without a guest: takes its commands as the lkvm of guest NAME
 * would, and runs them here. A command that wants a terminal has its descriptors, and TTY=COLUMNSxROWS in
 * its environment; each later size is a line of the file "sizes". One whose client has left gets SIGHUP.
 * OUTPUT_ERR=ERRNO in its environment is what the client is told of its output. With `old` every request is
 * answered as by an lkvm that finds another version in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/ipc.h"
#include "lkvm/session.h"
#include "lkvm/types.h"
#include "lkvm/vm/session-words.h"

struct run {
	pid_t pid;
	struct ipc_client *client; /* NULL: it has left */
	uint32_t output_err;
};

static struct run runs[IPC_MAX_LATE];
static struct loop loop;

/* ---- a command ---- */

static void become(const struct session_words *words, const struct ipc_exec *req, const int fd[3])
{
	sigset_t none;
	char size[32];

	for (int i = 0; i < 3; i++)
		if (fd[i] >= 0)
			dup2(fd[i], i);
		else
			close(i);
	if (req->flags & IPC_EXEC_TTY)
		dup2(1, 2);
	snprintf(size, sizeof(size), "%ux%u", req->columns, req->rows);
	clearenv();
	for (char *const *word = words->envp; *word; word++)
		putenv(*word);
	if (req->flags & IPC_EXEC_TTY)
		setenv("TTY", size, 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL); /* a background job's are ignored */
	signal(SIGQUIT, SIG_DFL);
	setpgid(0, 0);
	if (words->cwd && chdir(words->cwd))
		_exit(126);
	execvp(words->argv[0], words->argv);
	_exit(127);
}

static uint32_t output_err(const struct session_words *words)
{
	uint32_t number = 0;

	for (char *const *word = words->envp; *word; word++)
		sscanf(*word, "OUTPUT_ERR=%" SCNu32, &number);
	return number;
}

static struct run start(struct ipc_client *client, const struct ipc_exec *req)
{
	struct run run = { -1, client, 0 };
	int words_fd = ipc_take_fd(client, 0), fd[3], n = 1;
	struct session_words words;
	struct stat st;
	char *text;

	for (unsigned i = 0; i < 3; i++)
		fd[i] = req->fds & 1u << i ? ipc_take_fd(client, (unsigned)n++) : -1;
	if (fstat(words_fd, &st) || !(text = malloc((size_t)st.st_size)) ||
	    pread(words_fd, text, (size_t)st.st_size, 0) != st.st_size ||
	    session_words_parse(text, (size_t)st.st_size, &words))
		return run;
	run.pid = fork();
	if (!run.pid)
		become(&words, req, fd);
	run.output_err = output_err(&words);
	session_words_free(&words);
	free(text);
	close(words_fd);
	for (unsigned i = 0; i < 3; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	return run;
}

/* ---- the client ---- */

static void more(void *ctx, enum ipc_op op, const void *body, size_t len)
{
	const struct run *run = ctx;
	struct session_winsize window;
	uint32_t number;
	FILE *sizes;

	if (op == IPC_EXEC_SIGNAL && len == sizeof(number)) {
		memcpy(&number, body, len);
		kill(-run->pid, (int)number);
	} else if (op == IPC_WINSIZE && len == sizeof(window)) {
		memcpy(&window, body, len);
		sizes = fopen("sizes", "a");
		if (sizes && fprintf(sizes, "%ux%u\n", window.columns, window.rows) > 0)
			fclose(sizes);
	}
}

static void gone(void *ctx)
{
	struct run *run = ctx;

	kill(-run->pid, SIGHUP);
	run->client = NULL;
}

static const struct ipc_late late = { more, gone };

static int handler(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply)
{
	struct ipc_exec req;
	unsigned i = 0;

	if (ctx)
		return -EPROTONOSUPPORT;
	if (op == IPC_STOP)
		exit(0);
	if (op != IPC_EXEC || len != sizeof(req))
		return -EPROTO;
	memcpy(&req, body, sizeof(req));
	while (i < IPC_MAX_LATE && runs[i].pid)
		i++;
	if (i == IPC_MAX_LATE)
		return -EAGAIN;
	runs[i] = start(reply->to, &req);
	return runs[i].pid < 0 ? -EPROTO : ipc_later(reply->to, &late, &runs[i]);
}

/* ---- its end ---- */

static void tell(struct run *run, int status)
{
	const struct session_end end = {
		.exit.code = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 0,
		.exit.signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0,
		.exit.err = WIFEXITED(status) && WEXITSTATUS(status) == 127 ? ENOENT : 0,
		.output_err = run->output_err,
	};

	if (run->client)
		ipc_answer(run->client, 0, &end, sizeof(end));
	*run = (struct run){ 0 };
}

static void child_ended(struct loop_source *src, uint32_t events)
{
	struct signalfd_siginfo info;
	pid_t pid;
	int status;

	(void)events;
	if (read(src->fd, &info, sizeof(info)) != sizeof(info))
		return;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < IPC_MAX_LATE; i++)
			if (runs[i].pid == pid)
				tell(&runs[i], status);
}

int main(int argc, char **argv)
{
	struct loop_source signals = { .ready = child_ended };
	struct ipc_server *server;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signals.fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (argc < 2 || signals.fd < 0 || loop_init(&loop) || loop_add(&loop, &signals, EPOLLIN) ||
	    ipc_server_new(&loop, argv[1], handler, argv[2], &server))
		return 1;
	return loop_run(&loop) ? 1 : 0;
}
