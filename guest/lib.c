/* What a C library would have: memory, text, the console's lines, whole files. See sys.h. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <time.h>

void *memcpy(void *dst, const void *src, size_t n)
{
	void *at = dst;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(src), "+c"(n) : : "memory");
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	void *at = dst;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
	return dst;
}

bool text_number(const char **s, uint32_t *ret)
{
	const char *at = *s;
	uint64_t n = 0;

	for (; *at >= '0' && *at <= '9'; at++) {
		n = n * 10 + (uint64_t)(*at - '0');
		if (n > UINT32_MAX)
			return false;
	}
	if (at == *s)
		return false;
	*s = at;
	*ret = (uint32_t)n;
	return true;
}

const char *number_text(uint64_t n, char buf[static NUMBER_BYTES])
{
	char *at = buf + NUMBER_BYTES - 1;

	*at = '\0';
	do {
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	return at;
}

void say(const char *text)
{
	SYS(write, 2, text, text_len(text));
}

void say_number(uint64_t n)
{
	char buf[NUMBER_BYTES];

	say(number_text(n, buf));
}

static const char *error_text(long err)
{
	switch (err) {
	case -EPERM: return "Operation not permitted";
	case -ENOENT: return "No such file or directory";
	case -ENODEV: return "No such device";
	case -ENOTDIR: return "Not a directory";
	case -EINVAL: return "Invalid argument";
	case -EACCES: return "Permission denied";
	case -EROFS: return "Read-only file system";
	case -ENOEXEC: return "Exec format error";
	case -ENOMEM: return "Cannot allocate memory";
	case -ESRCH: return "No such user";
	case -ENOSYS: return "Function not implemented";
	case -ENOTCONN: return "Transport endpoint is not connected";
	default: return NULL;
	}
}

long complain(long err, const char *what, const char *name)
{
	const char *text = error_text(err);

	say("lkvm init: ");
	say(what);
	say(" '");
	say(name);
	say("': ");
	if (text) {
		say(text);
	} else {
		say("error ");
		say_number((uint64_t)-err);
	}
	say("\n");
	return err;
}

void *map_memory(size_t bytes)
{
	long at = SYS(mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

static long read_up_to(const char *path, char *buf, size_t bytes)
{
	long fd = SYS(open, path, O_RDONLY | O_CLOEXEC), n = 1;
	size_t len = 0;

	if (fd < 0)
		return fd;
	while (len < bytes && (n = SYS(read, fd, buf + len, bytes - len)) > 0)
		len += (size_t)n;
	SYS(close, fd);
	return n < 0 ? n : (long)len;
}

char *read_all(const char *path, size_t *ret_len)
{
	char *text = map_memory(FILE_MOST + 1);
	long len = text ? read_up_to(path, text, FILE_MOST + 1) : -ENOMEM;

	if (len < 0 || len > (long)FILE_MOST) {
		if (text)
			SYS(munmap, text, FILE_MOST + 1);
		return NULL;
	}
	*ret_len = (size_t)len;
	return text;
}

long read_some(const char *path, char *buf, size_t bytes)
{
	long len = read_up_to(path, buf, bytes - 1);

	if (len >= 0)
		buf[len] = '\0';
	return len;
}

uint64_t clock_ns(int clock)
{
	struct timespec t = { 0 };

	SYS(clock_gettime, clock, &t);
	return (uint64_t)t.tv_sec * 1000 * NS_PER_MS + (uint64_t)t.tv_nsec;
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		SYS(close, *fd);
	*fd = -1;
}

void set_nonblocking(int fd)
{
	const long flags = SYS(fcntl, fd, F_GETFL);

	SYS(fcntl, fd, F_SETFL, flags | O_NONBLOCK);
}

void power_off(void)
{
	SYS(sync);
	SYS(mount, NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL); /* a disk's file system is clean then */
	SYS(reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF);
	for (;;)
		SYS(pause);
}
