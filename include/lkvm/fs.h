/*
 * A folder of the host that is shared with the guest, by FUSE (what virtio-fs carries) or 9P2000.L:
 * requests as buffers in, replies as buffers out. It knows neither the guest nor how they came.
 *
 * Any number of threads serve requests at the same time, each with a worker's memory of its own; a
 * request that waits for a slow file keeps one of them. One that waits for a lock keeps none.
 */
#ifndef LKVM_FS_H
#define LKVM_FS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lkvm/keys.h"

#define FS_TAG_BYTES   36 /* at most, without a NUL */
#define FS_WINDOW_UNIT (2U << 20)
#define FS_WINDOW_MOST (1ULL << 34) /* its units are but a part of all that a process may map */

enum fs_cache {
	FS_CACHE_AUTO,   /* all that is read-only; else close-to-open: what the host changes is seen */
	FS_CACHE_NONE,   /* nothing */
	FS_CACHE_ALWAYS, /* all: nobody else changes the folder */
};

/* Files that one of its folders seems to have, where it has none of that name; readdir() shows none of them. */
struct fs_made {
	uint64_t dev, ino; /* that folder */
	/* Any worker's thread, whenever one is looked up. Return: a descriptor, the caller's; -ENOENT or another -errno */
	int (*open)(void *ctx, const char *name);
	void *ctx;
};

struct fs_config {
	const char *path, *tag;
	const struct fs_made *made; /* NULL: none; lives as long as the server */
	bool read_only;
	bool p9; /* it is shared by 9P, not by FUSE */
	bool one_mount; /* what is mounted in it is no mount of the guest's, but folders as others */
	enum fs_cache cache;
	bool dax; /* the guest may have files as memory, in so many bytes of addresses: */
	uint64_t window_bytes; /* a power of two, a multiple of FS_WINDOW_UNIT; 0: none */
	unsigned max_fds;   /* that it may keep open; 0: half of what the process may have, */
	unsigned n_folders; /* divided among so many folders; 0: it is the only one */
};

extern const struct opt_key fs_keys[]; /* fs/keys.c: of struct fs_config, but for path and tag */
extern const struct opt_key p9_keys[]; /* those of them that 9P has */
const char *fs_cache_name(enum fs_cache cache);

/* ---- requests, of any server ---- */

struct file_worker;

struct file_request {
	const struct iovec *out, *in; /* from the guest, to the guest; at most IOV_MAX each */
	unsigned n_out, n_in;
	/* It is over, @written bytes were written from the beginning of @in on. Any worker's thread. */
	void (*done)(struct file_request *req, uint32_t written);
	/* The server's, from quick() to done(): 9P's, which answers one before those that take it back */
	struct file_request *next_begun, *flushes, *next_flush;
	uint16_t tag;
	bool flushed;
};

/**
 * file_worker_new() - what a thread needs to serve requests; called on that thread
 * Return: NULL: no memory, or the host refuses it a umask of its own
 */
struct file_worker *file_worker_new(void);
void file_worker_free(struct file_worker *w);

/* ---- a server, whichever protocol it speaks ---- */

struct file_server;
struct state_buf;
struct state_reader;

/* When is there something for chores()? */
enum file_chores {
	FILE_CHORES_NONE,
	FILE_CHORES_NOW,
	FILE_CHORES_SOON,  /* every FILE_SOON_MS */
	FILE_CHORES_LATER, /* every FILE_LATER_MS */
};

#define FILE_SOON_MS  20
#define FILE_LATER_MS 1000

struct file_server_ops {
	/*
	 * Who takes a request, in their order and one at a time, before any serve(): true: it needed no
	 * worker and never waited, and is done; false: it is for serve()
	 */
	bool (*quick)(struct file_server *s, struct file_request *req);
	/* req->done() is called within it, or later within another of these functions */
	void (*serve)(struct file_server *s, struct file_worker *w, struct file_request *req);
	enum file_chores (*has_chores)(struct file_server *s);
	void (*chores)(struct file_server *s);
	/* End the requests that wait for others, all or those that @match says; any thread */
	void (*cancel)(struct file_server *s, bool (*match)(const struct file_request *req, void *arg),
		       void *arg);
	/* Forget everything that the guest has open or looked up; no request is being served */
	void (*reset)(struct file_server *s);
	void (*free)(struct file_server *s); /* no request is left */
};

