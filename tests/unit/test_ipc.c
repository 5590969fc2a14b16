/* Links: ipc/folder.o ipc/server.o ipc/client.o ipc/peers.o util/loop.o util/log.o */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../ipc/ipc-internal.h"
#include "lkvm/clock.h"
#include "lkvm/ipc.h"
#include "lkvm/kvm.h"
#include "lkvm/types.h"
#include "unit.h"

static char dir[64]; /* $LKVM_DIR of the test */
static struct loop loop;
static unsigned handled;
static struct ipc_reply reply;

/*
 * Calls that take libc's place in this program, to play other users, short time limits and a server
 * that closes at the worst moment.
 */
static struct {
	uid_t peer_uid, own_uid; /* -1: the truth */
	bool short_timeouts;
	int resets;           /* recvmsg() fails so many times with ECONNRESET */
	void (*before_poll)(void);
} fake = { .peer_uid = (uid_t)-1, .own_uid = (uid_t)-1 };

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	int ret = (int)syscall(SYS_getsockopt, fd, level, name, value, len);

	if (level == SOL_SOCKET && name == SO_PEERCRED && fake.peer_uid != (uid_t)-1)
		((struct ucred *)value)->uid = fake.peer_uid;
	return ret;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	const struct timeval soon = { .tv_usec = 20000 };

	if (fake.short_timeouts && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
		value = &soon;
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

uid_t geteuid(void)
{
	return fake.own_uid != (uid_t)-1 ? fake.own_uid : (uid_t)syscall(SYS_geteuid);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	if (fake.resets-- > 0) {
		errno = ECONNRESET;
		return -1;
	}
	return syscall(SYS_recvmsg, fd, msg, flags);
}

int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	if (fake.before_poll)
		fake.before_poll();
	return (int)syscall(SYS_poll, fds, n, timeout_ms);
}

static void remove_folder(void)
{
	char cmd[96];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	if (system(cmd) != 0)
		fprintf(stderr, "cannot remove %s\n", dir);
}

static void use_folder(void)
{
	strcpy(dir, "/tmp/lkvm-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	atexit(remove_folder);
	setenv("LKVM_DIR", dir, 1);
	ck_assert_int_eq(loop_init(&loop), 0);
}

static const char *in_folder(const char *file)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return path;
}

static bool exists(const char *file)
{
	struct stat st;

	return lstat(in_folder(file), &st) == 0;
}

/* IPC_STAT answers with as much as fits, IPC_NMI fails, all else echoes the body. */
static int handler(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *r)
{
	(void)ctx;
	handled++;
	r->len = op == IPC_STAT ? sizeof(r->body) : len;
	if (op == IPC_STAT)
		memset(r->body, 'x', sizeof(r->body));
	else
		memcpy(r->body, body, len);
	return op == IPC_NMI ? -ENODEV : 0;
}

static struct ipc_server *serve(const char *name)
{
	struct ipc_server *server = NULL;

	ck_assert_int_eq(ipc_server_new(&loop, name, handler, NULL, &server), 0);
	return server;
}

static int try_serve(const char *name)
{
	struct ipc_server *server = NULL;
	int err = ipc_server_new(&loop, name, handler, NULL, &server);

	ck_assert(!server == !!err);
	ipc_server_free(server);
	return err;
}

