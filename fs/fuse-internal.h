/*
 * What the files of the FUSE server know of it. The way of a request:
 *
 *	fuse_serve(): header, body copied -> ops[opcode] -> judged -> op_X(call) -> reply
 */
#ifndef FS_FUSE_INTERNAL_H
#define FS_FUSE_INTERNAL_H

#include <limits.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lkvm/fs.h"
#include "server.h"
#include "tree.h"
#include "window.h"

#define FUSE_MOST_HANDLES (1U << 20) /* more than a process may have open */
#define FUSE_MAX_IO (1U << 20) /* bytes of one READ or WRITE */

/* An open file or folder. */
struct fuse_handle {
	int fd; /* -1: its file is gone, or another one, since the session was loaded */
	struct node *node; /* in use */
	unsigned uses;     /* with the table's own */
	bool may_write;
	bool had_flock; /* once; only then the host is asked */
	uint32_t lost_flags; /* with which such a one was open */
	struct dir_reader dir; /* a folder's */
	struct fuse_handle *next; /* of those that are to be closed */
};

struct fuse {
	struct file_server server;
	struct tree *tree;
	enum fs_cache cache;
	bool one_mount;
	uint32_t root_dev; /* the folder's device, as file_dev() has it */
	bool keep; /* what the guest has cached stays right */
	uint64_t valid_s; /* and how long, for names and attributes */
	struct window *window; /* NULL: there is none */
	atomic_bool ready; /* between INIT and DESTROY */
	atomic_bool looking; /* somebody is, for files that were cut */
	atomic_bool use_dax;  /* the guest may use files through the window, */
	atomic_bool tell_dax; /* and asks of each whether it should */
	pthread_mutex_t lock; /* of handles */
	struct fuse_handle **handles;
	unsigned n_handles, cap_handles, first_free;
	struct fuse_handle *left;
	struct lock_table locks;
};

struct call {
	struct fuse *fuse;
	struct tree *tree;
	struct file_worker *w;
	struct file_request *req;
	struct fuse_in_header in;
	struct node *node;
	const void *arg;     /* the fixed part of the body, zeros behind it */
	const char *name[2];
	const uint8_t *rest; /* what is behind them */
	size_t rest_bytes;
	uint64_t data_bytes; /* WRITE: behind arg, still in req->out */
	void *out;           /* the reply's body is to be here: w->out */
	size_t room;         /* for it, in the guest's buffers and in out */
	uint64_t wide_room;  /* in the guest's buffers alone */
};

/*
 * Operations. Return: bytes of the reply's body, which are in c->out, or -errno; or one of these:
 * IN_PLACE + bytes that are already in the guest's buffers; LATER: somebody else will reply.
 */
#define IN_PLACE (1 << 24)

int op_init(struct call *c);
int op_destroy(struct call *c);

/* fuse-names.c */
int op_lookup(struct call *c);
int op_symlink(struct call *c);
int op_mknod(struct call *c);
int op_mkdir(struct call *c);
int op_unlink(struct call *c);
int op_rmdir(struct call *c);
int op_rename(struct call *c);
int op_rename2(struct call *c);
int op_link(struct call *c);

/* fuse-attr.c */
int op_getattr(struct call *c);
int op_setattr(struct call *c);
int op_readlink(struct call *c);
int op_statfs(struct call *c);
int op_syncfs(struct call *c);
int op_setxattr(struct call *c);
int op_getxattr(struct call *c);
int op_listxattr(struct call *c);
int op_removexattr(struct call *c);

/* fuse-file.c */
int op_open(struct call *c);
int op_create(struct call *c);
int op_tmpfile(struct call *c);
int op_read(struct call *c);
int op_write(struct call *c);
int op_flush(struct call *c);
int op_release(struct call *c);
int op_fsync(struct call *c);
int op_fallocate(struct call *c);
int op_lseek(struct call *c);
int op_copy(struct call *c);

/* fuse-window.c */
int op_setupmapping(struct call *c);
int op_removemapping(struct call *c);
/** fuse_look() - a chore: mend what was cut */
void fuse_look(struct fuse *f);
/** fuse_has_size() - the guest is going to know that file @node is, or was, so long: it is to find it all mapped */
void fuse_has_size(struct fuse *f, uint64_t node, uint64_t size);

/* fuse-dir.c */
int op_opendir(struct call *c);
int op_readdir(struct call *c);
int op_readdirplus(struct call *c);

/* fuse-lock.c */
int op_getlk(struct call *c);
int op_setlk(struct call *c);
int op_setlkw(struct call *c);
/** fuse_interrupt() - the request with this number does not wait for a lock any longer */
void fuse_interrupt(struct fuse *f, uint64_t unique);

/* ---- fuse-state.c: for the test of their tables ---- */

extern const struct state_type fuse_session_type, fuse_handles_type;

/* ---- fuse-reply.c: what they share ---- */

/** fuse_reply() - @len: of @body, or -errno; what has no room is not written, and done() is called */
void fuse_reply(struct file_request *req, uint64_t unique, int len, const void *body);

/** fuse_ids() - as whom to make something */
struct tree_ids fuse_ids(const struct call *c, uint32_t umask);
void fuse_fill_attr(const struct fuse *f, struct fuse_attr *ret, const struct statx *st, bool submount);
/** fuse_fill_entry() - what @e is to the guest */
void fuse_fill_entry(struct fuse *f, struct fuse_entry_out *ret, const struct tree_entry *e);

/* ---- handles: fuse-handle.c ---- */

/** handle_new() - @fd is counted (tree_fd_take()) and taken over, also on failure; Return: 0, -errno */
int handle_new(struct fuse *f, struct node *node, int fd, bool may_write, uint64_t *ret_fh);
/** handle_revive() - one with this number; as handle_new(), but @fd may be -1; Return: 0, -EINVAL: it is used, -ENOMEM */
int handle_revive(struct fuse *f, uint32_t fh, struct node *node, int fd, uint32_t flags, bool has_flock);
/** handle_get() - the open file @fh of c->node; Return: 0, then handle_put(); -EBADF: there is none such; -ESTALE */
int handle_get(struct fuse *f, uint64_t fh, const struct node *node, struct fuse_handle **ret);
/** handle_of() - any open file of @node, to write if @writable; Return: NULL: there is none */
struct fuse_handle *handle_of(struct fuse *f, const struct node *node, bool writable);
void handle_put(struct fuse *f, struct fuse_handle *h);
/** handle_close() - Return: 0 or -EBADF */
int handle_close(struct fuse *f, uint64_t fh, const struct node *node);
void handle_close_all(struct fuse *f);
/** handle_is_lost() - is there one, without a file? */
bool handle_is_lost(struct fuse *f, uint64_t fh);
/** handle_leave() - it is no more, but closed later, as that may wait; Return: false: there is none such */
bool handle_leave(struct fuse *f, uint64_t fh, uint64_t node);
/** handle_has_left(), handle_close_left() - is there one that was left?; close those */
bool handle_has_left(struct fuse *f);
void handle_close_left(struct fuse *f);

#endif
