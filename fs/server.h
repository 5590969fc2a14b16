/*
 * What all file servers share, whichever protocol they speak: the memory of a worker, buffers, reading
 * folders, locks. Between a request (include/lkvm/fs.h) and the tree (tree.h).
 */
#ifndef FS_SERVER_H
#define FS_SERVER_H

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "lkvm/fs.h"
#include "tree.h"

#define FILE_BODY_MAX (72U << 10) /* of requests but those to write: the longest has a value of 64 KiB */
#define FILE_OUT_MAX  (64U << 10) /* of replies but those to read */

struct file_worker {
	uint8_t body[FILE_BODY_MAX] __attribute__((aligned(16)));
	uint8_t out[FILE_OUT_MAX] __attribute__((aligned(16)));
	struct iovec iov[IOV_MAX];
};

/* ---- buffers ---- */

size_t iov_bytes(const struct iovec *iov, unsigned n);
/** iov_read() - bytes from @off on; Return: how many there were */
size_t iov_read(const struct iovec *iov, unsigned n, uint64_t off, void *dst, size_t len);
void iov_write(const struct iovec *iov, unsigned n, uint64_t off, const void *src, size_t len);
/** iov_part() - the part [off, off + len), of which all is there; Return: buffers */
unsigned iov_part(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len,
		  struct iovec ret[IOV_MAX]);

/* ---- numbers ---- */

/** file_dev() - a device number as the kernel has it outside of itself */
static inline uint32_t file_dev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xfff00) << 12;
}

/**
 * file_number() - an inode number where other mounts are folders as others
 * Two files must not have one number, and a file always has the same. @root_dev: the tree's, by file_dev()
 */
uint64_t file_number(const struct statx *st, uint32_t root_dev);

/* ---- attributes ---- */

struct file_change {
	bool has_mode, has_size;
	bool plain; /* as an ordinary user, who takes set-user-ID bits away with the size */
	mode_t mode;
	uint32_t uid, gid; /* UINT32_MAX: stays */
	uint64_t size;
	int fd; /* -1, or where the file is open: it may be cut even if it could not be opened any more */
	struct timespec times[2]; /* UTIME_OMIT: stays */
};

/** file_change() - all that it says, or up to the first that fails */
int file_change(struct tree *t, struct node *n, const struct file_change *ch);

/* ---- folders: dir.c ---- */

/* What getdents64() writes: its own, so well formed. */
struct dir_entry {
	uint64_t ino;
	int64_t off;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

/* What was read of an open folder and not yet asked for. */
struct dir_reader {
	pthread_mutex_t lock; /* the caller takes it around what follows */
	uint8_t *entries;
	unsigned at, len;
	uint64_t next_off;
};

void dir_init(struct dir_reader *d);
void dir_fini(struct dir_reader *d);
/** dir_seek() - go to @off, which a telldir() of the guest may have kept for long */
int dir_seek(struct dir_reader *d, int fd, uint64_t off);
/** dir_peek() - the next entry, which stays until it is taken; NULL: *@ret_err, 0 at the end */
const struct dir_entry *dir_peek(struct dir_reader *d, int fd, int *ret_err);
void dir_take(struct dir_reader *d, const struct dir_entry *e);
/** dir_is_dots() - "." or ".." */
bool dir_is_dots(const char *name);

/* ---- locks: locks.c ---- */

#define LOCK_WAITERS 32
#define LATER        INT_MIN /* somebody else will reply */

struct lock_owner;

struct lock_table {
	struct tree *tree;
	pthread_mutex_t lock; /* of owners and waiters */
	struct lock_owner *owners;
	struct lock_waiter *waiters;
	atomic_uint n_owners, n_waiters; /* who sees none needs no lock */
};

/* The beginning of what a server knows of a request for a lock. */
struct lock_waiter {
	struct lock_waiter *next;
	struct node *node; /* in use, while it waits */
	struct file_request *req;
	int result;
	/* With the table's lock. Return: 0, -EAGAIN: somebody else has it; or another -errno */
	int (*attempt)(struct lock_table *t, const struct lock_waiter *w);
	/* It waits no longer: reply its result */
	void (*over)(struct lock_waiter *w);
};

void locks_init(struct lock_table *t);
/** locks_fini() - after locks_drop_all() */
void locks_fini(struct lock_table *t);

/** locks_try() - for attempt(): POSIX's, of @owner on @n */
int locks_try(struct lock_table *t, struct node *n, uint64_t owner, struct flock lock);
/** locks_look() - what is in the way of @lock? @fd: the file, if the owner has no lock of it yet */
int locks_look(struct lock_table *t, const struct node *n, uint64_t owner, int fd, struct flock *lock);
/**
 * locks_set() - attempt what @w says, and wait for it if that is wanted
 * @w: of @bytes, which are copied if it has to wait
 * Return: 0, -EAGAIN, LATER, -ENOLCK: too many wait; or another -errno
 */
int locks_set(struct lock_table *t, const struct lock_waiter *w, size_t bytes, bool waits);
/** locks_drop() - the owner has closed the file */
void locks_drop(struct lock_table *t, uint64_t node, uint64_t owner);
/** locks_drop_all() - and nobody waits any longer */
void locks_drop_all(struct lock_table *t);
/** locks_retry() - those that wait: may they have it now? @patient: also if a lock is being judged */
void locks_retry(struct lock_table *t, bool patient);
/** locks_cancel() - those that @match says, or all if NULL, do not wait any longer: -EINTR */
void locks_cancel(struct lock_table *t, bool (*match)(const struct lock_waiter *w, void *arg), void *arg);
/** locks_cancel_requests() - the same, by the request */
void locks_cancel_requests(struct lock_table *t, bool (*match)(const struct file_request *req, void *arg),
			   void *arg);
/** locks_waiting() - how many wait? */
unsigned locks_waiting(const struct lock_table *t);

/* ---- locks-state.c ---- */

/* A lock that a descriptor has. */
struct fd_lock {
	bool whole; /* by flock() */
	bool write;
	uint64_t start, end; /* the last byte, INT64_MAX: all behind @start */
};

/** fd_locks() - each lock of an open file, as the host has it; Return: 0, -errno, or what @each returned but 0 */
int fd_locks(int fd, int (*each)(void *arg, const struct fd_lock *lock), void *arg);
/** locks_save() - append those of POSIX; nobody waits for one; Return: 0 or -errno */
int locks_save(struct lock_table *t, struct state_buf *buf);
/**
 * locks_load() - take them again, into a table that has none
 * @ret_lost: is increased by those that somebody else has, or whose file is gone
 * Return: 0, -ENOMEM, or of state_unpack()
 */
int locks_load(struct lock_table *t, struct state_reader *in, unsigned *ret_lost);

/* ---- a folder as a whole: its tree, and the locks in it ---- */

/**
 * folder_open() - open the tree that @cfg says
 * @locks: locks_init() was called, also on failure; its tree is there or NULL
 * @ret_root_dev: for file_number()
 * Return: 0, or -errno after one logged line
 */
int folder_open(const struct fs_config *cfg, struct lock_table *locks, uint32_t *ret_root_dev);
/** folder_lost() - say how many open files and locks of the guest are not there any more, if any */
void folder_lost(const struct tree *t, unsigned files, unsigned locks);
/** folder_has_chores(), folder_chores() - as struct file_server_ops has them */
enum file_chores folder_has_chores(const struct lock_table *locks);
void folder_chores(struct lock_table *locks);

#endif
