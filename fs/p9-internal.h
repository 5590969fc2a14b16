/*
 * What the files of the 9P server know of it. The way of a request:
 *
 *	quick(): noted -> p9_serve(): header, body copied -> ops[type] -> parsed -> p9_X(call) -> reply
 *
 * A fid is a number that the guest has chosen for a file, and what it has done with it: a struct p9_fid
 * does not change while it is in the table, but is replaced by another one. It keeps its node looked
 * up, not its descriptor, unless it is open.
 */
#ifndef FS_P9_INTERNAL_H
#define FS_P9_INTERNAL_H

#include "lkvm/fs.h"
#include "server.h"
#include "tree.h"

#define P9_VERSION   "9P2000.L"
#define P9_HEADER    7  /* size[4] type[1] tag[2] */
#define P9_WALK_MAX  16 /* names in one walk */
#define P9_FIDS      (1U << 20) /* at a time; a guest's kernel has one for each name that it remembers */
#define P9_XATTRS    256        /* of these, with the value of an extended attribute */
#define P9_XATTR_MAX (64U << 10)
#define P9_BUCKETS   (1U << 14)
#define P9_NOFID     UINT32_MAX
#define P9_LOST      (1U << 31)

enum p9_type {
	P9_RLERROR = 7,
	P9_TSTATFS = 8,
	P9_TLOPEN = 12,
	P9_TLCREATE = 14,
	P9_TSYMLINK = 16,
	P9_TMKNOD = 18,
	P9_TRENAME = 20,
	P9_TREADLINK = 22,
	P9_TGETATTR = 24,
	P9_TSETATTR = 26,
	P9_TXATTRWALK = 30,
	P9_TXATTRCREATE = 32,
	P9_TREADDIR = 40,
	P9_TFSYNC = 50,
	P9_TLOCK = 52,
	P9_TGETLOCK = 54,
	P9_TLINK = 70,
	P9_TMKDIR = 72,
	P9_TRENAMEAT = 74,
	P9_TUNLINKAT = 76,
	P9_TVERSION = 100,
	P9_TAUTH = 102,
	P9_TATTACH = 104,
	P9_TFLUSH = 108,
	P9_TWALK = 110,
	P9_TREAD = 116,
	P9_TWRITE = 118,
	P9_TCLUNK = 120,
	P9_TREMOVE = 122,
};

/* The value of an extended attribute, or the list of their names; a value to be set comes in parts. */
struct p9_xattr {
	char *name; /* NULL: it is only read */
	int flags;
	uint32_t bytes, written;
	uint8_t value[];
};

struct p9_fid {
	struct p9_fid *next; /* in its bucket */
	uint32_t number, uid;
	unsigned uses;      /* with the table's own */
	uint64_t node, dir; /* both looked up; dir 0: it has no name */
	char *name;         /* in dir, when it was looked up */
	/* Open: -1, NULL if it is not */
	int fd;
	struct node *open; /* in use */
	bool may_write;
	uint32_t lost_flags; /* P9_LOST and those with which it was open, before the session was loaded: its file is
				gone, or another one; 0: it is not so */
	struct dir_reader reader; /* a folder's */
	struct p9_xattr *xattr;
};

struct p9 {
	struct file_server server;
	struct tree *tree;
	uint32_t root_dev; /* the folder's device, as file_dev() has it */
	atomic_uint msize; /* 0: before the guest's Tversion */
	struct lock_table locks;
	pthread_mutex_t lock; /* of all that follows, and of values that are written */
	struct p9_fid *fids[P9_BUCKETS];
	unsigned n_fids, n_xattrs;
	struct file_request *begun; /* that were taken, and have no reply */
};

struct p9_call {
	struct p9 *p9;
	struct tree *tree;
	struct file_worker *w;
	struct file_request *req;
	uint32_t size;
	uint16_t tag;
	uint8_t type;
	struct p9_fid *fid, *fid2;
	struct node *node, *node2; /* theirs */
	uint64_t n[10];            /* the body's numbers and names, in their order */
	const char *s[P9_WALK_MAX];
	unsigned n_names;    /* Twalk's */
	uint64_t data_bytes; /* Twrite's, which are still in req->out */
	/* The reply: its body so far, in w->out, then what is in the guest's buffers already */
	uint32_t out_bytes, in_place;
	uint32_t room;      /* for its body, in w->out too */
	uint32_t wide_room; /* in the guest's buffers alone */
};

/* Operations. Return: 0, or -errno, or LATER */
int p9_flush(struct p9_call *c);

/* p9-session.c */
int p9_version(struct p9_call *c);
int p9_auth(struct p9_call *c);

