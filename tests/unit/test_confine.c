/* Links: util/confine.o */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/confine.h"
#include "lkvm/types.h"

static char dir[] = "/tmp/lkvm-confine-XXXXXX", seen[64], written[64], hidden[64];
static bool landlock;

static void make(char *name, const char *leaf)
{
	int fd;

	snprintf(name, 64, "%s/%s", dir, leaf);
	fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, leaf, 4), 4);
	close(fd);
}

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	make(seen, "seen");
	make(written, "written");
	make(hidden, "hidden");
}

static void teardown(void)
{
	unlink(seen);
	unlink(written);
	unlink(hidden);
	rmdir(dir);
}

static int open_as(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int socket_of(int family, int type)
{
	int fd = socket(family, type, 0);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

/* Return: the number of the first expectation that does not hold, or 0 */
static int inside(void)
{
	const int denied = landlock ? EACCES : 0;
	int n = 0;

#define EXPECT(what)                                                                               \
	do {                                                                                       \
		n++;                                                                               \
		if (!(what))                                                                       \
			return n;                                                                  \
	} while (0)
	EXPECT(open_as(seen, O_RDONLY) == 0);
	EXPECT(open_as(seen, O_RDWR) == denied);
	EXPECT(open_as(written, O_RDWR) == 0);
	EXPECT(open_as(hidden, O_RDONLY) == denied);
	EXPECT(open_as(dir, O_RDONLY) == denied);
	EXPECT(open_as("/etc/passwd", O_RDONLY) == denied);
	EXPECT(!landlock || (unlink(written) && errno == EACCES));
	EXPECT(!landlock || (mkdir(dir, 0700) && mknod(hidden, S_IFIFO, 0)));
	/* The rest needs no Landlock. 10 */
	EXPECT(open_as(seen, O_RDONLY | O_TRUNC) == EPERM);
	EXPECT(syscall(SYS_open, written, O_RDWR | O_TRUNC) < 0 && errno == EPERM);
	EXPECT(truncate(written, 0) && errno == EPERM);
	EXPECT(socket_of(AF_UNIX, SOCK_STREAM) == EPERM);
	EXPECT(socket_of(AF_INET, SOCK_DGRAM) == EPERM);
	EXPECT(kill(getppid(), 0) && errno == EPERM);
	EXPECT(chmod(seen, 0777) && errno == EPERM);
	EXPECT(syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EPERM);
	EXPECT(syscall(SYS_getpid | 0x40000000) < 0 && errno == EPERM);
	EXPECT(access("/", F_OK) == 0 && getpid() > 0);
	return 0;
}

START_TEST(test_walls)
{
	struct confine c;
	int status;
	pid_t pid;

	setup();
	landlock = !confine_init(&c);
	ck_assert_int_eq(landlock, c.ruleset_fd >= 0);
	printf("# Landlock: %s\n", landlock ? "yes" : "no, only system calls are tested");
	ck_assert_int_eq(confine_allow(&c, seen, CONFINE_READ), 0);
	ck_assert_int_eq(confine_allow(&c, written, CONFINE_READ | CONFINE_WRITE), 0);
	ck_assert_int_eq(confine_allow(&c, "/nowhere", CONFINE_READ), -ENOENT);
	pid = fork();
	if (!pid)
		_exit(confine_enter(&c) ? 99 : inside());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status >> 8, 0);
	ck_assert_int_eq(status, 0);
	confine_fini(&c);
	/* Not for those who stay outside */
	ck_assert_int_eq(open_as(hidden, O_RDWR), 0);
	teardown();
}
END_TEST

/* A folder is meant with all that is below it, and a program can be executed. */
START_TEST(test_folder)
{
	struct confine c;
	int status;
	pid_t pid;

	setup();
	landlock = !confine_init(&c);
	ck_assert_int_eq(confine_allow(&c, dir, CONFINE_READ), 0);
	ck_assert_int_eq(confine_allow(&c, "/usr", CONFINE_EXEC), 0);
	confine_allow(&c, "/lib64", CONFINE_EXEC);
	confine_allow(&c, "/lib", CONFINE_EXEC);
	pid = fork();
	if (!pid) {
		if (confine_enter(&c) || open_as(hidden, O_RDONLY) || open_as(dir, O_RDONLY) ||
		    (landlock && open_as(hidden, O_RDWR) != EACCES))
			_exit(98);
		execl("/usr/bin/head", "head", "-c0", hidden, NULL); /* ours is TAP */
		_exit(97);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	confine_fini(&c);
	teardown();
}
END_TEST

/* 32-bit system calls have other numbers: nothing is left to them. */
START_TEST(test_int80)
{
	struct confine c;
	int status;
	pid_t pid;

	confine_init(&c);
	pid = fork();
	if (!pid) {
		long nr = 20; /* getpid */

		if (confine_enter(&c))
			_exit(98);
		__asm__ volatile("int $0x80" : "+a"(nr) : : "memory", "r8", "r9", "r10", "r11");
		_exit(nr == -ENOSYS ? 96 : 97); /* a kernel may have none at all */
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert((WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV)) ||
		  status >> 8 == 96);
	confine_fini(&c);
}
END_TEST

UNIT_MAIN("confine", test_walls, test_folder, test_int80)
