/*
 * The child that writes a snapshot; see vm/snapshot-write.h. System calls alone, on memory that is there already:
 * any lock may be held by a thread that it does not have.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "lkvm/file.h"
#include "lkvm/ram.h"
#include "snapshot-job.h"

/* Nobody is there who would remove it. */
__attribute__((noreturn)) static void abandon(const struct snapshot_job *job)
{
	unlinkat(job->dir_fd, SNAPSHOT_RAM, 0);
	unlinkat(job->dir_fd, SNAPSHOT_STATE, 0);
	for (unsigned i = 0; i < job->n_disks; i++)
		unlinkat(job->dir_fd, job->part[i], 0);
	for (unsigned i = 0; i < job->n_pieces; i++)
		unlinkat(job->dir_fd, job->pieces[i].part, 0);
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
	need(job, pipe_fd, STEP_RAM, ram_save(job->cfg.ram, job->spare, job->ram_fd, 0, &job->done.ram_bytes), 0);
}

/* What they were when this process was made, as RAM is */
static void save_pieces(const struct snapshot_job *job, int pipe_fd)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < job->n_pieces; i++) {
		const struct snapshot_piece *piece = &job->pieces[i];
		const int fd = job->piece_fd[i];

		at = i && fd == job->piece_fd[i - 1] ? at : 0;
		need(job, pipe_fd, STEP_PIECES, file_write(fd, piece->data, piece->bytes, at), 0);
		at += piece->bytes;
		if (i + 1 == job->n_pieces || job->piece_fd[i + 1] != fd)
			need(job, pipe_fd, STEP_PIECES, sync_file(job, fd), 0);
	}
}

static void say_copied(struct snapshot_job *job, int pipe_fd)
{
	const struct report copied = { .step = STEP_COPIED, .done = job->done };

	if (write(pipe_fd, &copied, sizeof(copied)) < 0)
		abandon(job);
}

void snapshot_child(void *ctx, int pipe_fd)
{
	struct snapshot_job *job = ctx;

	copy_disks(job, pipe_fd);
	if (job->cfg.ram_first)
		save_ram(job, pipe_fd);
	say_copied(job, pipe_fd);
	if (!job->cfg.ram_first)
		save_ram(job, pipe_fd);
	need(job, pipe_fd, STEP_RAM, sync_file(job, job->ram_fd), 0);
	sync_disks(job, pipe_fd);
	save_pieces(job, pipe_fd);
	need(job, pipe_fd, STEP_STATE, file_write(job->state_fd, job->state.data, job->state.len, 0), 0);
	need(job, pipe_fd, STEP_STATE, sync_file(job, job->state_fd), 0);
	need(job, pipe_fd, STEP_FOLDER, give_name(job), 0);
	leave(job, pipe_fd, STEP_DONE, 0, 0);
}
