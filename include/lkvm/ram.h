/*
 * Guest RAM: how much, where, and the only ways to touch it.
 *
 *	guest-physical = offset in the host mapping
 *	0                      0xd0000000          0x100000000
 *	|------- part 0 -------|#### 768 MB gap ####|------ part 1 ------ ...|
 *	                        PROT_NONE, no slot: devices live here
 *
 * One PROT_NONE reservation covers the whole span and a guard on either side; the one or two RAM
 * parts are mapped into it. A missed check faults instead of corrupting. The layout is fixed after
 * ram_init(), so all functions on a const struct ram may be called from any thread. This module is
 * mechanics: it never logs.
 */
#ifndef LKVM_RAM_H
#define LKVM_RAM_H

#include <sys/uio.h>

#include "lkvm/types.h"

#define RAM_GAP_START 0xd0000000ULL
#define RAM_GAP_END   0x100000000ULL
#define RAM_GAP_SIZE  (RAM_GAP_END - RAM_GAP_START)
#define RAM_MAX_PARTS 2
#define RAM_GUARD     (2 * MIB)

/* Ways in which a part of the start-up advice can be switched off; zero is the default. */
struct ram_config {
	uint64_t size_bytes; /* 0: ram_default_bytes() */
	bool no_merge;       /* without MADV_MERGEABLE */
	bool no_thp;         /* without MADV_HUGEPAGE */
	bool fork;           /* without MADV_DONTFORK */
	bool dump;           /* without MADV_DONTDUMP */
	bool share;          /* MAP_SHARED: another process may map the same file */
	bool prealloc;       /* fault every page in before the guest starts */
	bool hugepages;      /* explicit huge pages, of hugepage_bytes or the host's default if 0 */
	uint64_t hugepage_bytes;
	const char *hugetlbfs; /* mount point of a hugetlbfs to take the RAM from, or NULL */
	const char *path;      /* file to use as RAM, or directory to make an unlinked one in, or NULL */
};

struct ram_part {
	gpa_t start;
	uint64_t size_bytes;
};

struct ram {
	uint8_t *base;        /* host address of guest address 0; NULL until ram_init() */
	uint64_t span_bytes;  /* from guest address 0 to the end of the last part */
	uint64_t reserved_bytes;
	void *reservation;
	unsigned n_parts;
	struct ram_part part[RAM_MAX_PARTS];
};

/* Where the pages of ram_init() come from. */
struct ram_backing {
	int fd;               /* -1: anonymous */
	bool shared;          /* MAP_SHARED rather than MAP_PRIVATE */
	uint64_t page_bytes;  /* huge page size to ask for, 0: ordinary pages */
	bool prealloc;
	const struct ram_config *advice;
	char refused[64];     /* filled by ram_init(): names of the advice that the host refused */
};

/**
 * ram_layout() - split a size into parts around the gap
 * @size_bytes: a multiple of the page size
 * @ret_parts:  1 or 2 parts
 * @ret_span:   bytes from guest address 0 to the end of the last part, gap included
 * Return: number of parts
 */
unsigned ram_layout(uint64_t size_bytes, struct ram_part ret_parts[RAM_MAX_PARTS],
		    uint64_t *ret_span);

/**
 * ram_init() - reserve the span, map the parts, advise
 * @size_bytes: a multiple of the page size (of @backing->page_bytes if set)
 * Return: 0, or -errno of the mmap() or madvise(MADV_POPULATE_WRITE) that failed; then nothing is left mapped
 */
int ram_init(struct ram *ram, uint64_t size_bytes, struct ram_backing *backing);
/** ram_fini() - unmap all; in-flight I/O must be over; takes a zeroed struct */
void ram_fini(struct ram *ram);

/**
 * ram_host() - THE bounds test: subtract, then compare, so that nothing can wrap
 * For the functions below and for rings, where a call for each buffer would be felt.
 * Return: host address of [@at, @at + @len), NULL if not all of it is RAM
 */
static inline uint8_t *ram_host(const struct ram *ram, gpa_t at, uint64_t len)
{
	for (unsigned i = 0; i < ram->n_parts; i++) {
		uint64_t off = at.v - ram->part[i].start.v;

		if (at.v >= ram->part[i].start.v && off <= ram->part[i].size_bytes &&
		    len <= ram->part[i].size_bytes - off)
			return ram->base + at.v;
	}
	return NULL;
}