struct file_server {
	const struct file_server_ops *ops;
};

/** folders_expect() - there will be folders: many files will be open. Best before there are threads. */
void folders_expect(void);

/* ---- FUSE ---- */

struct fuse;

/** fuse_new() - Return: 0, or -errno after one logged line */
int fuse_new(const struct fs_config *cfg, struct fuse **ret);
/** fuse_free() - no request is left; takes NULL */
void fuse_free(struct fuse *f);
/** fuse_server() - Return: it as one of many; NULL for NULL */
struct file_server *fuse_server(struct fuse *f);

/**
 * fuse_quick() - serve a request that needs no worker and never waits: forgetting, and closing, which is put off
 * Any thread. Return: done, or false: it is for fuse_serve()
 */
bool fuse_quick(struct fuse *f, struct file_request *req);
/** fuse_serve() - req->done() is called within it, or later within another of these functions */
void fuse_serve(struct fuse *f, struct file_worker *w, struct file_request *req);

/** fuse_has_chores() - when is there something for fuse_chores()? */
enum file_chores fuse_has_chores(struct fuse *f);
/** fuse_chores() - close what was forgotten or is open no more; look for locks that are waited for, and for files that were cut */
void fuse_chores(struct fuse *f);

/** fuse_reset() - forget everything that the guest has open or looked up; no request is being served */
void fuse_reset(struct fuse *f);

/**
 * fuse_memory() - addresses which are to be the guest's memory as long as it runs, aligned to FS_WINDOW_UNIT
 * Where it has asked for no file there is nothing: they are not to be touched.
 * Return: NULL if cfg->window_bytes was 0
 */
void *fuse_memory(const struct fuse *f);
/**
 * fuse_mend() - a CPU of the guest's did not find what it looked for in that memory
 * If a file was cut short, there are zeros then in the place of what is missing, until it is as long again.
 * Any thread. Return: was that so? Then it may try again.
 */
bool fuse_mend(struct fuse *f);

/** fuse_is_mounted() - has the guest begun, and not ended? */
bool fuse_is_mounted(const struct fuse *f);
/**
 * fuse_save() - append what the guest knows, has open and has locked (lkvm/state.h); no request is being served
 * Return: 0; -EBUSY: somebody waits for a lock; -ENOMEM, or -errno of the host
 */
int fuse_save(struct fuse *f, struct state_buf *buf);
/**
 * fuse_load() - its guest goes on here, by the same configuration; no request is being served
 * A file is found again by its path and its number, never outside of the folder; if it is not there, or
 * is another one, whatever the guest has of it is -ESTALE. A lock that somebody else has is lost.
 * Return: 0; or -errno with in->why, and it is as after fuse_reset(): -ESTALE: the folder itself is another one
 */
int fuse_load(struct fuse *f, struct state_reader *in);

/* How much of each it has; for tests, and for those who look for leaks. */
struct fuse_counts {
	unsigned nodes, fds, handles, waiters, mapped;
};
struct fuse_counts fuse_count(struct fuse *f);

/* ---- 9P2000.L ---- */

#define P9_MSIZE_MIN 4096 /* bytes of a message, on which guest and server agree */
#define P9_MSIZE_MAX (512U << 10)

struct p9;

/** p9_new() - Return: 0, or -errno after one logged line */
int p9_new(const struct fs_config *cfg, struct p9 **ret);
/** p9_free() - no request is left; takes NULL */
void p9_free(struct p9 *p9);
/** p9_server() - Return: it as one of many; NULL for NULL */
struct file_server *p9_server(struct p9 *p9);
/** p9_begin(), p9_serve() - the quick() and serve() of it */
void p9_begin(struct p9 *p9, struct file_request *req);
void p9_serve(struct p9 *p9, struct file_worker *w, struct file_request *req);
void p9_reset(struct p9 *p9);
/** p9_save(), p9_load() - as fuse_save() and fuse_load() */
int p9_save(struct p9 *p9, struct state_buf *buf);
int p9_load(struct p9 *p9, struct state_reader *in);

struct p9_counts {
	unsigned nodes, fds, fids, xattrs, waiters, begun;
	uint32_t msize; /* 0: the guest has not begun */
};
struct p9_counts p9_count(struct p9 *p9);

#endif
