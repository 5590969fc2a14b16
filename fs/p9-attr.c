/* 9P: attributes of files and filesystems, symbolic links. */
#include <errno.h>
#include <string.h>

#include "p9-internal.h"

#define GETATTR_BASIC 0x7ff /* all that stat(2) has */
#define GETATTR_BTIME 0x800

enum { SET_MODE = 1, SET_UID = 2, SET_GID = 4, SET_SIZE = 8, SET_ATIME = 16, SET_MTIME = 32,
       SET_ATIME_TO = 128, SET_MTIME_TO = 256 };

static void put_time(struct p9_call *c, const struct statx_timestamp *t)
{
	put_int(c, (uint64_t)t->tv_sec, 8);
	put_int(c, t->tv_nsec, 8);
}

int p9_getattr(struct p9_call *c)
{
	struct statx st;
	int err = tree_stat_id(c->tree, c->fid->node, &st);

	if (err)
		return err;
	put_int(c, GETATTR_BASIC | (st.stx_mask & STATX_BTIME ? GETATTR_BTIME : 0), 8);
	put_qid(c, &st);
	put_int(c, st.stx_mode, 4);
	put_int(c, st.stx_uid, 4);
	put_int(c, st.stx_gid, 4);
	put_int(c, st.stx_nlink, 8);
	put_int(c, file_dev(st.stx_rdev_major, st.stx_rdev_minor), 8);
	put_int(c, st.stx_size, 8);
	put_int(c, st.stx_blksize, 8);
	put_int(c, st.stx_blocks, 8);
	put_time(c, &st.stx_atime);
	put_time(c, &st.stx_mtime);
	put_time(c, &st.stx_ctime);
	put_time(c, &st.stx_btime);
	put_int(c, 0, 8); /* generation */
	put_int(c, 0, 8); /* version of the data */
	return 0;
}

static struct timespec which_time(uint64_t valid, uint64_t set, uint64_t to, uint64_t sec, uint64_t nsec)
{
	if (!(valid & set))
		return (struct timespec){ 0, UTIME_OMIT };
	if (!(valid & to))
		return (struct timespec){ 0, UTIME_NOW };
	return (struct timespec){ (time_t)sec, nsec < 1000000000 ? (long)nsec : -1 };
}

int p9_setattr(struct p9_call *c)
{
	const uint64_t valid = c->n[0];
	const struct file_change change = {
		.has_mode = valid & SET_MODE,
		.mode = (mode_t)c->n[1],
		.uid = valid & SET_UID ? (uint32_t)c->n[2] : UINT32_MAX,
		.gid = valid & SET_GID ? (uint32_t)c->n[3] : UINT32_MAX,
		.has_size = valid & SET_SIZE,
		.size = c->n[4],
		.fd = c->fid->may_write ? c->fid->fd : -1,
		.plain = c->fid->uid,
		.times = { which_time(valid, SET_ATIME, SET_ATIME_TO, c->n[5], c->n[6]),
			   which_time(valid, SET_MTIME, SET_MTIME_TO, c->n[7], c->n[8]) },
	};

	return file_change(c->tree, c->node, &change);
}

int p9_statfs(struct p9_call *c)
{
	struct statfs st;
	uint64_t fsid;
	int err = tree_statfs(c->tree, c->node, &st);

	if (err)
		return err;
	memcpy(&fsid, &st.f_fsid, sizeof(fsid));
	put_int(c, (uint64_t)st.f_type, 4);
	put_int(c, (uint64_t)st.f_bsize, 4);
	put_int(c, st.f_blocks, 8);
	put_int(c, st.f_bfree, 8);
	put_int(c, st.f_bavail, 8);
	put_int(c, st.f_files, 8);
	put_int(c, st.f_ffree, 8);
	put_int(c, fsid, 8);
	put_int(c, (uint64_t)st.f_namelen, 4);
	return 0;
}

int p9_readlink(struct p9_call *c)
{
	const size_t cap = c->room - 2 < PATH_MAX ? c->room - 2 : PATH_MAX;
	int len = tree_readlink(c->tree, c->node, (char *)c->w->out + 2, cap);

	if (len < 0)
		return len;
	put_int(c, (uint64_t)len, 2);
	c->out_bytes += (uint32_t)len;
	return 0;
}