/* A guest in a process of its own; it serves until it is killed. */
static pid_t serve_forked(const char *name)
{
	int ready[2];
	char c;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct ipc_server *server;
		struct loop own;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (loop_init(&own) < 0 || ipc_server_new(&own, name, handler, NULL, &server) < 0)
			_exit(1);
		if (write(ready[1], "", 1) == 1)
			loop_run(&own);
		_exit(1);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_guest(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static int raw_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void raw_connect(int fd, const char *file)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, file);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static int raw_client(const char *file)
{
	int fd = raw_socket();

	raw_connect(fd, file);
	return fd;
}

static void pump(void)
{
	int rounds = 0;

	while (loop_once(&loop, 0) > 0)
		ck_assert_int_lt(++rounds, 10000); /* else the loop is kept busy for nothing */
}

static struct ipc_request request(enum ipc_op op, uint32_t len)
{
	return (struct ipc_request){ IPC_MAGIC, IPC_VERSION, (uint16_t)op, len };
}

static void send_request(int fd, enum ipc_op op)
{
	struct ipc_request head = request(op, 0);

	ck_assert_int_eq(send(fd, &head, sizeof(head), MSG_NOSIGNAL), sizeof(head));
}

/* Return: bytes of the body */
static uint32_t expect_answer(int fd, int status)
{
	static uint8_t packet[sizeof(struct ipc_answer) + IPC_MAX_BODY + 1];
	struct ipc_answer head;
	ssize_t n = recv(fd, packet, sizeof(packet), 0);

	ck_assert_msg(n >= (ssize_t)sizeof(head), "no answer: %s", n < 0 ? strerror(errno) : "closed");
	memcpy(&head, packet, sizeof(head));
	ck_assert_uint_eq(head.magic, IPC_MAGIC);
	ck_assert_int_eq(head.status, status);
	ck_assert_uint_eq(head.body_bytes, (size_t)n - sizeof(head));
	return head.body_bytes;
}

static void expect_silence(int fd)
{
	char c;

	ck_assert_int_eq(recv(fd, &c, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static bool is_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, 0);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

START_TEST(test_names)
{
	static const char *const good[] = { "a", "guest-1", "A.b_c-9", "...", ".a", "-" };
	static const char *const bad[] = { "", ".", "..", "a/b", "/", "a b", "a\n", "\xc3\xa4", "a*" };
	char name[IPC_NAME_MAX + 2];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_msg(ipc_name_valid(good[i]), "%s", good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!ipc_name_valid(bad[i]), "%s", bad[i]);
	memset(name, 'n', sizeof(name));
	name[IPC_NAME_MAX + 1] = '\0';
	ck_assert(!ipc_name_valid(name));
	name[IPC_NAME_MAX] = '\0';
	ck_assert(ipc_name_valid(name));
}
END_TEST

START_TEST(test_bad_name_refused)
{
	pid_t pid;

	use_folder();
	ck_assert_int_eq(try_serve("../x"), -EINVAL);
	ck_assert_int_eq(ipc_connect("../x", &pid), -EINVAL);
}
END_TEST

START_TEST(test_folder_made)
{
	struct stat st;
	char *made;

	use_folder();
	ck_assert_int_ge(asprintf(&made, "%s/run", dir), 0);
	setenv("LKVM_DIR", made, 1);
	umask(0);
	ck_assert_int_eq(try_serve("a"), 0);
	ck_assert_int_eq(stat(made, &st), 0);
	ck_assert(S_ISDIR(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(try_serve("a"), 0);
	free(made);
}
END_TEST

START_TEST(test_folder_choice)
{
	struct ipc_server *server;

	use_folder();
	setenv("XDG_RUNTIME_DIR", "/nowhere", 1);
	ck_assert_int_eq(try_serve("a"), 0); /* LKVM_DIR goes first */

	setenv("XDG_RUNTIME_DIR", dir, 1);
	setenv("LKVM_DIR", "", 1);
	server = serve("a");
	ck_assert(exists("lkvm/a.sock"));
	ipc_server_free(server);

	/* a relative one is invalid by its specification */
	ck_assert_int_eq(chdir(dir), 0);
	ck_assert_int_eq(mkdir("relative", 0700), 0);
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	try_serve("lkvm-unit-test");
	ck_assert(!exists("relative/lkvm"));
}
END_TEST

START_TEST(test_folder_mode)
{
	static const mode_t bad[] = { 0755, 0770, 0701, 0710, 0600, 0777 };
	pid_t pid;

	use_folder();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(chmod(dir, bad[i]), 0);
		if (geteuid() == 0 || bad[i] & 0400)
			ck_assert_int_eq(try_serve("a"), -EPERM);
		ck_assert_int_eq(ipc_connect("a", &pid), -EPERM);
	}
	chmod(dir, 0700);
	ck_assert(!exists("a.sock"));
}
END_TEST

START_TEST(test_folder_owner)
{
	pid_t pid;

	use_folder();
	if (geteuid() == 0)
		ck_assert_int_eq(chown(dir, 65534, 65534), 0);
	else
		setenv("LKVM_DIR", "/", 1);
	ck_assert_int_eq(try_serve("a"), -EPERM);
	if (geteuid() != 0) {
		ck_assert_int_eq(ipc_connect("a", &pid), -EPERM);
		return;
	}
	/* root may look into another user's folder, but only one that it has named */
	ck_assert_int_eq(ipc_connect("a", &pid), -ENOENT);
	ck_assert_int_eq(mkdir(in_folder("lkvm"), 0700), 0);
	ck_assert_int_eq(chown(in_folder("lkvm"), 65534, 65534), 0);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	unsetenv("LKVM_DIR");
	ck_assert_int_eq(ipc_connect("a", &pid), -EPERM);
}
END_TEST

START_TEST(test_folder_kind)
{
	static const char *const links[] = { "link", "link/", "link//", "file" };
	char path[128];
	pid_t pid;

	use_folder();
	ck_assert_int_eq(mkdir(in_folder("real"), 0700), 0);
	ck_assert_int_eq(symlink("real", in_folder("link")), 0);
	ck_assert_int_eq(close(creat(in_folder("file"), 0700)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, links[i]);
		setenv("LKVM_DIR", path, 1);
		ck_assert_int_eq(try_serve("a"), -EPERM);
		ck_assert_int_eq(ipc_connect("a", &pid), -EPERM);
	}
	snprintf(path, sizeof(path), "%s/missing/run", dir);
	setenv("LKVM_DIR", path, 1);
	ck_assert_int_eq(try_serve("a"), -ENOENT);
	ck_assert_int_eq(ipc_connect("a", &pid), -ENOENT);
}
END_TEST

START_TEST(test_path_length)
{
	const size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	char path[256], name[IPC_NAME_MAX + 1];
	struct ipc_server *server;
	size_t len;
	pid_t pid;

	use_folder();
	len = (size_t)snprintf(path, sizeof(path), "%s/", dir);
	memset(path + len, 'd', max - 20 - len);
	path[max - 20] = '\0';
	setenv("LKVM_DIR", path, 1);

	/* folder, slash, name, ".sock": exactly max, then one more */
	memset(name, 'n', sizeof(name));
	name[20 - 1 - 5] = '\0';
	server = serve(name);
	close(ipc_connect(name, &pid));
	ipc_server_free(server);
	name[20 - 1 - 5] = 'n';
	name[20 - 5] = '\0';
	ck_assert_int_eq(try_serve(name), -ENAMETOOLONG);
	ck_assert_int_eq(ipc_connect(name, &pid), -ENOENT);

	memset(path + len, 'd', sizeof(path) - len);
	path[max + 1] = '\0';
	setenv("LKVM_DIR", path, 1);
	ck_assert_int_eq(try_serve("a"), -ENAMETOOLONG);
	ck_assert_int_eq(ipc_connect("a", &pid), -ENAMETOOLONG);
	path[max] = '\0'; /* nothing was made by the cut name */
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(test_duplicate_name)
{
	struct ipc_server *server;
	int fd;

	use_folder();
	server = serve("a");
	ck_assert_int_eq(try_serve("a"), -EEXIST);
	ck_assert_int_eq(try_serve("b"), 0);
	pump();
	fd = raw_client("a.sock");
	send_request(fd, IPC_INFO);
	pump();
	expect_answer(fd, 0);
	ipc_server_free(server);
	ck_assert(!exists("a.sock"));
	ck_assert(is_closed(fd));
	ck_assert_int_eq(try_serve("a"), 0);
}
END_TEST

/* A guest that cannot accept any more is alive all the same. */
START_TEST(test_duplicate_full_backlog)
{
	struct ipc_server *server;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	pid_t pid;
	int fd;

	use_folder();
	server = serve("a");
	strcpy(addr.sun_path, in_folder("a.sock"));
	do
		fd = raw_socket();
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(try_serve("a"), -EEXIST);
	ck_assert(exists("a.sock"));
	fake.short_timeouts = true;
	ck_assert_int_eq(ipc_connect("a", &pid), -ETIMEDOUT);
	pump();
	ipc_server_free(server);
}
END_TEST

START_TEST(test_stale_socket)
{
	pid_t pid, seen;

	use_folder();
	kill_guest(serve_forked("a"));
	ck_assert(exists("a.sock"));
	ck_assert_int_eq(ipc_connect("a", &seen), -ECONNREFUSED);
	ck_assert(!exists("a.sock"));
	ck_assert_int_eq(ipc_connect("a", &seen), -ENOENT);

	kill_guest(serve_forked("a"));
	pid = serve_forked("a"); /* takes the name of the dead one */
	close(ipc_connect("a", &seen));
	ck_assert_int_eq(seen, pid);
	kill_guest(pid);
}
END_TEST

/* It sleeps between its looks at the lock. */
static unsigned long sleeps_of(pid_t pid)
{
	unsigned long n = 0;
	char line[256];
	FILE *status;

	snprintf(line, sizeof(line), "/proc/%d/status", pid);
	status = fopen(line, "re");
	ck_assert_ptr_nonnull(status);
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
			break;
	fclose(status);
	return n;
}

/* A client that comes between the bind() and the listen() of a guest: it waits, and is served. */
START_TEST(test_not_dead_yet)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int folder, fd = raw_socket(), status;
	pid_t client, pid;

	use_folder();
	folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(flock(folder, LOCK_EX), 0);
	strcpy(addr.sun_path, in_folder("a.sock"));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	client = fork();
	ck_assert_int_ge(client, 0);
	if (client == 0)
		_exit(ipc_connect("a", &pid) >= 0 ? 0 : 1);
	while (sleeps_of(client) < 20)
		ck_assert_int_eq(waitpid(client, &status, WNOHANG), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(flock(folder, LOCK_UN), 0);
	ck_assert_int_eq(waitpid(client, &status, 0), client);
	ck_assert_int_eq(status, 0);
	ck_assert(exists("a.sock"));
}
END_TEST

START_TEST(test_not_a_socket)
{
	pid_t pid;

	use_folder();
	ck_assert_int_eq(close(creat(in_folder("a.sock"), 0600)), 0);
	ck_assert_int_eq(try_serve("a"), -ENOTSOCK);
	ck_assert_int_eq(ipc_connect("a", &pid), -ENOTSOCK);
	ck_assert(exists("a.sock"));
}
END_TEST

#define RACERS 8

static void race(const char *name, int go, int result)
{
	struct ipc_server *server = NULL;
	struct loop own;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(STDERR_FILENO); /* all but one complain */
	if (loop_init(&own) < 0 || read(go, &c, 1) != 0)
		_exit(1);
	c = (char)-ipc_server_new(&own, name, handler, NULL, &server);
	if (write(result, &c, 1) == 1)
		pause();
	_exit(1);
}

/* Guests that claim a dead guest's name at once: one gets it, and is reached by it. */
START_TEST(test_claim_race)
{
	use_folder();
	for (int round = 0; round < 30; round++) {
		int go[2], result[2], winners = 0;
		pid_t pid[RACERS], seen = 0;

		kill_guest(serve_forked("a"));
		ck_assert(pipe(go) == 0 && pipe(result) == 0);
		for (int i = 0; i < RACERS; i++) {
			pid[i] = fork();
			ck_assert_int_ge(pid[i], 0);
			if (pid[i] == 0) {
				close(go[1]);
				race("a", go[0], result[1]);
			}
		}
		close(go[0]);
		close(go[1]);
		for (int i = 0; i < RACERS; i++) {
			char c;

			ck_assert_int_eq(read(result[0], &c, 1), 1);
			ck_assert(c == 0 || c == EEXIST);
			winners += c == 0;
		}
		ck_assert_int_eq(winners, 1);
		close(ipc_connect("a", &seen));
		ck_assert_int_gt(seen, 0);
		for (int i = 0; i < RACERS; i++)
			kill_guest(pid[i]);
		close(result[0]);
		close(result[1]);
	}
}
END_TEST

START_TEST(test_bad_requests)
{
	static const struct {
		const char *what;
		struct ipc_request head;
		size_t bytes; /* of the packet */
		int status;
	} cases[] = {
		{ "empty", { 0 }, 0, -EPROTO },
		{ "one byte", { IPC_MAGIC, IPC_VERSION, IPC_INFO, 0 }, 1, -EPROTO },
		{ "short head", { IPC_MAGIC, IPC_VERSION, IPC_INFO, 0 }, 11, -EPROTO },
		{ "magic", { IPC_MAGIC ^ 1, IPC_VERSION, IPC_INFO, 0 }, 12, -EPROTO },
		{ "version", { IPC_MAGIC, IPC_VERSION + 1, IPC_INFO, 0 }, 12, -EPROTONOSUPPORT },
		{ "op 0", { IPC_MAGIC, IPC_VERSION, 0, 0 }, 12, -EOPNOTSUPP },
		{ "op too large", { IPC_MAGIC, IPC_VERSION, IPC_N_OPS, 0 }, 12, -EOPNOTSUPP },
		{ "op 65535", { IPC_MAGIC, IPC_VERSION, 65535, 0 }, 12, -EOPNOTSUPP },
		{ "less than told", { IPC_MAGIC, IPC_VERSION, IPC_INFO, 5 }, 16, -EPROTO },
		{ "more than told", { IPC_MAGIC, IPC_VERSION, IPC_INFO, 3 }, 16, -EPROTO },
		{ "4 GiB told", { IPC_MAGIC, IPC_VERSION, IPC_INFO, UINT32_MAX }, 12, -EPROTO },
		{ "too long", { IPC_MAGIC, IPC_VERSION, IPC_INFO, IPC_MAX_BODY + 1 },
		  12 + IPC_MAX_BODY + 1, -EMSGSIZE },
	};
	static uint8_t packet[12 + IPC_MAX_BODY + 1];
	struct ipc_server *server;

	use_folder();
	server = serve("a");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = raw_client("a.sock");

		memcpy(packet, &cases[i].head, sizeof(cases[i].head));
		ck_assert_int_eq(send(fd, packet, cases[i].bytes, 0), (ssize_t)cases[i].bytes);
		pump();
		ck_assert_uint_eq(expect_answer(fd, cases[i].status), 0);
		ck_assert_msg(is_closed(fd), "%s", cases[i].what);
		close(fd);
	}
	ck_assert_uint_eq(handled, 0);
	ipc_server_free(server);
}
END_TEST

START_TEST(test_call)
{
	static uint8_t body[IPC_MAX_BODY];
	pid_t pid, seen;
	int fd;

	use_folder();
	pid = serve_forked("a");
	fd = ipc_connect("a", &seen);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(seen, pid);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);

	ck_assert_int_eq(ipc_call(fd, IPC_SYSRQ, "c", 1, &reply), 0);
	ck_assert_uint_eq(reply.len, 1);
	ck_assert_uint_eq(reply.body[0], 'c');
	ck_assert_int_eq(ipc_call(fd, IPC_PAUSE, NULL, 0, NULL), 0);
	ck_assert_int_eq(ipc_call(fd, IPC_NMI, "1234", 4, &reply), -ENODEV);
	ck_assert_uint_eq(reply.len, 4);

	ck_assert_int_eq(ipc_call(fd, IPC_STAT, NULL, 0, &reply), 0);
	ck_assert_uint_eq(reply.len, IPC_MAX_BODY);
	ck_assert_uint_eq(reply.body[IPC_MAX_BODY - 1], 'x');
	memset(body, 'b', sizeof(body));
	ck_assert_int_eq(ipc_call(fd, IPC_SYSRQ, body, sizeof(body), &reply), 0);
	ck_assert_uint_eq(reply.len, sizeof(body));
	ck_assert_int_eq(memcmp(reply.body, body, sizeof(body)), 0);
	kill_guest(pid);
}
END_TEST

/* A client that asks and does not read: the server keeps one answer for it and serves others. */
START_TEST(test_slow_reader)
{
	struct ipc_server *server;
	unsigned asked = 0, before;
	int slow, other;

	use_folder();
	server = serve("a");
	slow = raw_client("a.sock");
	pump();
	do {
		before = handled;
		send_request(slow, IPC_STAT);
		asked++;
		pump();
		ck_assert_uint_lt(asked, 1000);
	} while (handled > before);
	ck_assert_uint_eq(handled, asked - 1);

	other = raw_client("a.sock");
	send_request(other, IPC_INFO);
	pump();
	expect_answer(other, 0);

	for (unsigned i = 0; i < asked; i++) {
		ck_assert_uint_eq(expect_answer(slow, 0), IPC_MAX_BODY);
		pump();
	}
	ck_assert_uint_eq(handled, asked + 1);
	expect_silence(slow);
	ipc_server_free(server);
}
END_TEST

START_TEST(test_slow_reader_leaves)
{
	struct ipc_server *server;
	int slow;

	use_folder();
	server = serve("a");
	slow = raw_client("a.sock");
	for (int i = 0; i < 10; i++) {
		send_request(slow, IPC_STAT);
		pump();
	}
	close(slow);
	pump();
	slow = raw_client("a.sock");
	for (int i = 0; i < 10; i++) {
		send_request(slow, IPC_STAT);
		pump();
	}
	ipc_server_free(server); /* frees the kept answer: the leak checker sees to that */
	pump();
}
END_TEST

START_TEST(test_client_leaves)
{
	struct ipc_server *server;
	int fd;

	use_folder();
	server = serve("a");
	close(raw_client("a.sock"));
	pump();
	ck_assert_uint_eq(handled, 0);
	/* asked before it left: it is done, the answer goes nowhere, and no SIGPIPE comes */
	fd = raw_client("a.sock");
	pump();
	send_request(fd, IPC_STOP);
	close(fd);
	pump();
	ck_assert_uint_eq(handled, 1);
	ipc_server_free(server);
}
END_TEST

START_TEST(test_silent_clients)
{
	int fd[IPC_MAX_CLIENTS], extra;
	struct ipc_server *server;

	use_folder();
	server = serve("a");
	for (int i = 0; i < IPC_MAX_CLIENTS; i++)
		fd[i] = raw_client("a.sock");
	pump();
	send_request(fd[0], IPC_INFO);
	pump();
	expect_answer(fd[0], 0);

	/* fd[1] is now the one that has said nothing for longest */
	extra = raw_client("a.sock");
	send_request(extra, IPC_INFO);
	pump();
	expect_answer(extra, 0);
	ck_assert(is_closed(fd[1]));
	for (int i = 0; i < IPC_MAX_CLIENTS; i++)
		if (i != 1)
			expect_silence(fd[i]);
	ipc_server_free(server);
}
END_TEST

/* More connections at once than one turn of the loop accepts. */
START_TEST(test_many_connections)
{
	struct ipc_server *server;
	int fd[IPC_MAX_CLIENTS + 8];

	use_folder();
	server = serve("a");
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = raw_client("a.sock");
		send_request(fd[i], IPC_INFO);
	}
	pump();
	for (size_t i = ARRAY_SIZE(fd) - 8; i < ARRAY_SIZE(fd); i++)
		expect_answer(fd[i], 0);
	ipc_server_free(server);
}
END_TEST

static int next_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

START_TEST(test_out_of_fds)
{
	struct rlimit limit;
	struct ipc_server *server;
	int first, second;

	use_folder();
	server = serve("a");
	first = raw_socket();
	second = raw_socket();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)next_fd();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	raw_connect(first, "a.sock");
	pump(); /* nothing can be accepted, and the loop must not spin */
	limit.rlim_cur++;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	raw_connect(second, "a.sock"); /* room for one: the first goes, the second is served */
	send_request(second, IPC_INFO);
	pump();
	expect_answer(second, 0);
	ck_assert(is_closed(first));
	ipc_server_free(server);
}
END_TEST

START_TEST(test_peer_refused)
{
	struct ipc_server *server;
	int fd;

	use_folder();
	server = serve("a");
	fd = raw_client("a.sock");
	fake.peer_uid = geteuid() + 1;
	send_request(fd, IPC_STOP);
	pump();
	/* it had asked already, so the close is told first */
	ck_assert_int_eq(recv(fd, &reply, sizeof(reply), 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	expect_answer(fd, -EPERM);
	ck_assert(is_closed(fd));
	close(fd);
	fd = raw_client("a.sock");
	pump();
	expect_answer(fd, -EPERM);
	ck_assert(is_closed(fd));
	ck_assert_uint_eq(handled, 0);

	fake.peer_uid = 0; /* root may */
	fake.own_uid = 1000;
	fd = raw_client("a.sock");
	send_request(fd, IPC_INFO);
	pump();
	expect_answer(fd, 0);
	ipc_server_free(server);
}
END_TEST

/* The same with a true other user, if this one may become one; ipc_call() gets the answer. */
START_TEST(test_other_user)
{
	pid_t guest, child, pid;
	int status;

	use_folder();
	guest = serve_forked("a");
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		int fd = ipc_connect("a", &pid);

		if (geteuid() == 0) {
			close(fd);
			/* the folder keeps others out; here it is the server's turn */
			if (chmod(dir, 0711) < 0 || chmod(in_folder("a.sock"), 0777) < 0 ||
			    setresuid(65534, 65534, 65534) < 0)
				_exit(1);
			fd = raw_socket();
			raw_connect(fd, "a.sock");
			fcntl(fd, F_SETFL, 0);
			_exit(ipc_call(fd, IPC_STOP, NULL, 0, &reply) == -EPERM ? 0 : 2);
		}
		_exit(ipc_call(fd, IPC_INFO, NULL, 0, &reply) == 0 ? 0 : 3);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	kill_guest(guest);
}
END_TEST

/* The server's end of a call, played by the test. */
static int fake_server(int *ret_client)
{
	const struct timeval soon = { .tv_usec = 20000 };
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	*ret_client = pair[0];
	return pair[1];
}

START_TEST(test_bad_answers)
{
	static const struct {
		struct ipc_answer head;
		size_t bytes;
		int want;
	} cases[] = {
		{ { IPC_MAGIC, 0, 0 }, sizeof(struct ipc_answer), 0 },
		{ { IPC_MAGIC, -EBUSY, 4 }, sizeof(struct ipc_answer) + 4, -EBUSY },
		{ { IPC_MAGIC, 1, 0 }, sizeof(struct ipc_answer), -EPROTO },
		{ { IPC_MAGIC ^ 1, 0, 0 }, sizeof(struct ipc_answer), -EPROTO },
		{ { IPC_MAGIC, 0, 0 }, 4, -EPROTO },
		{ { IPC_MAGIC, 0, 1 }, sizeof(struct ipc_answer), -EPROTO },
		{ { IPC_MAGIC, 0, 0 }, sizeof(struct ipc_answer) + 1, -EPROTO },
		{ { IPC_MAGIC, 0, IPC_MAX_BODY }, sizeof(struct ipc_answer) + IPC_MAX_BODY, 0 },
		{ { IPC_MAGIC, 0, IPC_MAX_BODY }, sizeof(struct ipc_answer) + IPC_MAX_BODY + 1, -EPROTO },
		{ { IPC_MAGIC, 0, IPC_MAX_BODY + 1 }, sizeof(struct ipc_answer) + IPC_MAX_BODY + 1, -EPROTO },
	};
	static uint8_t packet[sizeof(struct ipc_answer) + IPC_MAX_BODY + 1];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd, server = fake_server(&fd);

		memcpy(packet, &cases[i].head, sizeof(cases[i].head));
		ck_assert_int_eq(send(server, packet, cases[i].bytes, 0), (ssize_t)cases[i].bytes);
		ck_assert_msg(ipc_call(fd, IPC_INFO, NULL, 0, &reply) == cases[i].want, "case %zu", i);
		close(server);
		close(fd);
	}
}
END_TEST

static int refusing_server;

static void refuse(void)
{
	const struct ipc_answer answer = { IPC_MAGIC, -EPERM, 0 };

	fake.before_poll = NULL;
	ck_assert_int_eq(send(refusing_server, &answer, sizeof(answer), 0), sizeof(answer));
	close(refusing_server); /* with the request unread: the client sees a reset first */
}

START_TEST(test_refused_call)
{
	int fd;

	refusing_server = fake_server(&fd);
	fake.before_poll = refuse;
	ck_assert_int_eq(ipc_call(fd, IPC_STOP, NULL, 0, &reply), -EPERM);
	fake.resets = 2; /* it does not try for ever */
	ck_assert_int_eq(ipc_call(fd, IPC_STOP, NULL, 0, &reply), -ECONNRESET);
	ck_assert_int_eq(fake.resets, 0);
}
END_TEST

START_TEST(test_answer_without_room)
{
	const struct {
		struct ipc_answer head;
		char body[4];
	} packet = { { IPC_MAGIC, 0, 4 }, "abc" };
	int fd, server = fake_server(&fd);

	ck_assert_int_eq(send(server, &packet, sizeof(packet), 0), sizeof(packet));
	ck_assert_int_eq(ipc_call(fd, IPC_INFO, NULL, 0, NULL), -EPROTO);
}
END_TEST

START_TEST(test_no_answer)
{
	int fd, server = fake_server(&fd);

	ck_assert_int_eq(ipc_call(fd, IPC_INFO, NULL, 0, &reply), -ETIMEDOUT);
	close(server); /* with the request unread */
	ck_assert_int_eq(ipc_call(fd, IPC_INFO, NULL, 0, &reply), -ECONNRESET);
	ck_assert_int_eq(ipc_call(fd, IPC_INFO, NULL, 0, &reply), -ECONNRESET);
}
END_TEST

START_TEST(test_connect_timeout_set)
{
	struct timeval timeout = { 0 };
	socklen_t len = sizeof(timeout);
	struct ipc_server *server;
	pid_t pid;
	int fd;

	use_folder();
	server = serve("a");
	fd = ipc_connect("a", &pid);
	ck_assert_int_eq(pid, getpid());
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, &len), 0);
	ck_assert_int_eq(timeout.tv_sec, 10);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, &len), 0);
	ck_assert_int_eq(timeout.tv_sec, 10);
	ipc_server_free(server);
}
END_TEST

