/*
 * System calls and the few functions that a program without a C library needs: lkvm's init in the guest
 * stands on nothing else. x86-64. A system call returns what the kernel does: -errno.
 */
#ifndef GUEST_SYS_H
#define GUEST_SYS_H

#include <asm/unistd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#define SYS(name, ...) SYS_(name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_(name, a, b, c, d, e, f, ...) \
	sys6(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NS_PER_MS    1000000ull

/* The compiler calls these by itself. memcpy() goes upwards: it may move bytes down by any distance. */
void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);

static inline size_t text_len(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

/* What follows @prefix in @s; NULL: it does not begin so */
static inline const char *text_behind(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return NULL;
	return s;
}

/* Decimal digits at @s; moves it behind them. False: there are none, or the number has more than 32 bits. */
bool text_number(const char **s, uint32_t *ret);

/* @n in decimal, a NUL behind. Return: where it begins in @buf */
#define NUMBER_BYTES 24
const char *number_text(uint64_t n, char buf[static NUMBER_BYTES]);

/* On the console: text as it is; "lkvm init: WHAT 'NAME': REASON", which returns @err (-errno). */
void say(const char *text);
void say_number(uint64_t n);
long complain(long err, const char *what, const char *name);

/* Pages of zeros; NULL: there is no memory */
void *map_memory(size_t bytes);

/* All of a file of up to FILE_MOST bytes, a NUL behind; NULL: there is none, or it is too large */
#define FILE_MOST (16u << 20)
char *read_all(const char *path, size_t *ret_len);
/* As much of a small file as @buf holds, a NUL behind. Return: how much that is, or -errno */
long read_some(const char *path, char *buf, size_t bytes);

uint64_t clock_ns(int clock);
void close_fd(int *fd); /* if it is open (not -1); -1 then */
void set_nonblocking(int fd);

_Noreturn void power_off(void);

#endif
