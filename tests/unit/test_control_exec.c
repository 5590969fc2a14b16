/* Links: vm/control-exec.o vm/session-words.o ipc/folder.o ipc/server.o ipc/client.o util/loop.o util/log.o */

/* `lkvm exec` at the guest's end: what a client may send, on a real socket, and a session that is played here. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lingering.h"
#include "lkvm/clock.h"
#include "lkvm/types.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/session-words.h"
#include "lkvm/vm/session.h"
#include "own-folder.h"
#include "unit.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* ---- the session ---- */

struct session {
	unsigned ran, left, signals, resizes;
	struct session_command cmd;
	struct session_winsize window;
	char argv1[32], cwd[32], user[32], env[32];
	uint32_t signal;
	int err;
};

static struct session played;

static void keep(char ret[32], const char *text)
{
	snprintf(ret, 32, "%s", text ? text : "-");
}

int session_run(struct session *s, const struct session_command *cmd, uint32_t *ret_id)
{
	ck_assert_ptr_eq(s, &played);
	if (s->err)
		return s->err;
	s->ran++;
	s->cmd = *cmd;
	keep(s->argv1, cmd->argv[0] ? cmd->argv[1] : NULL);
	keep(s->cwd, cmd->cwd);
	keep(s->user, cmd->user);
	keep(s->env, cmd->envp[0]);
	*ret_id = 7;
	return 0;
}

void session_signal(struct session *s, uint32_t id, uint32_t signal)
{
	ck_assert_uint_eq(id, 7);
	s->signals++;
	s->signal = signal;
}

void session_resize(struct session *s, uint32_t id, const struct session_winsize *window)
{
	ck_assert_uint_eq(id, 7);
	s->resizes++;
	s->window = *window;
}

void session_leave(struct session *s, uint32_t id)
{
	ck_assert_uint_eq(id, 7);
	s->left++;
}

/* ---- both ends ---- */

void session_why(const struct session *s, char ret[SESSION_WHY_BYTES])
{
	ck_assert_ptr_eq(s, &played);
	snprintf(ret, SESSION_WHY_BYTES, "it is so");
}

static const struct vm_config config = { .session.cwd = "/home" };
static struct control ctl = { .config = &config };
static struct loop loop;
static struct ipc_server *server;
static int before; /* the lowest free descriptor while no client is there */

static int handler(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply)
{
	ck_assert_ptr_eq(ctx, &ctl);
	ck_assert_int_eq(op, IPC_EXEC);
	ck_assert_uint_eq(len, sizeof(struct ipc_exec));
	return control_exec(&ctl, body, reply);
}

static void pump(void)
{
	while (loop_once(&loop, 0) > 0)
		;
}

static int next_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

static void serve(void)
{
	memset(&played, 0, sizeof(played));
	ctl.session = &played;
	enter_own_folder();
	setenv("LKVM_DIR", own_folder, 1);
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(ipc_server_new(&loop, "a", handler, &ctl, &server), 0);
	before = next_fd();
}

static void end(void)
{
	pump();
	ck_assert_int_eq(next_fd(), before);
	ipc_server_free(server);
	loop_fini(&loop);
	leave_own_folder();
}

