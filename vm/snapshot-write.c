/* The parent's half of a job; see vm/snapshot-write.h. */
#include "lkvm/vm/snapshot-write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "lkvm/ram.h"
#include "lkvm/types.h"
#include "snapshot-job.h"

#define MODE_FILE  0600 /* RAM is full of secrets */
#define MODE_DIR   0700
#define TEMP_TRIES 100

static int failed(int err, char *ret_why, size_t cap, const char *what)
{
	snprintf(ret_why, cap, "%s: %s", what, strerror(-err));
	return err;
}

/* Is there something of that name? Return: 0, or -errno with @ret_why */
static int look_at_old(struct snapshot_job *job, char *ret_why, size_t cap)
{
	struct stat st;

	if (fstatat(job->cfg.folder_fd, job->name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : failed(-errno, ret_why, cap, "the folder");
	if (!job->cfg.replace) {
		snprintf(ret_why, cap, "it exists (--force replaces an older snapshot)");
		return -EEXIST;
	}
	if (!snapshot_is_there(job->cfg.folder_fd, job->name)) {
		snprintf(ret_why, cap, "it exists and is no snapshot: it is not replaced");
		return -ENOTEMPTY;
	}
	job->exchange = true;
	return 0;
}

/*
 * Its lock tells who removes what others have left (snapshot_sweep()) that this one is in use. Who does may come
 * before the lock. A file system without locks has nobody who removes.
 */
static bool lock_folder(const struct snapshot_job *job)
{
	return !(flock(job->dir_fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) &&
	       snapshot_is_named(job->cfg.folder_fd, job->temp, job->dir_fd);
}

/* Return: 0; -EAGAIN: somebody has taken it for left behind; -errno with @ret_why */
static int try_folder(struct snapshot_job *job, char *ret_why, size_t cap)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return failed(-EIO, ret_why, cap, "random number");
	snprintf(job->temp, sizeof(job->temp), SNAPSHOT_TEMP "%08x", random);
	if (mkdirat(job->cfg.folder_fd, job->temp, MODE_DIR)) {
		job->temp[0] = '\0'; /* it is not ours to remove */
		return failed(-errno, ret_why, cap, "make a folder");
	}
	job->dir_fd = openat(job->cfg.folder_fd, job->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (job->dir_fd >= 0 && lock_folder(job))
		return 0;
	if (job->dir_fd < 0 && errno != ENOENT)
		return failed(-errno, ret_why, cap, "open a folder");
	if (job->dir_fd >= 0)
		close(job->dir_fd);
	job->dir_fd = -1;
	return -EAGAIN;
}

static int make_folder(struct snapshot_job *job, char *ret_why, size_t cap)
{
	int err = -EAGAIN;

	for (unsigned i = 0; err == -EAGAIN && i < TEMP_TRIES; i++)
		err = try_folder(job, ret_why, cap);
	return err == -EAGAIN ? failed(err, ret_why, cap, "make a folder") : err;
}

static int create(const struct snapshot_job *job, const char *part)
{
	int fd = openat(job->dir_fd, part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MODE_FILE);

	return fd < 0 ? -errno : fd;
}

static int make_files(struct snapshot_job *job, char *ret_why, size_t cap)
{
	job->ram_fd = create(job, SNAPSHOT_RAM);
	job->state_fd = create(job, SNAPSHOT_STATE);
	job->buf = mmap(NULL, DISK_COPY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (job->buf == MAP_FAILED) {
		job->buf = NULL;
		return failed(-errno, ret_why, cap, "memory");
	}
	if (job->ram_fd < 0 || job->state_fd < 0)
		return failed(job->ram_fd < 0 ? job->ram_fd : job->state_fd, ret_why, cap, "create a file");
	return 0;
}

static void child_says(void *ctx, int pipe_fd);
static void child_over(void *ctx, bool is_dead);

static void init_child(struct snapshot_job *job)
{
	const struct ram_child_config cfg = {
		.dying = job->cfg.dying,
		.loop = job->cfg.loop,
		.ram = job->cfg.ram,
		.run = snapshot_child,
		.says = child_says,
		.over = child_over,
		.ctx = job,
	};

	ram_child_init(&job->child, &cfg);
}

int snapshot_job_new(const struct snapshot_job_config *cfg, struct snapshot_job **ret, char *ret_why,
		     size_t cap)
{
	struct snapshot_job *job = calloc(1, sizeof(*job));
	int err;

	if (!job) {
		close(cfg->folder_fd);
		return failed(-ENOMEM, ret_why, cap, "snapshot");
	}
	job->cfg = *cfg;
	job->dir_fd = job->ram_fd = job->state_fd = -1;
	init_child(job);
	job->name = strdup(cfg->name);
	err = job->name ? look_at_old(job, ret_why, cap) : failed(-ENOMEM, ret_why, cap, "snapshot");
	if (!err)
		err = make_folder(job, ret_why, cap);
	if (!err)
		err = make_files(job, ret_why, cap);
	if (err)
		snapshot_job_free(job);
	else
		*ret = job;
	return err;
}

/* Return: 0 or -errno */
static int take_disks(struct snapshot_job *job, const struct disk_source *disks, unsigned n)
{
	job->disks = calloc(n + 1, sizeof(*job->disks));
	job->disk_fd = calloc(n + 1, sizeof(*job->disk_fd));
	job->part = calloc(n + 1, sizeof(*job->part));
	if (!job->disks || !job->disk_fd || !job->part)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		snapshot_disk_name(job->part[i], i);
		job->disks[i] = disks[i];
		job->disk_fd[i] = disks[i].fd < 0 ? -1 : create(job, job->part[i]);
		job->n_disks++;
		if (disks[i].fd >= 0 && job->disk_fd[i] < 0)
			return job->disk_fd[i];
	}
	return 0;
}

/* The one that it goes on, or a new one. Return: a descriptor, or -errno */
static int piece_fd(const struct snapshot_job *job, unsigned i)
{
	return i && !strcmp(job->pieces[i].part, job->pieces[i - 1].part) ? job->piece_fd[i - 1] :
									    create(job, job->pieces[i].part);
}

int snapshot_job_add(struct snapshot_job *job, const struct snapshot_piece *pieces, unsigned n)
{
	job->pieces = calloc(n + 1, sizeof(*job->pieces));
	job->piece_fd = calloc(n + 1, sizeof(*job->piece_fd));
	if (!job->pieces || !job->piece_fd)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		job->pieces[i] = pieces[i];
		job->piece_fd[i] = piece_fd(job, i);
		if (job->piece_fd[i] < 0)
			return job->piece_fd[i];
		job->n_pieces++;
	}
	return 0;
}

static void tell_over(struct snapshot_job *job, int err, const char *why)
{
	job->has_ended = true;
	ram_child_hush(&job->child);
	job->cfg.over(job->cfg.ctx, err, why);
}

static void tell_failed(struct snapshot_job *job, const struct report *report)
{
	static const char *const what[] = {
		[STEP_RAM] = "write RAM", [STEP_PIECES] = "write the firmware", [STEP_STATE] = "write the state", [STEP_FOLDER] = "give it its name",
	};
	char why[128];

	if (report->step == STEP_DISK)
		snprintf(why, sizeof(why), "copy disk %u: %s", report->disk, strerror(-report->err));
	else if (report->step == STEP_FOLDER && report->err == -EINVAL)
		snprintf(why, sizeof(why), "this file system cannot exchange folders: remove the older one");
	else
		snprintf(why, sizeof(why), "%s: %s", what[report->step], strerror(-report->err));
	tell_over(job, report->err, why);
}

static void child_says(void *ctx, int pipe_fd)
{
	struct snapshot_job *job = ctx;
	struct report report;
	ssize_t n = read(pipe_fd, &report, sizeof(report));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n != sizeof(report) || report.step > STEP_DONE) {
		tell_over(job, -EIO, "the process that wrote it has died");
		return;
	}
	job->done = report.done;
	if (report.step == STEP_COPIED) {
		job->cfg.copied(job->cfg.ctx);
	} else if (report.step == STEP_DONE) {
		tell_over(job, 0, "");
	} else {
		tell_failed(job, &report);
	}
}

/* Those that the child needs; -1 is none. */
static int *kept(const struct snapshot_job *job, unsigned *ret_n)
{
	const int own[] = { job->ram_fd, job->state_fd, job->dir_fd, job->cfg.folder_fd };
	int *keep = calloc(ARRAY_SIZE(own) + 3 * (size_t)job->n_disks + job->n_pieces, sizeof(*keep));

	if (!keep)
		return NULL;
	memcpy(keep, own, sizeof(own));
	*ret_n = ARRAY_SIZE(own);
	for (unsigned i = 0; i < job->n_disks; i++) {
		keep[(*ret_n)++] = job->disk_fd[i];
		keep[(*ret_n)++] = job->disks[i].fd;
		keep[(*ret_n)++] = job->disks[i].top_fd;
	}
	for (unsigned i = 0; i < job->n_pieces; i++)
		keep[(*ret_n)++] = job->piece_fd[i];
	return keep;
}

static int make_child(struct snapshot_job *job)
{
	unsigned n_keep = 0;
	int *keep = kept(job, &n_keep), err;

	err = keep ? ram_child_start(&job->child, keep, n_keep) : -ENOMEM;
	free(keep);
	return err;
}

int snapshot_job_start(struct snapshot_job *job, struct state_buf *state, const struct disk_source *disks,
		       unsigned n_disks, const struct ram_spare *spare)
{
	int err;

	job->spare = spare;
	job->state = *state;
	*state = (struct state_buf){ 0 };
	err = take_disks(job, disks, n_disks);
	return err ? err : make_child(job);
}

const struct snapshot_job_done *snapshot_job_done(const struct snapshot_job *job)
{
	return &job->done;
}

/* ---- the end ---- */

/* Its child is dead, or touches nothing any more. What has the other name now: what was not finished, or the older one */
static void remove_temp(struct snapshot_job *job)
{
	if (job->temp[0])
		snapshot_remove(job->cfg.folder_fd, job->temp);
	job->temp[0] = '\0';
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* But for its folder */
static void free_all(struct snapshot_job *job)
{
	for (unsigned i = 0; i < job->n_disks; i++)
		close_fd(job->disk_fd[i]);
	for (unsigned i = 0; i < job->n_pieces; i++)
		if (!i || job->piece_fd[i] != job->piece_fd[i - 1])
			close_fd(job->piece_fd[i]);
	close_fd(job->ram_fd);
	close_fd(job->state_fd);
	close_fd(job->dir_fd);
	close(job->cfg.folder_fd);
	if (job->buf)
		munmap(job->buf, DISK_COPY_BYTES);
	state_buf_free(&job->state);
	free(job->disks);
	free(job->disk_fd);
	free(job->part);
	free(job->pieces);
	free(job->piece_fd);
	free(job->name);
	free(job);
}

static void child_over(void *ctx, bool is_dead)
{
	if (is_dead)
		remove_temp(ctx);
	free_all(ctx);
}

void snapshot_job_free(struct snapshot_job *job)
{
	if (!job)
		return;
	if (job->has_ended)
		remove_temp(job);
	ram_child_free(&job->child);
}
