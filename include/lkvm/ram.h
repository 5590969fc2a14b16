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
 * ram_new(), so all functions on a const struct ram may be called from any thread. This module is
 * mechanics: it never logs.
 *
 * Far above there may be a region of blocks that come and go while the guest runs (--mem-max). A block that is
 * not plugged is PROT_NONE, and no RAM for any function here; a block that is plugged is RAM as any other, but
 * in none of ram_parts(). What a thread does with a host address that it was given before, see ram_unplug().
 */
#ifndef LKVM_RAM_H
#define LKVM_RAM_H

#include <stdatomic.h>

#include "lkvm/types.h"

#define RAM_PAGE_BYTES 4096 /* the unit of logs; what the host maps may be larger */
#define RAM_GAP_START 0xd0000000ULL
#define RAM_GAP_END   0x100000000ULL
#define RAM_GAP_SIZE  (RAM_GAP_END - RAM_GAP_START)
#define RAM_MAX_PARTS 2
#define RAM_GUARD     (2 * MIB)

#define RAM_MAX_BLOCKS  256 /* that come and go: each is a memory slot of KVM's while it is there */
#define RAM_BLOCK_WORDS (RAM_MAX_BLOCKS / 64)
#define RAM_MAX_AREAS   (RAM_MAX_PARTS + RAM_MAX_BLOCKS / 2)

#define RAM_HOST_NODES 1024 /* of the host's NUMA nodes that a policy may name */

/* From which of the host's NUMA nodes memory is taken: mbind(2) */
struct ram_policy {
	uint64_t start, bytes; /* guest addresses, all of them RAM */
	int mode;              /* MPOL_* */
	uint64_t nodes[RAM_HOST_NODES / 64]; /* bits */
};

/* Where blocks are plugged, one bit each: @bytes is a multiple of @block_bytes, a power of two. All 0: nowhere */
struct ram_region {
	uint64_t start, bytes, block_bytes;
};

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
	const struct ram_policy *policy; /* n_policies of them, which overlap nowhere; they outlive the RAM */
	unsigned n_policies;
	struct ram_region region; /* above all RAM, its start a multiple of its block; goes with anonymous RAM only */
	uint64_t plugged[RAM_BLOCK_WORDS]; /* of @saved: blocks that are there from the beginning */
	bool saved;   /* the RAM begins with what ram_save() wrote, which stays as it is: */
	int saved_fd; /* not the RAM's, which has its own */
};

struct ram_part {
	gpa_t start;
	uint64_t size_bytes;
};

/* With this a struct ram begins: for ram_host() alone, which every buffer of every queue passes. */
struct ram_map {
	uint8_t *base; /* host address of guest address 0 */
	unsigned n_parts;
	struct ram_part part[RAM_MAX_PARTS];
	struct ram_region region;
	_Atomic(uint64_t) plugged[RAM_BLOCK_WORDS];
};

struct ram; /* hw/ram-internal.h */

