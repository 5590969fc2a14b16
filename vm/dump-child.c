/* The child that writes a dump; see vm/dump-job.h. System calls alone, on memory that is there already. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "dump-job.h"
#include "lkvm/file.h"
#include "lkvm/ram.h"

/* As it was when this process was made: blocks may come and go meanwhile. */
static uint64_t all_bytes(const struct ram *ram)
{
	struct ram_part area[RAM_MAX_AREAS];
	uint64_t sum = 0;

	for (unsigned i = ram_areas(ram, area); i--;)
		sum += area[i].size_bytes;
	return sum;
}

static void tell(const struct dump_file *file, int pipe_fd, enum dump_step step, int err, uint64_t ram_bytes)
{
	const struct dump_report report = { .step = step, .err = err, .ram_bytes = ram_bytes,
					    .all_bytes = all_bytes(file->ram),
					    .left_out = file->exclude.left_out };

	if (write(pipe_fd, &report, sizeof(report)) == sizeof(report))
		return;
	/* Nobody is there who would remove it. One that is there stays: it was asked for. */
	if (step != DUMP_DONE && *file->temp)
		unlinkat(file->folder_fd, file->temp, 0);
	_exit(2);
}

/* The step in which it comes to be. What has that name meanwhile is not replaced. */
static int give_name(const struct dump_file *file)
{
	char path[32];

	if (!*file->temp) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
		return linkat(AT_FDCWD, path, file->folder_fd, file->name, AT_SYMLINK_FOLLOW) ? -errno : 0;
	}
	if (!renameat2(file->folder_fd, file->temp, file->folder_fd, file->name, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL || linkat(file->folder_fd, file->temp, file->folder_fd, file->name, 0))
		return -errno;
	unlinkat(file->folder_fd, file->temp, 0);
	return 0;
}

struct elf {
	const struct dump_file *file;
	uint64_t written;
};

static int write_run(void *ctx, gpa_t at, const uint8_t *host, size_t bytes)
{
	struct elf *elf = ctx;

	elf->written += bytes;
	return file_write(elf->file->fd, host, bytes, elf->file->head.len + ram_file_at(elf->file->ram, at));
}

static int write_elf(const struct dump_file *file, uint64_t *ret_bytes)
{
	struct elf elf = { .file = file };
	int err = file_write(file->fd, file->head.data, file->head.len, 0);

	if (!err && ftruncate(file->fd, (off_t)(file->head.len + ram_file_bytes(file->ram))))
		err = -errno;
	if (!err)
		err = dump_each_run(&file->exclude, file->ram, write_run, &elf);
	*ret_bytes = elf.written;
	return err;
}

void dump_child(struct dump_file *file, int pipe_fd)
{
	uint64_t written = 0;
	int err;

	dump_exclude_look(&file->exclude);
	err = file->kdump ? kdump_write(file->kdump, file->fd, &written) : write_elf(file, &written);
	tell(file, pipe_fd, err ? DUMP_WRITE : DUMP_COPIED, err, written);
	if (err)
		_exit(0);
	err = give_name(file);
	tell(file, pipe_fd, err ? DUMP_NAME : DUMP_DONE, err, written);
	_exit(0);
}
