/* 9P: a server, and how a guest begins and ends with it. See p9-internal.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/types.h"
#include "p9-internal.h"

/* ---- begin and end ---- */

/* The guest begins anew: what it knew is gone. */
int p9_version(struct p9_call *c)
{
	uint32_t msize = (uint32_t)c->n[0];
	bool known = !strcmp(c->s[0], P9_VERSION);
	const char *version = known ? P9_VERSION : "unknown";

	if (msize < P9_MSIZE_MIN)
		return -EMSGSIZE;
	msize = msize < P9_MSIZE_MAX ? msize : P9_MSIZE_MAX;
	atomic_store(&c->p9->msize, 0);
	locks_drop_all(&c->p9->locks);
	fid_remove_all(c->p9);
	atomic_store(&c->p9->msize, known ? msize : 0);
	put_int(c, msize, 4);
	put_int(c, strlen(version), 2);
	put_bytes(c, version, strlen(version));
	return 0;
}

/* Who has the device needs no other proof. */
int p9_auth(struct p9_call *c)
{
	(void)c;
	return -EOPNOTSUPP;
}

void p9_reset(struct p9 *p9)
{
	atomic_store(&p9->msize, 0);
	locks_drop_all(&p9->locks);
	fid_remove_all(p9);
	pthread_mutex_lock(&p9->lock);
	p9->begun = NULL;
	pthread_mutex_unlock(&p9->lock);
	tree_forget_all(p9->tree);
}

struct p9_counts p9_count(struct p9 *p9)
{
	struct tree_counts tree = tree_count(p9->tree);
	struct p9_counts ret = { .nodes = tree.nodes, .fds = tree.fds };

	pthread_mutex_lock(&p9->lock);
	ret.fids = p9->n_fids;
	ret.xattrs = p9->n_xattrs;
	for (const struct file_request *r = p9->begun; r; r = r->next_begun)
		ret.begun += r->done != NULL; /* else its reply is out, as good as */
	pthread_mutex_unlock(&p9->lock);
	ret.waiters = locks_waiting(&p9->locks);
	ret.msize = atomic_load(&p9->msize);
	return ret;
}

/* ---- as one of many servers ---- */

static struct p9 *p9_of(struct file_server *s)
{
	return container_of(s, struct p9, server);
}

static bool server_quick(struct file_server *s, struct file_request *req)
{
	p9_begin(p9_of(s), req);
	return false;
}

static void server_serve(struct file_server *s, struct file_worker *w, struct file_request *req)
{
	p9_serve(p9_of(s), w, req);
}

static enum file_chores server_has_chores(struct file_server *s)
{
	return folder_has_chores(&p9_of(s)->locks);
}

static void server_chores(struct file_server *s)
{
	folder_chores(&p9_of(s)->locks);
}

static void server_cancel(struct file_server *s, bool (*match)(const struct file_request *req, void *arg),
			  void *arg)
{
	locks_cancel_requests(&p9_of(s)->locks, match, arg);
}

static void server_reset(struct file_server *s)
{
	p9_reset(p9_of(s));
}

static void server_free(struct file_server *s)
{
	p9_free(p9_of(s));
}

static const struct file_server_ops server_ops = {
	.quick = server_quick,
	.serve = server_serve,
	.has_chores = server_has_chores,
	.chores = server_chores,
	.cancel = server_cancel,
	.reset = server_reset,
	.free = server_free,
};

struct file_server *p9_server(struct p9 *p9)
{
	return p9 ? &p9->server : NULL;
}

int p9_new(const struct fs_config *cfg, struct p9 **ret)
{
	struct p9 *p9 = calloc(1, sizeof(*p9));
	int err;

	if (!p9)
		return log_err(-ENOMEM, "folder '%s'", cfg->path);
	p9->server.ops = &server_ops;
	pthread_mutex_init(&p9->lock, NULL);
	err = folder_open(cfg, &p9->locks, &p9->root_dev);
	p9->tree = p9->locks.tree;
	if (err) {
		p9_free(p9);
		return err;
	}
	*ret = p9;
	return 0;
}

void p9_free(struct p9 *p9)
{
	if (!p9)
		return;
	if (p9->tree)
		p9_reset(p9);
	tree_close(p9->tree);
	locks_fini(&p9->locks);
	pthread_mutex_destroy(&p9->lock);
	free(p9);
}
