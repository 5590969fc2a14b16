/*
 * fuse-mount DIR AT [ro] [reload] -- CMD [ARG]...: run a command while the folder DIR is mounted at AT by the
 * FUSE server of fs/, whose requests come from this machine's own kernel by /dev/fuse, as a guest's
 * come by virtio-fs. Status: the command's. With reload another server takes the place of the one that there
 * is, with its state, again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/fs.h"
#include "lkvm/state.h"

#define BYTES   ((1 << 20) + 65536)
#define THREADS 4

static int dev;
static struct fs_config cfg;
static struct fuse *server;
static pthread_rwlock_t in_use = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

struct request {
	struct file_request fuse;
	struct iovec out, in;
	char out_bytes[BYTES], in_bytes[BYTES];
};

static void done(struct file_request *fuse, uint32_t written)
{
	struct request *r = (struct request *)fuse;

	/* A request that was interrupted is not known any more. */
	if (written && write(dev, r->in_bytes, written) < 0 && errno != ENOENT)
		perror("fuse-mount: reply");
	free(r);
}

static void *serve(void *arg)
{
	struct file_worker *worker = file_worker_new();

	(void)arg;
	for (;;) {
		struct request *r = malloc(sizeof(*r));
		ssize_t got = r && worker ? read(dev, r->out_bytes, BYTES) : -1;

		if (got < 0) {
			free(r);
			if (r && worker && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
				continue;
			break; /* unmounted */
		}
		r->out = (struct iovec){ r->out_bytes, (size_t)got };
		r->in = (struct iovec){ r->in_bytes, BYTES };
		r->fuse = (struct file_request){ .out = &r->out, .in = &r->in, .n_out = 1, .n_in = 1, .done = done };
		pthread_rwlock_rdlock(&in_use);
		if (!fuse_quick(server, &r->fuse))
			fuse_serve(server, worker, &r->fuse);
		pthread_rwlock_unlock(&in_use);
	}
	file_worker_free(worker);
	return NULL;
}

static void *chores(void *arg)
{
	(void)arg;
	for (;;) {
		usleep(FILE_SOON_MS * 1000);
		pthread_rwlock_rdlock(&in_use);
		fuse_chores(server);
		pthread_rwlock_unlock(&in_use);
	}
	return NULL;
}

static void reload(void)
{
	struct state_buf saved = { 0 };
	int err = fuse_save(server, &saved);
	struct state_reader in = { .at = saved.data, .end = saved.data + saved.len };

	if (err == -EBUSY) /* somebody waits for a lock */
		return;
	if (!err) {
		fuse_free(server);
		err = fuse_new(&cfg, &server);
	}
	if (!err)
		err = fuse_load(server, &in);
	if (err || in.at != in.end) {
		fprintf(stderr, "fuse-mount: reload: %s\n", in.why);
		_exit(125);
	}
	state_buf_free(&saved);
}

static void *reload_often(void *arg)
{
	(void)arg;
	for (;;) {
		usleep(FILE_SOON_MS * 1000);
		pthread_rwlock_wrlock(&in_use);
		reload();
		pthread_rwlock_unlock(&in_use);
	}
	return NULL;
}

static int run(char **argv)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int main(int argc, char **argv)
{
	bool reloads = false;
	pthread_t thread;
	char options[128];
	int at = 3, status;

	if (argc > at && !strcmp(argv[at], "ro"))
		cfg.read_only = at++;
	if (argc > at && !strcmp(argv[at], "reload"))
		reloads = at++;
	if (argc < at + 2 || strcmp(argv[at], "--") != 0) {
		fprintf(stderr, "usage: fuse-mount DIR AT [ro] [reload] -- CMD [ARG]...\n");
		return 125;
	}
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,"
		 "allow_other", dev);
	if (dev < 0 || mount("test", argv[2], "fuse.lkvm", 0, options) < 0) {
		perror("fuse-mount: /dev/fuse");
		return 126;
	}
	cfg.path = argv[1];
	cfg.tag = "test";
	if (fuse_new(&cfg, &server))
		return 125;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&thread, NULL, serve, NULL);
	pthread_create(&thread, NULL, chores, NULL);
	if (reloads)
		pthread_create(&thread, NULL, reload_often, NULL);
	status = run(argv + at + 1);
	umount2(argv[2], MNT_DETACH);
	_exit(status);
}