START_TEST(test_state_names)
{
	ck_assert_str_eq(ipc_state_name(IPC_CREATED), "created");
	ck_assert_str_eq(ipc_state_name(IPC_STOPPING), "stopping");
	ck_assert_str_eq(ipc_state_name(IPC_STOPPING + 1), "unknown");
	ck_assert_str_eq(ipc_state_name(UINT32_MAX), "unknown");
}
END_TEST

static void leave_dead_socket(const char *file)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = raw_socket();

	strcpy(addr.sun_path, in_folder(file));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
}

static int find(struct ipc_peers *peers, const char *pattern)
{
	ipc_peers_free(peers);
	return ipc_peers_find(peers, pattern);
}

static const char *names_of(const struct ipc_peers *peers)
{
	static char names[256];

	names[0] = '\0';
	for (unsigned i = 0; i < peers->n; i++)
		strcat(strcat(names, peers->list[i].name), peers->list[i].err ? "! " : " ");
	return names;
}

START_TEST(test_find)
{
	struct ipc_server *a, *b, *c;
	struct ipc_peers peers = { 0 };
	char missing[128];

	use_folder();
	ck_assert_int_eq(find(&peers, NULL), 0);
	b = serve("b"), c = serve("c.sock"), a = serve("a");
	kill_guest(serve_forked("dead"));
	ck_assert_int_eq(close(creat(in_folder("file.sock"), 0600)), 0);
	leave_dead_socket("bad name.sock");
	ck_assert_int_eq(close(creat(in_folder(".sock"), 0600)), 0);
	ck_assert_int_eq(close(creat(in_folder("other"), 0600)), 0);

	ck_assert_int_eq(find(&peers, NULL), 4);
	ck_assert_str_eq(names_of(&peers), "a b c.sock dead! ");
	ck_assert_int_eq(peers.list[3].err, -ECONNREFUSED);
	ck_assert_int_eq(peers.list[0].pid, getpid());
	ck_assert(!exists("dead.sock"));
	ck_assert(exists("file.sock") && exists("bad name.sock") && exists("other"));

	ck_assert_int_eq(find(&peers, "b"), 1);
	ck_assert_int_eq(ipc_peers_find(&peers, "[ab]"), 1); /* each is there once */
	ck_assert_int_eq(ipc_peers_find(&peers, "c*k"), 1);
	ck_assert_int_eq(ipc_peers_find(&peers, "x*"), 0);
	ck_assert_str_eq(names_of(&peers), "b a c.sock ");

	ipc_server_free(a), ipc_server_free(b), ipc_server_free(c);
	snprintf(missing, sizeof(missing), "%s/missing", dir);
	setenv("LKVM_DIR", missing, 1);
	ck_assert_int_eq(find(&peers, NULL), 0);
	ck_assert(!exists("missing"));
	chmod(dir, 0755);
	setenv("LKVM_DIR", dir, 1);
	ck_assert_int_eq(find(&peers, NULL), -EPERM);
}
END_TEST