/* Where the pages of ram_new() come from: stays open longer than they are used. */
struct ram_backing {
	int fd;               /* -1: anonymous */
	bool shared;          /* MAP_SHARED rather than MAP_PRIVATE */
	uint64_t page_bytes;  /* huge page size to ask for, 0: ordinary pages */
	bool prealloc;
	const struct ram_config *advice; /* lives as long as the RAM */
	bool unbound;         /* set by ram_new(): what failed was a policy */
	char refused[64];     /* filled by ram_new(): names of the advice that the host refused */
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
 * ram_new() - reserve the span, map the parts, bind them to the host's nodes, advise
 * @size_bytes: a multiple of the page size (of @backing->page_bytes if set)
 * Return: 0, or -errno of the mmap(), mbind() or madvise(MADV_POPULATE_WRITE) that failed; then nothing is left mapped
 */
int ram_new(uint64_t size_bytes, struct ram_backing *backing, struct ram **ret);
/** ram_free() - unmap all; in-flight I/O must be over; takes NULL */
void ram_free(struct ram *ram);

/** ram_parts() - the parts, in address order; valid as long as @ram is */
const struct ram_part *ram_parts(const struct ram *ram, unsigned *ret_n);
/** ram_bytes() - all parts together: what the guest was given at its start */
uint64_t ram_bytes(const struct ram *ram);
/**
 * ram_areas() - all that is RAM at this moment: the parts, and runs of plugged blocks; in address order
 * Return: how many. It stays so only while the device that plugs stands still, or in a child of the process.
 */
unsigned ram_areas(const struct ram *ram, struct ram_part ret[RAM_MAX_AREAS]);
/** ram_end() - where the last of all that is RAM now or ever ends */
uint64_t ram_end(const struct ram *ram);
/** ram_file_at() - where a page is in a file of all RAM: the parts back to back, then the region; how long that is */
uint64_t ram_file_at(const struct ram *ram, gpa_t at);
uint64_t ram_file_bytes(const struct ram *ram);

/** ram_host_plugged() - ram_host(), for what is in no part */
uint8_t *ram_host_plugged(const struct ram *ram, gpa_t at, uint64_t len);

/**
 * ram_host() - THE bounds test: subtract, then compare, so that nothing can wrap
 * For the functions below and for what a queue element points to.
 * Return: host address of [@at, @at + @len), NULL if not all of it is RAM
 */
static inline uint8_t *ram_host(const struct ram *ram, gpa_t at, uint64_t len)
{
	const struct ram_map *map = (const struct ram_map *)ram;

	for (unsigned i = 0; i < map->n_parts; i++) {
		uint64_t off = at.v - map->part[i].start.v;

		if (at.v >= map->part[i].start.v && off <= map->part[i].size_bytes &&
		    len <= map->part[i].size_bytes - off)
			return map->base + at.v;
	}
	return map->region.bytes ? ram_host_plugged(ram, at, len) : NULL;
}

/**
 * ram_read() - copy out of the guest's RAM, all or nothing
 * Return: 0, or -EFAULT if any byte of [@src, @src + @len) is not RAM (@dst is then untouched)
 */
int ram_read(const struct ram *ram, gpa_t src, void *dst, size_t len);
/** ram_write() - copy into the guest's RAM, all or nothing; Return: 0 or -EFAULT */
int ram_write(struct ram *ram, gpa_t dst, const void *src, size_t len);

/**
 * ram_window() - one stretch of host memory that stays valid until ram_free()
 * For what must be shared with the guest for long: rings, boot images, memory slots.
 * @align: power of two that @at must be a multiple of
 * Return: 0, -EFAULT if not all of it is RAM, -EINVAL if misaligned
 */
int ram_window(const struct ram *ram, gpa_t at, uint64_t len, uint64_t align, void **ret);

/** ram_gpa_of() - the guest address of a host address within the mapping, all that is no RAM included; 0 or -EFAULT */
int ram_gpa_of(const struct ram *ram, const void *host, gpa_t *ret);

/* hw/ram-log.c: which pages lkvm itself writes. KVM's dirty log knows only what the guest does. */

/**
 * ram_log() - from now on keep a log, or keep none; it begins empty
 * Main thread. A device notes the buffers that it may write when it takes them: those that it has already are not in
 * a log that begins while something is in flight. A log is an answer only while nothing is in flight.
 * Return: 0 or -ENOMEM
 */
int ram_log(struct ram *ram, bool on);
/** ram_logging() - is there a log now? For who cannot afford the call below; valid as long as @ram */
const atomic_bool *ram_logging(const struct ram *ram);
/**
 * ram_wrote() - somebody wrote or will write to these bytes, which ram_host() or ram_window() gave
 * ram_write() and ram_discard() note by themselves. Any thread; nothing happens without a log.
 */
void ram_wrote(const struct ram *ram, const void *host, uint64_t len);
/**
 * ram_log_take() - add the pages of [@start, @start + @bytes) to a bitmap, and forget them
 * @bitmap: one bit a page from @start on, which is a multiple of 64 pages; bits that are set stay
 */
void ram_log_take(struct ram *ram, gpa_t start, uint64_t bytes, uint64_t *bitmap);

/*
 * hw/ram-spare.c: pages that need not be saved, as the guest does without what is in them. One thread's at a time.
 * Who leaves such a page out saves zeros.
 */
struct ram_spare;

/** ram_spare_new() - no page yet; Return: 0 or -ENOMEM */
int ram_spare_new(const struct ram *ram, struct ram_spare **ret);
/** ram_spare_free() - takes NULL */
void ram_spare_free(struct ram_spare *spare);
/** ram_spare_add() - the pages that are whole in [@at, @at + @bytes); what is no RAM does not matter */
void ram_spare_add(struct ram_spare *spare, gpa_t at, uint64_t bytes);
/**
 * ram_spare_add_unwritten() - of the pages of @from in [@start, @start + @bytes) those whose bit in @written is 0
 * @start: a multiple of 64 pages; all of the range is RAM, or may be
 * @written: as of ram_log_take()
 */
void ram_spare_add_unwritten(struct ram_spare *spare, const struct ram_spare *from, gpa_t start, uint64_t bytes,
			     const uint64_t *written);
/** ram_spare_has() - is the page with this address in it? Async-signal-safe */
bool ram_spare_has(const struct ram_spare *spare, gpa_t at);
/** ram_spare_bytes() - how much that is */
uint64_t ram_spare_bytes(const struct ram_spare *spare);

/* hw/ram-plug.c: blocks that come and go. The three that change something are one thread's at a time. */

/**
 * ram_plug() - blocks [@first, @first + @n) are zeroed RAM from now on; none of them is yet
 * Return: 0, or -errno of mmap(), mbind() or madvise(MADV_POPULATE_WRITE): then none of them is
 */
int ram_plug(struct ram *ram, unsigned first, unsigned n);
/**
 * ram_unplug() - they are none any more, and the host has the memory back; each of them is there
 * No vCPU reaches them: they have no memory slot. But threads may still have host addresses in them, which
 * ram_host() or ram_window() gave, and nobody waits for those. A host address always stands for the same guest
 * address, so nothing else is ever there: a system call finds -EFAULT, or what is plugged there later; and a
 * thread that looks or writes there by itself faults, and goes on with ram_mend(). What it finds then are zeros,
 * what it writes is lost: it hurts a device of that guest at most, which had the memory taken away under it.
 * Return: 0, or -errno of mmap(): then they all are still there, and what was in them may be gone
 */
int ram_unplug(struct ram *ram, unsigned first, unsigned n);
/**
 * ram_mend() - a SIGSEGV at @host: let there be something, if a thread may have an old address there
 * Async-signal-safe. Memory that it makes is gone with the next block that comes or goes.
 * Return: false: that is no such place, and it was our fault
 */
bool ram_mend(const struct ram *ram, const void *host);
/** ram_plugged() - how many of blocks [@first, @first + @n) are there; the range may go beyond the region */
unsigned ram_plugged(const struct ram *ram, unsigned first, unsigned n);
/** ram_plugged_bytes() - all that are */
uint64_t ram_plugged_bytes(const struct ram *ram);
/** ram_region() - where they may be; valid as long as @ram */
const struct ram_region *ram_region(const struct ram *ram);
/** ram_region_host() - its host address: for the kernel, to which addresses of blocks that are not there are -EFAULT */
void *ram_region_host(const struct ram *ram);
/** ram_unplugs() - changes whenever blocks go: who keeps host addresses asks again then; valid as long as @ram */
const atomic_uint *ram_unplugs(const struct ram *ram);

/*
 * hw/ram-beside.c: memory beside RAM, that a device gives the guest. It may have holes, and what is there
 * may be gone at any time: a file that was cut. So nobody is given a pointer to it.
 */

#define RAM_MAX_BESIDE (64 + RAM_MAX_BLOCKS)

struct ram_beside {
	gpa_t at;
	uint64_t bytes; /* 0: there is none */
	uint8_t *host;  /* stays mapped, as something or as nothing, while a device may be asked for I/O */
	bool read_only; /* to the guest */
};

/** ram_beside_set() - number @n is this from now on; it overlaps no other. One call at a time. */
void ram_beside_set(struct ram *ram, unsigned n, const struct ram_beside *beside);
/** ram_beside_mend() - call @mend where something is missing: it may be there then. Before it is used. */
void ram_beside_mend(struct ram *ram, void (*mend)(void *ctx), void *ctx);
/** ram_beside_has() - are these all addresses of one of them, which may be written if @write? Any thread */
bool ram_beside_has(const struct ram *ram, gpa_t at, uint64_t len, bool write);
/**
 * ram_beside_read(), ram_beside_write() - copy; any thread, and it may have to wait for the host's file
 * Return: 0, or -EFAULT where there is not all of it; part of it may have been copied then
 */
int ram_beside_read(const struct ram *ram, gpa_t src, void *dst, size_t len);
int ram_beside_write(const struct ram *ram, gpa_t dst, const void *src, size_t len);

/* hw/ram-discard.c */

/**
 * ram_discard() - give memory back to the host: the guest finds zeros there, or in a file's RAM a hole
 * Only whole pages of what backs the RAM go, so nothing outside of the range and no part of a huge
 * page of hugetlbfs does. Any thread.
 * Return: 0, -EFAULT if not all of it is RAM, -ENOSPC if RAM that began as a file has too many holes, or the
 *	-errno of the host's refusal
 */
int ram_discard(struct ram *ram, gpa_t at, uint64_t bytes);
/**
 * ram_drop() - likewise, of what the guest needs no more: it finds anything there that it had before, or zeros
 * Not -ENOSPC: RAM that began as a file has that file's pages there again.
 */
int ram_drop(struct ram *ram, gpa_t at, uint64_t bytes);

/* hw/ram-save.c: RAM as a file, as ram_file_at() has it */

/* Pages that are not all zeros; Return: 0, or -errno, which ends it */
typedef int (*ram_run_fn)(void *ctx, gpa_t at, const uint8_t *host, size_t bytes);

/**
 * ram_each_run() - call @run for each run of pages of RAM, of 2 MiB at most, that hold other than zeros
 * In the order of their addresses. Async-signal-safe. Nobody writes to the RAM meanwhile: the guest stands still, or
 * this is a child of its process (ram_let_fork()).
 * Return: 0, or what @run returned
 */
int ram_each_run(const struct ram *ram, ram_run_fn run, void *ctx);
/**
 * ram_save() - all of it; what holds nothing but zeros becomes holes; as ram_each_run()
 * @spare: pages that become holes, too, whatever they hold; NULL: there are none
 * @fd: a file that ends at @at, where the RAM begins
 * @ret_bytes: how much was written
 * Return: 0 or -errno
 */
int ram_save(const struct ram *ram, const struct ram_spare *spare, int fd, uint64_t at, uint64_t *ret_bytes);
/**
 * ram_let_fork() - does a child of this process have the RAM? Main thread.
 * As it was when the child was made; but as it is if it is shared (ram_backing_shared()).
 * Return: 0 or -errno
 */
int ram_let_fork(const struct ram *ram, bool on);
/** ram_file() - the descriptor of the file that it is in, or began as, which ram_save() needs; -1: none */
int ram_file(const struct ram *ram);

/* hw/ram-touched.c */

/**
 * ram_touched() - which pages hold anything? A guest that uses little of its RAM is looked through fast by that
 * The other pages are zeros, and to read one would cost the host memory. Any thread, while the guest runs.
 * @at: where a page begins
 * @ret: @n bytes, one a page: 1, or 0
 * Return: 0 or -EFAULT: not all of it is RAM
 */
int ram_touched(const struct ram *ram, gpa_t at, unsigned n, uint8_t *ret);

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

/** ram_mb_text() - an amount of RAM as every message and list shows it: "64MB", "63.996MB" */
const char *ram_mb_text(uint64_t bytes, char *buf, size_t cap);

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

/** ram_backing_failed() - say why ram_new() failed with @err on this backing; Return: @err */
int ram_backing_failed(const struct ram_backing *backing, uint64_t size_bytes, int err);

/** ram_backing_kind() - "anonymous", "memfd", "file" and the like; for `lkvm debug --memmap` */
const char *ram_backing_kind(const struct ram_config *cfg);
/** ram_backing_shared() - do other processes that map the file see what the guest writes? */
bool ram_backing_shared(const struct ram_config *cfg);

#endif
