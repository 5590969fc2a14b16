/*
 * Preloaded into lkvm: a host that fails, or answers in an unusual way. The environment says how.
 *
 *	INJECT_FAIL=CALL:N:ERRNO   the N-th CALL of the program fails with this error number; KVM_RUN is
 *				   a CALL of its own: among the other ioctls of several vCPUs it has
 *				   no certain place
 *	INJECT_HIT=FILE            written when that call has come: what it was for
 *	INJECT_ANSWER=REQ[/ARG]=V  ioctl REQ (with this argument) answers V; several, blank between
 *	INJECT_SYSCONF=NAME=V      sysconf(NAME) answers V; several, blank between
 *	INJECT_HANG=CALL           CALL never comes back, whatever signals do: KVM_RUN (but the first),
 *				   getrandom (but on the main thread), or munmap (of guest RAM)
 *	INJECT_EXIT=REASON[:WORD]  the first KVM_RUN of the program ends at once with this exit reason;
 *				   the 64-bit WORDs, colon between, follow in kvm_run
 *
 * Numbers are C's. Only what lkvm itself calls is seen, not what the C library calls within, nor what
 * programs do that lkvm starts.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
/* The next definition of the function around: libc's, or a sanitizer's. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char fail_call[32];
static int fail_errno;
static atomic_int fail_countdown;
static struct kvm_run *first_run;
static atomic_bool exit_was_played;

__attribute__((constructor)) static void read_environment(void)
{
	const char *spec = getenv("INJECT_FAIL");
	int at = 0;

	if (spec && sscanf(spec, "%31[^:]:%d:%d", fail_call, &at, &fail_errno) == 3)
		atomic_store(&fail_countdown, at);
	unsetenv("LD_PRELOAD");
}

static void report_hit(const char *object)
{
	const char *path = getenv("INJECT_HIT");
	ssize_t len = (ssize_t)strlen(object);
	int fd = path ? REAL(open)(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

	if (fd < 0 || write(fd, object, (size_t)len) != len)
		abort();
	close(fd);
}

/* Is this call of @call, on @object, the one that is to fail? errno is set then. */
static bool fails_on(const char *call, const char *object)
{
	if (strcmp(call, fail_call) || atomic_fetch_sub(&fail_countdown, 1) != 1)
		return false;
	report_hit(object);
	errno = fail_errno;
	return true;
}

static bool fails(const char *call)
{
	return fails_on(call, "");
}

/* For functions that libraries call too, a sanitizer's among them: is @caller in the program? */
static bool in_program(const void *caller)
{
	Dl_info program, there;

	return dladdr((const void *)getauxval(AT_PHDR), &program) && dladdr(caller, &there) &&
	       program.dli_fbase == there.dli_fbase;
}

static bool alloc_fails(const char *call, const void *caller)
{
	return !strcmp(call, fail_call) && in_program(caller) && fails(call);
}

/* The answer to @key, or to "@key/@arg", in the list of an environment variable. */
static bool answer(const char *variable, const char *key, long arg, long *ret)
{
	const char *list = getenv(variable);
	char with_arg[64], *value;

	snprintf(with_arg, sizeof(with_arg), "%s/%ld", key, arg);
	for (; list; list = strchr(list, ' '), list = list ? list + 1 : NULL) {
		size_t len = strcspn(list, "=");

		if ((len != strlen(key) || strncmp(list, key, len)) &&
		    (len != strlen(with_arg) || strncmp(list, with_arg, len)))
			continue;
		*ret = strtol(list + len + 1, &value, 0);
		return true;
	}
	return false;
}

/* Play the exit of INJECT_EXIT in the first vCPU that runs. */
static bool play_exit(void)
{
	const char *spec = getenv("INJECT_EXIT");
	uint64_t *word = first_run ? (uint64_t *)&first_run->hw : NULL;
	char *end;

	if (!spec || !word || atomic_exchange(&exit_was_played, true))
		return false;
	first_run->exit_reason = (uint32_t)strtoul(spec, &end, 0);
	for (; *end == ':'; word++)
		*word = strtoull(end + 1, &end, 0);
	return true;
}

static void maybe_hang(const char *call)
{
	const char *wanted = getenv("INJECT_HANG");

	while (wanted && !strcmp(wanted, call))
		pause();
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	static atomic_int runs;
	char key[32];
	va_list args;
	void *arg;
	long value;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	snprintf(key, sizeof(key), "0x%lx", request);
	if (fails_on(request == KVM_RUN ? "KVM_RUN" : "ioctl", key))
		return -1;
	if (answer("INJECT_ANSWER", key, (long)arg, &value))
		return (int)value;
	if (request == KVM_RUN && play_exit())
		return 0;
	if (request == KVM_RUN && atomic_fetch_add(&runs, 1) > 0)
		maybe_hang("KVM_RUN");
	return REAL(ioctl)(fd, request, arg);
}

EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *at;

	if (fails("mmap"))
		return MAP_FAILED;
	at = REAL(mmap)(addr, len, prot, flags, fd, offset);
	/* Guest RAM is private: what is shared is a vCPU's kvm_run. */
	if (at != MAP_FAILED && !first_run && fd >= 0 && flags & MAP_SHARED)
		first_run = at;
	return at;
}

EXPORT int munmap(void *addr, size_t len)
{
	if (len >= 64 << 20)
		maybe_hang("munmap");
	return REAL(munmap)(addr, len);
}

EXPORT ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	if (gettid() != getpid())
		maybe_hang("getrandom");
	return REAL(getrandom)(buf, len, flags);
}

EXPORT int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	return fails_on("open", path) ? -1 : REAL(open)(path, flags, mode);
}

EXPORT long sysconf(int name)
{
	const char *key = name == _SC_PHYS_PAGES         ? "_SC_PHYS_PAGES"
			  : name == _SC_AVPHYS_PAGES     ? "_SC_AVPHYS_PAGES"
			  : name == _SC_PAGE_SIZE        ? "_SC_PAGE_SIZE"
			  : name == _SC_NPROCESSORS_ONLN ? "_SC_NPROCESSORS_ONLN"
							 : NULL;
	long value;

	return key && answer("INJECT_SYSCONF", key, 0, &value) ? value : REAL(sysconf)(name);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg)
{
	return fails("pthread_create") ? errno : REAL(pthread_create)(thread, attr, start, arg);
}

EXPORT void *malloc(size_t size)
{
	return alloc_fails("malloc", __builtin_return_address(0)) ? NULL : REAL(malloc)(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
	return alloc_fails("calloc", __builtin_return_address(0)) ? NULL : REAL(calloc)(n, size);
}

EXPORT void *realloc(void *old, size_t size)
{
	return alloc_fails("realloc", __builtin_return_address(0)) ? NULL
								   : REAL(realloc)(old, size);
}

EXPORT int signalfd(int fd, const sigset_t *mask, int flags)
{
	return fails("signalfd") ? -1 : REAL(signalfd)(fd, mask, flags);
}

EXPORT int timerfd_create(int clock, int flags)
{
	return fails("timerfd_create") ? -1 : REAL(timerfd_create)(clock, flags);
}

EXPORT int epoll_create1(int flags)
{
	return fails("epoll_create1") ? -1 : REAL(epoll_create1)(flags);
}

EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	char link[32], file[64];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, file, sizeof(file) - 1);
	file[len > 0 ? len : 0] = '\0';
	/* Nothing can be done about a removal that fails. */
	return op == EPOLL_CTL_ADD && fails_on("epoll_ctl", file)
		       ? -1
		       : REAL(epoll_ctl)(epfd, op, fd, event);
}

EXPORT int eventfd(unsigned count, int flags)
{
	return fails("eventfd") ? -1 : REAL(eventfd)(count, flags);
}

EXPORT int socket(int domain, int type, int protocol)
{
	return fails("socket") ? -1 : REAL(socket)(domain, type, protocol);
}

EXPORT int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	return fails("connect") ? -1 : REAL(connect)(fd, addr, len);
}

EXPORT int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	return fails("bind") ? -1 : REAL(bind)(fd, addr, len);
}

EXPORT int listen(int fd, int backlog)
{
	return fails("listen") ? -1 : REAL(listen)(fd, backlog);
}

EXPORT int memfd_create(const char *name, unsigned flags)
{
	return fails("memfd_create") ? -1 : REAL(memfd_create)(name, flags);
}

EXPORT int fdatasync(int fd)
{
	return fails("fdatasync") ? -1 : REAL(fdatasync)(fd);
}

EXPORT int pipe2(int fds[2], int flags)
{
	return fails("pipe2") ? -1 : REAL(pipe2)(fds, flags);
}

EXPORT pid_t fork(void)
{
	return fails("fork") ? -1 : REAL(fork)();
}

EXPORT int posix_openpt(int flags)
{
	return fails("posix_openpt") ? -1 : REAL(posix_openpt)(flags);
}

EXPORT int grantpt(int fd)
{
	return fails("grantpt") ? -1 : REAL(grantpt)(fd);
}

EXPORT int unlockpt(int fd)
{
	return fails("unlockpt") ? -1 : REAL(unlockpt)(fd);
}

EXPORT int ptsname_r(int fd, char *buf, size_t len)
{
	return fails("ptsname_r") ? errno : REAL(ptsname_r)(fd, buf, len);
}

EXPORT int tcgetattr(int fd, struct termios *attr)
{
	return fails("tcgetattr") ? -1 : REAL(tcgetattr)(fd, attr);
}

EXPORT int tcsetattr(int fd, int when, const struct termios *attr)
{
	return fails("tcsetattr") ? -1 : REAL(tcsetattr)(fd, when, attr);
}