static const struct ipc_peer *peer_named(const struct ipc_peers *peers, const char *name)
{
	for (unsigned i = 0; i < peers->n; i++)
		if (!strcmp(peers->list[i].name, name))
			return &peers->list[i];
	ck_abort_msg("%s is not there", name);
	return NULL;
}

/* Those who answer do not wait for those who do not, and who is stopped is not waited for at all. */
START_TEST(test_ask_all)
{
	struct ipc_peers peers = { 0 };
	struct ipc_server *silent;
	pid_t pid[4];
	int64_t start;

	use_folder();
	silent = serve("silent"); /* this process, which is busy below */
	for (int i = 0; i < 4; i++)
		pid[i] = serve_forked((const char *const[]){ "a", "b", "stop1", "stop2" }[i]);
	kill(pid[2], SIGSTOP);
	kill(pid[3], SIGSTOP);
	start = now_ms();
	ck_assert_int_eq(find(&peers, NULL), 5);
	ck_assert_int_eq(ipc_peers_ask(&peers, IPC_SYSRQ, "hello", 5, 300), 0);
	ck_assert_int_ge(now_ms() - start, 300);
	ck_assert_int_lt(now_ms() - start, 5000);
	for (int i = 0; i < 2; i++) {
		const struct ipc_peer *p = peer_named(&peers, i ? "b" : "a");

		ck_assert_int_eq(p->err, 0);
		ck_assert_uint_eq(p->len, 5);
		ck_assert_str_eq((const char *)p->body, "hello");
		ck_assert_int_eq(p->pid, pid[i]);
	}
	ck_assert_int_eq(peer_named(&peers, "silent")->err, -ETIMEDOUT);
	ck_assert(!ipc_peer_stopped(peer_named(&peers, "silent")));
	ck_assert_int_eq(peer_named(&peers, "stop1")->err, -ETIMEDOUT);
	ck_assert(ipc_peer_stopped(peer_named(&peers, "stop2")));

	ck_assert_int_eq(find(&peers, "stop*"), 2);
	start = now_ms();
	ck_assert_int_eq(ipc_peers_ask(&peers, IPC_INFO, NULL, 0, 60000), 0);
	ck_assert_int_lt(now_ms() - start, 20000);
	for (int i = 0; i < 4; i++)
		kill_guest(pid[i]);
	ipc_peers_free(&peers);
	ipc_server_free(silent);
}
END_TEST