/**
 * ram_read() - copy out of the guest's RAM, all or nothing
 * Return: 0, or -EFAULT if any byte of [@src, @src + @len) is not RAM (@dst is then untouched)
 */
int ram_read(const struct ram *ram, gpa_t src, void *dst, size_t len);
/** ram_write() - copy into the guest's RAM, all or nothing; Return: 0 or -EFAULT */
int ram_write(struct ram *ram, gpa_t dst, const void *src, size_t len);

/**
 * ram_iov() - host memory behind a guest range, for I/O
 * @ret_iov: at most @cap elements; one a part that the range touches (a range never crosses the gap)
 * Return: number of elements (0 for @len 0), -EFAULT if not all of it is RAM, -E2BIG if @cap is too small
 */
int ram_iov(const struct ram *ram, gpa_t at, uint64_t len, struct iovec *ret_iov, unsigned cap);

/**
 * ram_window() - one stretch of host memory that stays valid until ram_fini()
 * For what must be shared with the guest for long: rings, boot images, memory slots.
 * @align: power of two that @at must be a multiple of
 * Return: 0, -EFAULT if not all of it is RAM, -EINVAL if misaligned
 */
int ram_window(const struct ram *ram, gpa_t at, uint64_t len, uint64_t align, void **ret);

/** ram_gpa_of() - the guest address of a host address within the mapping, gap included; 0 or -EFAULT */
int ram_gpa_of(const struct ram *ram, const void *host, gpa_t *ret);

/**
 * ram_fault_report() - from now on a SIGSEGV or SIGBUS within @ram names the guest address
 * @ram:      NULL ends that
 * @clean_up: called on the way, for SIGABRT too, and for faults elsewhere; async-signal-safe; may
 *	      be NULL
 * The process dies of the signal as it would have. Return: 0 or -errno
 */
int ram_fault_report(const struct ram *ram, void (*clean_up)(void));

/* hw/ram-size.c: how much */

/**
 * ram_default_bytes() - 64 * (cpus + 3) MB, at most 0.8 of the host, at least 64 MB
 * @host_bytes: host RAM, 0 if unknown
 */
uint64_t ram_default_bytes(unsigned cpus, uint64_t host_bytes);

enum ram_size_error {
	RAM_SIZE_OK,
	RAM_SIZE_SPECIFIER, /* not [0-9]+[BKMGTP]? */
	RAM_SIZE_ZERO,
	RAM_SIZE_OVERFLOW, /* 2^64 bytes or more */
	RAM_SIZE_SMALL,    /* below 64 MB */
	RAM_SIZE_PAGES,    /* not a multiple of the page size */
};

/** ram_parse_size() - the grammar of -m; @ret is set on RAM_SIZE_OK, _SMALL and _PAGES */
enum ram_size_error ram_parse_size(const char *arg, uint64_t *ret);

/**
 * ram_host_bytes() - host RAM by sysconf()
 * @ret_failed: name of the sysconf() key that failed, for the warning, or NULL
 * Return: bytes, 0 on failure
 */
uint64_t ram_host_bytes(const char **ret_failed);

/** ram_available_bytes() - what the host can give now without swapping; 0 if unknown */
uint64_t ram_available_bytes(void);

/** ram_cgroup_bytes() - the least memory limit of our cgroup and of those above; UINT64_MAX: none */
uint64_t ram_cgroup_bytes(void);

/* hw/ram-backing.c: from where. This part knows names, so it logs. */

/**
 * ram_backing_open() - open what the configuration asks for and check that the RAM fits
 * Return: 0, or -errno after one logged line; ram_backing_close() in either case
 */
int ram_backing_open(struct ram_backing *backing, const struct ram_config *cfg,
		     uint64_t size_bytes);
void ram_backing_close(struct ram_backing *backing);

/** ram_backing_failed() - say why ram_init() failed with @err on this backing; Return: @err */
int ram_backing_failed(const struct ram_backing *backing, uint64_t size_bytes, int err);

/** ram_backing_kind() - "anonymous", "memfd", "file" and the like; for `lkvm debug --memmap` */
const char *ram_backing_kind(const struct ram_config *cfg);
/** ram_backing_shared() - do other processes that map the file see what the guest writes? */
bool ram_backing_shared(const struct ram_config *cfg);

#endif
