/*
 * See vm/snapshot-write.h. What the child does stands between "the child" and "the parent": system calls
 * alone, on memory that is there already, since any lock may be held by a thread that it does not have.
 */
#include "lkvm/vm/snapshot-write.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "lkvm/file.h"
#include "lkvm/ram.h"
#include "lkvm/types.h"
#include "lkvm/vm/snapshot.h"

#define MODE_FILE  0600 /* RAM is full of secrets */
#define MODE_DIR   0700

enum step { STEP_DISK, STEP_RAM, STEP_STATE, STEP_FOLDER, STEP_COPIED, STEP_DONE };

/* The child's words, each of one write. */
struct report {
	uint32_t step; /* enum step: one of the last two, or what has failed, */
	int32_t err;   /* by this -errno */
	uint32_t disk;
	struct snapshot_job_done done;
};

struct snapshot_job {
	struct snapshot_job_config cfg;
	char *name, *temp; /* in the folder, at last and for the time being */
	int dir_fd;        /* that one */
	bool exchange;     /* there is an older one */
	struct state_buf state;
	struct disk_source *disks;
	int *disk_fd; /* of the copies, */
	char (*part)[SNAPSHOT_DISK_BYTES]; /* and their names */
	unsigned n_disks;
	int ram_fd, state_fd;
	void *buf; /* DISK_COPY_BYTES */
	pid_t child;
	struct loop_source pipe;
	bool done_well;
	struct snapshot_job_done done;
};

/* ---- the child ---- */

/* Nobody is there who would remove it. */
__attribute__((noreturn)) static void abandon(const struct snapshot_job *job)
{
	unlinkat(job->dir_fd, SNAPSHOT_RAM, 0);
	unlinkat(job->dir_fd, SNAPSHOT_STATE, 0);
	for (unsigned i = 0; i < job->n_disks; i++)
		unlinkat(job->dir_fd, job->part[i], 0);
	unlinkat(job->cfg.folder_fd, job->temp, AT_REMOVEDIR);
	_exit(2);
}

__attribute__((noreturn)) static void leave(const struct snapshot_job *job, int pipe_fd, enum step step, int err,
					    unsigned disk)
{
	const struct report report = { .step = step, .err = err, .disk = disk, .done = job->done };

	/* One that is there stays: it was asked for. */
	if (write(pipe_fd, &report, sizeof(report)) < 0 && step != STEP_DONE)
		abandon(job);
	_exit(0);
}

/* Others see their end when this process has it no more, too. As many as the child needs are few. */
static void close_all_but(const int *keep, unsigned n)
{
	int from = 0;

	for (;;) {
		int next = -1;

		for (unsigned i = 0; i < n; i++)
			if (keep[i] >= from && (next < 0 || keep[i] < next))
				next = keep[i];
		if (next != from)
			syscall(SYS_close_range, from, next < 0 ? ~0U : (unsigned)next - 1, 0);
		if (next < 0)
			return;
		from = next + 1;
	}
}

/* On the disk, before it has its name */
static int sync_file(const struct snapshot_job *job, int fd)
{
	return !job->cfg.brief && fsync(fd) ? -errno : 0;
}

/* The step in which it comes to be. */
static int give_name(const struct snapshot_job *job)
{
	const unsigned how = job->exchange ? RENAME_EXCHANGE : RENAME_NOREPLACE;
	int err = sync_file(job, job->dir_fd);

	if (err)
		return err;
	if (renameat2(job->cfg.folder_fd, job->temp, job->cfg.folder_fd, job->name, how)) {
		/* Not every file system knows how to do without replacing. An empty folder is all that it could. */
		if (errno != EINVAL || job->exchange ||
		    renameat(job->cfg.folder_fd, job->temp, job->cfg.folder_fd, job->name))
			return -errno;
	}
	/* The name itself: a file system that cannot be asked for that has none that is lost. */
	sync_file(job, job->cfg.folder_fd);
	return 0;
}

/* It cannot go on without. */
static void need(const struct snapshot_job *job, int pipe_fd, enum step step, int err, unsigned disk)
{
	if (err)
		leave(job, pipe_fd, step, err, disk);
}

static void copy_disks(struct snapshot_job *job, int pipe_fd)
{
	for (unsigned i = 0; i < job->n_disks; i++) {
		bool shared;

		if (job->disk_fd[i] < 0)
			continue;
		need(job, pipe_fd, STEP_DISK, disk_copy(&job->disks[i], job->disk_fd[i], job->buf, &shared), i);
		job->done.disks++;
		job->done.shared += shared;
	}
}

static void sync_disks(const struct snapshot_job *job, int pipe_fd)
{
	for (unsigned i = 0; i < job->n_disks; i++)
		if (job->disk_fd[i] >= 0)
			need(job, pipe_fd, STEP_DISK, sync_file(job, job->disk_fd[i]), i);
}

static void save_ram(struct snapshot_job *job, int pipe_fd)
{
	need(job, pipe_fd, STEP_RAM, ram_save(job->cfg.ram, job->ram_fd, &job->done.ram_bytes), 0);
}

static void say_copied(struct snapshot_job *job, int pipe_fd)
{
	const struct report copied = { .step = STEP_COPIED, .done = job->done };

	if (write(pipe_fd, &copied, sizeof(copied)) < 0)
		abandon(job);
}