START_TEST(test_call_stopped)
{
	int64_t start = now_ms();
	pid_t pid, seen;
	int fd;

	use_folder();
	pid = serve_forked("a");
	kill(pid, SIGSTOP);
	fd = ipc_connect("a", &seen);
	ck_assert_int_eq(ipc_call(fd, IPC_INFO, NULL, 0, &reply), -ETIMEDOUT);
	ck_assert_int_lt(now_ms() - start, 5000);
	kill_guest(pid);
}
END_TEST

/* A refusal with a reason; the next request of who was skipped is answered as well. */
START_TEST(test_ask_some)
{
	struct ipc_peers peers = { 0 };
	pid_t a, b;

	use_folder();
	a = serve_forked("a"), b = serve_forked("b");
	ck_assert_int_eq(find(&peers, NULL), 2);
	peers.list[0].skip = true;
	ck_assert_int_eq(ipc_peers_ask(&peers, IPC_NMI, "text", 4, 20000), 0);
	ck_assert_int_eq(peers.list[0].err, 0);
	ck_assert_ptr_null(peers.list[0].body);
	ck_assert_int_eq(peers.list[1].err, -ENODEV);
	ck_assert_str_eq((const char *)peers.list[1].body, "text");
	peers.list[0].skip = false;
	kill_guest(b);
	ck_assert_int_eq(ipc_peers_ask(&peers, IPC_SYSRQ, "x", 1, 20000), 0);
	ck_assert_int_eq(peers.list[0].err, 0);
	ck_assert_int_eq(peers.list[1].err, -ECONNRESET);
	kill_guest(a);
	ipc_peers_free(&peers);
}
END_TEST