static int words_fd(const void *text, size_t len, int seals)
{
	int fd = memfd_create("words", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static const char good[] = "arg=sh\0arg=-c\0env=A=1";

/* Return: the client's connection; @words is closed, and so is @in */
static int send_exec_with(const struct ipc_exec *req, int words, unsigned n_streams, int in)
{
	const int fds[] = { words, in, STDOUT_FILENO, STDERR_FILENO };
	pid_t pid;
	int fd = ipc_connect("a", &pid);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ipc_send(fd, IPC_EXEC, req, sizeof(*req), fds, words < 0 ? 0 : 1 + n_streams), 0);
	if (words >= 0)
		close(words);
	if (in != STDIN_FILENO)
		close(in);
	pump();
	return fd;
}

static int send_exec(const struct ipc_exec *req, int words, unsigned n_streams)
{
	return send_exec_with(req, words, n_streams, STDIN_FILENO);
}

static int refused(const struct ipc_exec *req, int words, unsigned n_streams)
{
	int fd = send_exec(req, words, n_streams), err = ipc_receive(fd, NULL);

	close(fd);
	pump();
	ck_assert_uint_eq(played.ran, 0);
	ck_assert_int_eq(next_fd(), before);
	return err;
}

/* ---- tests ---- */

START_TEST(test_exec)
{
	static const char text[] = "arg=sh\0arg=-c\0env=A=1\0cwd=/tmp\0user=joe";
	static struct ipc_reply reply;
	const struct session_exit exit = { .code = 5 };
	const struct ipc_exec all = { .fds = 7 };
	struct session_end end_of_it;
	int fd;

	serve();
	fd = send_exec(&all, words_fd(text, sizeof(text), SEALS), 3);
	ck_assert_uint_eq(played.ran, 1);
	ck_assert_str_eq(played.argv1, "-c");
	ck_assert_str_eq(played.env, "A=1");
	ck_assert_str_eq(played.cwd, "/tmp");
	ck_assert_str_eq(played.user, "joe");
	ck_assert(!played.cmd.terminal);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_ge(fcntl(played.cmd.fd[i], F_GETFD), 0);
	played.cmd.ended(played.cmd.ctx, &exit, -ENOSPC);
	ck_assert_int_eq(ipc_receive(fd, &reply), 0);
	ck_assert_uint_eq(reply.len, sizeof(end_of_it));
	memcpy(&end_of_it, reply.body, sizeof(end_of_it));
	ck_assert_uint_eq(end_of_it.exit.code, 5);
	ck_assert_uint_eq(end_of_it.output_err, ENOSPC);
	close(fd);
	pump();
	ck_assert_uint_eq(played.left, 0);
	end();
}
END_TEST

/* Nobody will know how it has ended. */
START_TEST(test_lost)
{
	static struct ipc_reply reply;
	const struct ipc_exec none = { 0 };
	int fd;

	serve();
	fd = send_exec(&none, words_fd(good, sizeof(good), SEALS), 0);
	played.cmd.ended(played.cmd.ctx, NULL, 0);
	ck_assert_int_eq(ipc_receive(fd, &reply), -EPIPE);
	ck_assert_uint_eq(reply.len, strlen("it is so"));
	ck_assert_mem_eq(reply.body, "it is so", reply.len);
	close(fd);
	played.err = -EPIPE;
	fd = send_exec(&none, words_fd(good, sizeof(good), SEALS), 0);
	ck_assert_int_eq(ipc_receive(fd, &reply), -EPIPE);
	ck_assert_mem_eq(reply.body, "it is so", reply.len);
	close(fd);
	ck_assert_uint_eq(played.left, 0);
	end();
}
END_TEST

START_TEST(test_terminal)
{
	const struct ipc_exec two = { .flags = IPC_EXEC_TTY, .rows = 25, .columns = 80, .fds = 3 };
	const struct session_winsize window = { 50, 132 };
	uint32_t signal[] = { SIGTERM, 65, 0 };
	int fd;

	serve();
	fd = send_exec(&two, words_fd(good, sizeof(good), SEALS), 2);
	ck_assert(played.cmd.terminal);
	ck_assert_uint_eq(played.cmd.window.rows, 25);
	ck_assert_uint_eq(played.cmd.window.columns, 80);
	ck_assert_int_eq(played.cmd.fd[2], -1);
	ck_assert_str_eq(played.cwd, "/home"); /* the guest's own command's */
	ck_assert_str_eq(played.user, "-");
	ipc_send(fd, IPC_WINSIZE, &window, sizeof(window), NULL, 0);
	ipc_send(fd, IPC_EXEC_SIGNAL, &signal[0], 4, NULL, 0);
	ipc_send(fd, IPC_EXEC_SIGNAL, &signal[1], 4, NULL, 0);
	ipc_send(fd, IPC_EXEC_SIGNAL, &signal[2], 4, NULL, 0);
	ipc_send(fd, IPC_EXEC_SIGNAL, signal, 3, NULL, 0);
	ipc_send(fd, IPC_WINSIZE, &window, 3, NULL, 0);
	ipc_send(fd, IPC_STOP, NULL, 0, NULL, 0);
	pump();
	ck_assert_uint_eq(played.resizes, 1);
	ck_assert_mem_eq(&played.window, &window, sizeof(window));
	ck_assert_uint_eq(played.signals, 1);
	ck_assert_uint_eq(played.signal, SIGTERM);
	ck_assert_uint_eq(played.left, 0);
	close(fd);
	pump();
	ck_assert_uint_eq(played.left, 1);
	end();
}
END_TEST

/* The session goes first, as vm/vm.c has it: nobody asks it any more. */
START_TEST(test_session_gone)
{
	const struct ipc_exec none = { 0 };
	uint32_t signal = SIGTERM;
	int fd;

	serve();
	fd = send_exec(&none, words_fd(good, sizeof(good), SEALS), 0);
	ck_assert_int_eq(played.cmd.fd[0], -1);
	ctl.session = NULL;
	ipc_send(fd, IPC_EXEC_SIGNAL, &signal, 4, NULL, 0);
	pump();
	close(fd);
	pump();
	ck_assert_uint_eq(played.signals + played.left, 0);
	end();
}
END_TEST

/* Descriptors: too few, too many, none, of a wrong kind; words that are none */
START_TEST(test_hostile)
{
	const struct ipc_exec all = { .fds = 7 }, one = { .fds = 2 }, bit = { .fds = 8 }, flag = { .flags = 2 };
	static char big[SESSION_EXEC_MOST + 1];
	int file, pipes[2];

	serve();
	ck_assert_int_eq(refused(&all, -1, 0), -EPROTO);
	ck_assert_int_eq(refused(&all, words_fd(good, sizeof(good), SEALS), 2), -EPROTO);
	ck_assert_int_eq(refused(&one, words_fd(good, sizeof(good), SEALS), 2), -EPROTO);
	ck_assert_int_eq(refused(&bit, words_fd(good, sizeof(good), SEALS), 3), -EINVAL);
	ck_assert_int_eq(refused(&flag, words_fd(good, sizeof(good), SEALS), 0), -EINVAL);
	ck_assert_int_eq(refused(&one, words_fd(good, sizeof(good), SEALS & ~F_SEAL_WRITE), 1), -EPROTO);
	ck_assert_int_eq(refused(&one, words_fd(good, 0, SEALS), 1), -EPROTO);
	ck_assert_int_eq(refused(&one, words_fd(good, sizeof(good) - 1, SEALS), 1), -EINVAL);
	ck_assert_int_eq(refused(&one, words_fd("nonsense", 9, SEALS), 1), -EINVAL);
	ck_assert_int_eq(refused(&one, words_fd(big, sizeof(big), SEALS), 1), -E2BIG);
	ck_assert_int_eq(pipe(pipes), 0); /* whose read would wait */
	close(pipes[1]);
	before = next_fd(); /* pipes[1], but for the next: */
	ck_assert_int_eq(refused(&one, dup(pipes[0]), 1), -EPROTO);
	file = open(own_folder, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(refused(&one, file, 1), -EPROTO);
	close(pipes[0]);
	before = next_fd();
	end();
}
END_TEST

/* Descriptors whose client has left, and that are slow to be closed: used, one too many, not looked at. */
START_TEST(test_slow_to_close)
{
	static const struct {
		struct ipc_exec req;
		int seals;
	} sent[] = { { { .fds = 1 }, SEALS }, { { .fds = 0 }, SEALS }, { { .fds = 1 }, 0 } };

	serve();
	for (size_t i = 0; i < ARRAY_SIZE(sent); i++) {
		uint64_t begin = now_ns();
		int slow = lingering_socket();

		if (slow >= 0)
			close(send_exec_with(&sent[i].req, words_fd(good, sizeof(good), sent[i].seals), 1, slow));
		pump();
		ck_assert_uint_lt(now_ns() - begin, 20 * NS_PER_S);
	}
	end();
}
END_TEST

START_TEST(test_no_session)
{
	const struct ipc_exec one = { .fds = 2 };

	serve();
	played.err = -ENOTCONN;
	ck_assert_int_eq(refused(&one, words_fd(good, sizeof(good), SEALS), 1), -ENOTCONN);
	ctl.session = NULL;
	ck_assert_int_eq(refused(&one, words_fd(good, sizeof(good), SEALS), 1), -EOPNOTSUPP);
	end();
}
END_TEST

/* As many as may wait do: the next one does not run. */
START_TEST(test_most)
{
	const struct ipc_exec none = { 0 };
	int fd[IPC_MAX_LATE], one_more;

	serve();
	for (unsigned i = 0; i < IPC_MAX_LATE; i++)
		fd[i] = send_exec(&none, words_fd(good, sizeof(good), SEALS), 0);
	one_more = send_exec(&none, words_fd(good, sizeof(good), SEALS), 0);
	ck_assert_int_eq(ipc_receive(one_more, NULL), -EAGAIN);
	ck_assert_uint_eq(played.ran - played.left, IPC_MAX_LATE);
	close(one_more);
	for (unsigned i = 0; i < IPC_MAX_LATE; i++)
		close(fd[i]);
	pump();
	ck_assert_uint_eq(played.ran, played.left);
	end();
}
END_TEST

UNIT_MAIN("control, exec", test_exec, test_lost, test_terminal, test_session_gone, test_hostile,
	  test_slow_to_close, test_no_session, test_most)
