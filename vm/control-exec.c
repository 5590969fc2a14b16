/*
 * `lkvm exec`: a command of the session, for a client of the control socket; see control.h. The streams are
 * descriptors of the client; what waits for them is in vm/session-command.c, and nobody waits for him.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/stream.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/session-words.h"
#include "lkvm/vm/session.h"

#define MOST_SIGNAL 64

struct exec {
	struct control *ctl;
	struct ipc_client *client;
	uint32_t id;
	int fd[3];
};

static void exec_free(struct exec *e)
{
	for (unsigned i = 0; i < 3; i++)
		if (e->fd[i] >= 0)
			stream_close_fd(e->fd[i]);
	free(e);
}

/* ---- what the client sends ---- */

/* Nobody can change it any more, and to read it waits for nobody: that it can be sealed says what it is. */
static bool is_sealed(int fd)
{
	const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & wanted) == wanted;
}

static int read_words(int fd, char **ret, size_t *ret_len)
{
	struct stat st;
	char *text;
	size_t len;

	if (!is_sealed(fd) || fstat(fd, &st) || st.st_size <= 0)
		return -EPROTO;
	if (st.st_size > SESSION_EXEC_MOST)
		return -E2BIG;
	len = (size_t)st.st_size;
	text = malloc(len);
	if (!text)
		return -ENOMEM;
	if (pread(fd, text, len, 0) != (ssize_t)len) {
		free(text);
		return -EIO;
	}
	*ret = text;
	*ret_len = len;
	return 0;
}

static bool is_known(const struct ipc_exec *req)
{
	return !(req->flags & ~(uint32_t)IPC_EXEC_TTY) && !(req->fds & ~7u);
}

/* ---- while it runs ---- */

static void more(void *ctx, enum ipc_op op, const void *body, size_t len)
{
	const struct exec *e = ctx;
	struct session *s = e->ctl->session;
	struct session_winsize window;
	uint32_t signal;

	if (s && op == IPC_EXEC_SIGNAL && len == sizeof(signal)) {
		memcpy(&signal, body, len);
		if (signal && signal <= MOST_SIGNAL)
			session_signal(s, e->id, signal);
	} else if (s && op == IPC_WINSIZE && len == sizeof(window)) {
		memcpy(&window, body, len);
		session_resize(s, e->id, &window);
	}
}

static void gone(void *ctx)
{
	struct exec *e = ctx;

	if (e->ctl->session)
		session_leave(e->ctl->session, e->id);
	exec_free(e);
}

static const struct ipc_late waiting = { more, gone };

/* The client's ends of pipes see their ends before he has the answer. */
static void ended(void *ctx, const struct session_exit *how, int output_err)
{
	struct exec *e = ctx;
	struct ipc_client *client = e->client;
	struct session_end end = { .output_err = (uint32_t)-output_err };
	char why[SESSION_WHY_BYTES];

	if (how)
		end.exit = *how;
	else
		session_why(e->ctl->session, why);
	exec_free(e);
	if (how)
		ipc_answer(client, 0, &end, sizeof(end));
	else
		ipc_answer(client, -EPIPE, why, strlen(why));
}

/* ---- its start ---- */

static void tell_why(const struct session *s, struct ipc_reply *reply)
{
	session_why(s, (char *)reply->body);
	reply->len = strlen((char *)reply->body);
}

static int start(struct exec *e, const struct ipc_exec *req, char *text, size_t len, struct ipc_reply *reply)
{
	struct session_command cmd = {
		.terminal = req->flags & IPC_EXEC_TTY,
		.window = { req->rows, req->columns },
		.fd = { e->fd[0], e->fd[1], e->fd[2] },
		.ctx = e,
		.ended = ended,
	};
	struct session_words words;
	int err = session_words_parse(text, len, &words);

	if (err)
		return err;
	cmd.argv = words.argv;
	cmd.envp = words.envp;
	cmd.cwd = words.cwd ? words.cwd : e->ctl->config->session.cwd;
	cmd.user = words.user;
	err = session_run(e->ctl->session, &cmd, &e->id);
	session_words_free(&words);
	if (err == -EPIPE)
		tell_why(e->ctl->session, reply);
	return err;
}

static int take(struct exec *e, const struct ipc_exec *req, struct ipc_reply *reply)
{
	int fd = ipc_take_fd(e->client, 0), err = is_known(req) ? 0 : -EINVAL;
	char *text = NULL;
	size_t len = 0;

	if (!err)
		err = read_words(fd, &text, &len);
	if (!err)
		err = ipc_take_fds(e->client, 1, req->fds, e->fd);
	if (!err)
		err = start(e, req, text, len, reply);
	free(text);
	if (fd >= 0)
		stream_close_fd(fd);
	return err;
}

int control_exec(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct ipc_exec req;
	struct exec *e;
	int err;

	if (!ctl->session)
		return -EOPNOTSUPP;
	e = malloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	*e = (struct exec){ .ctl = ctl, .client = reply->to, .fd = { -1, -1, -1 } };
	memcpy(&req, body, sizeof(req));
	err = take(e, &req, reply);
	if (!err) {
		err = ipc_later(reply->to, &waiting, e);
		if (err == IPC_LATER)
			return err;
		session_leave(ctl->session, e->id);
	}
	exec_free(e);
	return err;
}