/* What is there under a guest's name, but is a link to the socket of another folder. */
START_TEST(test_link_not_followed)
{
	struct ipc_peers peers = { 0 };
	struct ipc_server *server;
	char *other;
	pid_t pid;

	use_folder();
	ck_assert_int_eq(mkdir(in_folder("other"), 0700), 0);
	server = serve("victim");
	ck_assert_int_eq(symlink("../victim.sock", in_folder("other/a.sock")), 0);
	ck_assert_int_eq(symlink("../dead.sock", in_folder("other/b.sock")), 0);
	leave_dead_socket("dead.sock");
	ck_assert_int_ge(asprintf(&other, "%s/other", dir), 0);
	setenv("LKVM_DIR", other, 1);
	ck_assert_int_eq(ipc_connect("a", &pid), -ENOTSOCK);
	ck_assert_int_eq(ipc_connect("b", &pid), -ENOTSOCK);
	ck_assert_int_eq(find(&peers, NULL), 0);
	ck_assert_int_eq(try_serve("a"), -ENOTSOCK);
	pump();
	ck_assert_uint_eq(handled, 0);
	ck_assert(exists("dead.sock") && exists("other/a.sock") && exists("other/b.sock"));
	ipc_peers_free(&peers);
	ipc_server_free(server);
	free(other);
}
END_TEST