__attribute__((noreturn)) static void child(struct snapshot_job *job, int pipe_fd, int *keep, unsigned n_keep)
{
	close_all_but(keep, n_keep);
	copy_disks(job, pipe_fd);
	if (job->cfg.ram_first)
		save_ram(job, pipe_fd);
	say_copied(job, pipe_fd);
	if (!job->cfg.ram_first)
		save_ram(job, pipe_fd);
	need(job, pipe_fd, STEP_RAM, sync_file(job, job->ram_fd), 0);
	sync_disks(job, pipe_fd);
	need(job, pipe_fd, STEP_STATE, file_write(job->state_fd, job->state.data, job->state.len, 0), 0);
	need(job, pipe_fd, STEP_STATE, sync_file(job, job->state_fd), 0);
	need(job, pipe_fd, STEP_FOLDER, give_name(job), 0);
	leave(job, pipe_fd, STEP_DONE, 0, 0);
}

/* ---- the parent ---- */

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

static int make_folder(struct snapshot_job *job, char *ret_why, size_t cap)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return failed(-EIO, ret_why, cap, "random number");
	if (asprintf(&job->temp, ".lkvm-snapshot-%08x", random) < 0) {
		job->temp = NULL;
		return failed(-ENOMEM, ret_why, cap, "snapshot");
	}
	if (mkdirat(job->cfg.folder_fd, job->temp, MODE_DIR)) {
		int err = -errno;

		free(job->temp); /* it is not ours to remove */
		job->temp = NULL;
		return failed(err, ret_why, cap, "make a folder");
	}
	job->dir_fd = openat(job->cfg.folder_fd, job->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return job->dir_fd < 0 ? failed(-errno, ret_why, cap, "open a folder") : 0;
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
	job->dir_fd = job->ram_fd = job->state_fd = job->pipe.fd = -1;
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

static void tell_over(struct snapshot_job *job, int err, const char *why)
{
	loop_del(job->cfg.loop, &job->pipe);
	job->cfg.over(job->cfg.ctx, err, why);
}

static void tell_failed(struct snapshot_job *job, const struct report *report)
{
	static const char *const what[] = {
		[STEP_RAM] = "write RAM", [STEP_STATE] = "write the state", [STEP_FOLDER] = "give it its name",
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

static void child_says(struct loop_source *src, uint32_t events)
{
	struct snapshot_job *job = container_of(src, struct snapshot_job, pipe);
	struct report report;
	ssize_t n = read(src->fd, &report, sizeof(report));

	(void)events;
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
		job->done_well = true;
		tell_over(job, 0, "");
	} else {
		tell_failed(job, &report);
	}
}

/* Those that the child needs; -1 is none. */
static int *kept(const struct snapshot_job *job, int pipe_fd, unsigned *ret_n)
{
	const int own[] = { pipe_fd,	 job->ram_fd,	     job->state_fd,
			    job->dir_fd, job->cfg.folder_fd, ram_file(job->cfg.ram) };
	int *keep = calloc(ARRAY_SIZE(own) + 3 * (size_t)job->n_disks, sizeof(*keep));

	if (!keep)
		return NULL;
	memcpy(keep, own, sizeof(own));
	*ret_n = ARRAY_SIZE(own);
	for (unsigned i = 0; i < job->n_disks; i++) {
		keep[(*ret_n)++] = job->disk_fd[i];
		keep[(*ret_n)++] = job->disks[i].fd;
		keep[(*ret_n)++] = job->disks[i].top_fd;
	}
	return keep;
}

static int make_child(struct snapshot_job *job)
{
	unsigned n_keep = 0;
	int fds[2], *keep, err;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	job->pipe = (struct loop_source){ fds[0], child_says };
	keep = kept(job, fds[1], &n_keep);
	if (!keep) {
		close(fds[1]);
		return -ENOMEM;
	}
	err = ram_let_fork(job->cfg.ram, true);
	if (!err) {
		job->child = fork();
		if (!job->child)
			child(job, fds[1], keep, n_keep);
		err = job->child < 0 ? -errno : 0;
	}
	ram_let_fork(job->cfg.ram, false);
	free(keep);
	close(fds[1]);
	return err ? err : loop_add(job->cfg.loop, &job->pipe, EPOLLIN);
}

int snapshot_job_start(struct snapshot_job *job, struct state_buf *state, const struct disk_source *disks,
		       unsigned n_disks)
{
	int err;

	job->state = *state;
	*state = (struct state_buf){ 0 };
	err = take_disks(job, disks, n_disks);
	return err ? err : make_child(job);
}

const struct snapshot_job_done *snapshot_job_done(const struct snapshot_job *job)
{
	return &job->done;
}

static void end_child(struct snapshot_job *job)
{
	if (job->child <= 0)
		return;
	kill(job->child, SIGKILL);
	while (waitpid(job->child, NULL, 0) < 0 && errno == EINTR)
		;
}

void snapshot_job_free(struct snapshot_job *job)
{
	if (!job)
		return;
	end_child(job);
	if (job->pipe.fd >= 0) {
		loop_del(job->cfg.loop, &job->pipe);
		close(job->pipe.fd);
	}
	/* What has the other name now: what was not finished, or the one that was replaced. */
	if (job->temp)
		snapshot_remove(job->cfg.folder_fd, job->temp);
	for (unsigned i = 0; i < job->n_disks; i++)
		if (job->disk_fd[i] >= 0)
			close(job->disk_fd[i]);
	if (job->ram_fd >= 0)
		close(job->ram_fd);
	if (job->state_fd >= 0)
		close(job->state_fd);
	if (job->dir_fd >= 0)
		close(job->dir_fd);
	close(job->cfg.folder_fd);
	if (job->buf)
		munmap(job->buf, DISK_COPY_BYTES);
	state_buf_free(&job->state);
	free(job->disks);
	free(job->disk_fd);
	free(job->part);
	free(job->temp);
	free(job->name);
	free(job);
}