/* p9-names.c */
int p9_attach(struct p9_call *c);
int p9_walk(struct p9_call *c);
int p9_mkdir(struct p9_call *c);
int p9_mknod(struct p9_call *c);
int p9_symlink(struct p9_call *c);
int p9_link(struct p9_call *c);
int p9_rename(struct p9_call *c);
int p9_renameat(struct p9_call *c);
int p9_unlinkat(struct p9_call *c);
int p9_remove(struct p9_call *c);

/* p9-attr.c */
int p9_getattr(struct p9_call *c);
int p9_setattr(struct p9_call *c);
int p9_statfs(struct p9_call *c);
int p9_readlink(struct p9_call *c);

/* p9-xattr.c */
int p9_xattrwalk(struct p9_call *c);
int p9_xattrcreate(struct p9_call *c);
/** xattr_read(), xattr_write() - Tread and Twrite of a fid that has one */
int xattr_read(struct p9_call *c);
int xattr_write(struct p9_call *c);
/** xattr_apply() - the whole value has come, or not: set it */
int xattr_apply(struct p9 *p9, const struct p9_fid *fid);

/* p9-file.c */
int p9_lopen(struct p9_call *c);
int p9_lcreate(struct p9_call *c);
int p9_read(struct p9_call *c);
int p9_write(struct p9_call *c);
int p9_fsync(struct p9_call *c);
int p9_readdir(struct p9_call *c);
int p9_clunk(struct p9_call *c);

/* p9-lock.c */
int p9_lock(struct p9_call *c);
int p9_getlock(struct p9_call *c);

/* ---- replies ---- */

/** put_int() - the low @bytes of a number; there is room for them */
void put_int(struct p9_call *c, uint64_t value, unsigned bytes);
void put_bytes(struct p9_call *c, const void *bytes, size_t len);
#define PUT_QID_BYTES 13
void put_qid(struct p9_call *c, const struct statx *st);
/** p9_reply() - the end of @req: an error, or @body and @in_place bytes behind it */
void p9_reply(struct p9 *p9, struct file_request *req, uint8_t type, int err, const void *body,
	      uint32_t bytes, uint32_t in_place);
/** p9_is_flushed() - the guest wants no answer to it any more */
bool p9_is_flushed(struct p9 *p9, const struct file_request *req);
/** p9_ids() - as whom to make something */
struct tree_ids p9_ids(const struct p9_call *c, uint64_t gid);
/** p9_qid_type() - of a file of this mode */
uint8_t p9_qid_type(mode_t mode);

/* ---- p9-state.c: for the test of their tables ---- */

extern const struct state_type p9_session_type, p9_fids_type, p9_xattr_type;

/* ---- fids: p9-fid.c ---- */

/** fid_new() - @node is looked up for it, and forgotten on failure; Return: not in the table, or NULL */
struct p9_fid *fid_new(struct p9 *p9, uint32_t uid, uint64_t node);
/** fid_again() - another one for the same file by the same name */
struct p9_fid *fid_again(struct p9 *p9, const struct p9_fid *fid);
/** fid_named() - it is @name in @dir, which is looked up for it; Return: 0, -errno */
int fid_named(struct p9 *p9, struct p9_fid *fid, uint64_t dir, const char *name);
/** fid_opened() - it has @fd, which was counted, of @n */
void fid_opened(struct p9 *p9, struct p9_fid *fid, int fd, struct node *n, bool may_write);
/** fid_judge_open() - Return: 0: it is open; -EBADF; -ESTALE: it was, elsewhere */
int fid_judge_open(const struct p9_fid *fid);
/** xattr_new() - a value of @bytes, zeroed; Return: NULL: there are too many, or no memory */
struct p9_xattr *xattr_new(struct p9 *p9, size_t bytes);
/** fid_free() - one that is not in the table */
void fid_free(struct p9 *p9, struct p9_fid *fid);
/** fid_add() - into the table, taken over also on failure; Return: 0, -EBADF: used, -ENFILE */
int fid_add(struct p9 *p9, struct p9_fid *fid, uint32_t number);
/** fid_replace() - the same in place of @old; Return: 0, -EBADF: that is not there any more */
int fid_replace(struct p9 *p9, struct p9_fid *old, struct p9_fid *fid);
/** fid_get() - Return: NULL: there is none such; else fid_put() */
struct p9_fid *fid_get(struct p9 *p9, uint32_t number);
void fid_put(struct p9 *p9, struct p9_fid *fid);
/** fid_remove() - out of the table; Return: as fid_get() */
struct p9_fid *fid_remove(struct p9 *p9, uint32_t number);
void fid_remove_all(struct p9 *p9);

#endif