/* A socket behind which another user listens than the folder belongs to: a hard link, say. */
START_TEST(test_foreign_server)
{
	struct ipc_peers peers = { 0 };
	struct ipc_server *server;
	pid_t pid;

	use_folder();
	server = serve("a");
	fake.peer_uid = geteuid() + 1;
	ck_assert_int_eq(ipc_connect("a", &pid), -EACCES);
	ck_assert_int_eq(find(&peers, NULL), 1);
	ck_assert_int_eq(peers.list[0].err, -EACCES);
	ck_assert_int_eq(peers.list[0].fd, -1);
	fake.peer_uid = (uid_t)-1;
	ck_assert_int_eq(find(&peers, NULL), 1);
	ck_assert_int_eq(peers.list[0].err, 0);
	ipc_peers_free(&peers);
	ipc_server_free(server);
}
END_TEST

/* Somebody holds the folder's lock for ever: a stopped lkvm, or a user who wishes root ill. */
START_TEST(test_lock_held)
{
	int folder;

	use_folder();
	fake.short_timeouts = true;
	folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(flock(folder, LOCK_EX), 0);
	ck_assert_int_eq(try_serve("a"), -ETIMEDOUT);
	ck_assert(!exists("a.sock"));
	close(folder);
	ck_assert_int_eq(try_serve("a"), 0);
}
END_TEST

START_TEST(test_process_state)
{
	char text[2] = "";
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_NAME, "a) T (b");
		_exit(write(fds[1], "x", 1) == 1 && pause());
	}
	ck_assert_int_eq(read(fds[0], text, 1), 1);
	ck_assert_int_ne(ipc_process_state(pid), 'T');
	kill(pid, SIGSTOP);
	while (ipc_process_state(pid) != 'T')
		;
	kill_guest(pid);
	ck_assert_int_eq(ipc_process_state(pid), '?');
}
END_TEST

START_TEST(test_unlink)
{
	struct ipc_server *server;

	use_folder();
	ipc_server_free(NULL);
	server = serve("a");
	ck_assert(exists("a.sock"));
	ipc_server_unlink_now(server);
	ck_assert(!exists("a.sock"));
	ipc_server_free(server);
}
END_TEST

/* A dead guest's name is taken while the process looks: nothing stays behind, whoever comes. */
START_TEST(test_fds_returned)
{
	struct ipc_peers peers = { 0 };
	int before;
	pid_t pid;

	use_folder();
	before = next_fd();
	ck_assert_int_eq(try_serve("a"), 0);
	ck_assert_int_eq(ipc_connect("a", &pid), -ENOENT);
	ck_assert_int_eq(find(&peers, NULL), 0);
	ipc_peers_free(&peers);
	chmod(dir, 0755);
	ck_assert_int_eq(try_serve("a"), -EPERM);
	ck_assert_int_eq(ipc_connect("a", &pid), -EPERM);
	ck_assert_int_eq(next_fd(), before);
}
END_TEST

UNIT_MAIN("ipc", test_names, test_bad_name_refused, test_folder_made, test_folder_choice,
	  test_folder_mode, test_folder_owner, test_folder_kind, test_path_length,
	  test_duplicate_name, test_duplicate_full_backlog, test_stale_socket, test_not_dead_yet,
	  test_not_a_socket, test_claim_race, test_bad_requests, test_call, test_slow_reader,
	  test_slow_reader_leaves, test_client_leaves, test_silent_clients, test_many_connections,
	  test_out_of_fds, test_peer_refused, test_other_user, test_bad_answers, test_refused_call,
	  test_answer_without_room, test_no_answer, test_state_names, test_connect_timeout_set,
	  test_find,
	  test_ask_all, test_call_stopped, test_ask_some, test_link_not_followed,
	  test_foreign_server, test_lock_held, test_process_state, test_unlink, test_fds_returned)
