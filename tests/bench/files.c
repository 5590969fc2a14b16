/*
 * files make DIR             make what is measured: many empty files, some small ones and a large one
 * files cached DIR [ROW]...  measure all, or these: one line each, "guest: files: ROW NANOSECONDS-A-FILE", for
 *                            streams a MiB
 * files run DIR [ROW]...     the same, each with nothing in the caches of this system
 *
 * No row needs another one to be measured before it. A row ends after a quarter of a second, with what was done by then.
 *
 * Run by fs-job.sh, in the emulated host, and by guests there (word_files of guest-files). DIR/repository is a
 * repository of git's, if it is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FOLDERS     200
#define IN_A_FOLDER 100
#define SMALL       500
#define SMALL_BYTES 4096
#define STREAM_MIB  32
#define MIB         (1 << 20)
#define LIMIT_NS    250000000
#define AT_ONCE     50 /* between two looks at the clock */
#define REST_US     300000 /* what closing and forgetting leaves behind is over by then */

extern char **environ;
static char block[MIB];

static void must(int ok, const char *what, const char *name)
{
	if (ok)
		return;
	fprintf(stderr, "files: %s '%s': %s\n", what, name, strerror(errno));
	exit(1);
}

/* The name of file @i of many; of its folder alone */
static const char *many(unsigned i, int folder)
{
	static char name[64];

	snprintf(name, sizeof(name), folder ? "many/folder-%u" : "many/folder-%u/a-file-%u", i / IN_A_FOLDER,
		 i % IN_A_FOLDER);
	return name;
}

static const char *small(const char *folder, unsigned i)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s/a-file-%u", folder, i);
	return name;
}

static void write_file(const char *name, int flags, unsigned blocks, size_t bytes)
{
	int fd = open(name, O_WRONLY | flags, 0644);

	must(fd >= 0, "open", name);
	for (unsigned i = 0; i < blocks; i++)
		must(write(fd, block, bytes) == (ssize_t)bytes, "write", name);
	must(!close(fd), "close", name);
}

static void make_folder(const char *name)
{
	must(!mkdir(name, 0755), "mkdir", name);
}

static void make(void)
{
	make_folder("many");
	for (unsigned i = 0; i < FOLDERS * IN_A_FOLDER; i++) {
		if (!(i % IN_A_FOLDER))
			make_folder(many(i, 1));
		write_file(many(i, 0), O_CREAT, 0, 0);
	}
	make_folder("small");
	for (unsigned i = 0; i < SMALL; i++)
		write_file(small("small", i), O_CREAT, 1, SMALL_BYTES);
	make_folder("old");
	for (unsigned i = 0; i < SMALL; i++)
		write_file(small("old", i), O_CREAT, 1, SMALL_BYTES);
	make_folder("new");
	write_file("large", O_CREAT, STREAM_MIB, MIB);
}

/* ---- what is measured: file, or block, @i ---- */

static int stream = -1; /* the large file */

static void stat_one(unsigned i)
{
	struct stat st;

	must(!stat(many(i, 0), &st), "stat", many(i, 0));
}

static void git_status(unsigned i)
{
	char *argv[] = { "git", "-C", "repository", "status", "--short", NULL };
	int status;
	pid_t pid;

	(void)i;
	errno = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	must(!errno, "run", argv[0]);
	must(waitpid(pid, &status, 0) == pid && !status, "run", "git status");
}

static void read_small(unsigned i)
{
	const char *name = small("small", i);
	int fd = open(name, O_RDONLY);

	must(fd >= 0, "open", name);
	must(read(fd, block, sizeof(block)) == SMALL_BYTES && !read(fd, block, 1), "read", name);
	close(fd);
}

static void write_small(unsigned i)
{
	write_file(small("new", i), O_CREAT | O_EXCL, 1, SMALL_BYTES);
}

/* Of those that are there already: not all need have been written. */
static void remove_one(unsigned i)
{
	must(!unlink(small("old", i)), "unlink", small("old", i));
}

static void open_stream(unsigned i, int flags)
{
	if (i)
		return;
	if (stream >= 0)
		close(stream);
	stream = open("large", flags);
	must(stream >= 0, "open", "large");
}

static void read_stream(unsigned i)
{
	open_stream(i, O_RDONLY);
	must(read(stream, block, MIB) == MIB, "read", "large");
}

static void write_stream(unsigned i)
{
	open_stream(i, O_WRONLY);
	must(write(stream, block, MIB) == MIB, "write", "large");
}

static const struct row {
	const char *name;
	void (*one)(unsigned i);
	unsigned n;
} rows[] = {
	{ "stat", stat_one, FOLDERS * IN_A_FOLDER },
	{ "git-status", git_status, 1 },
	{ "read-small", read_small, SMALL },
	{ "write-small", write_small, SMALL },
	{ "remove", remove_one, SMALL },
	{ "read-stream", read_stream, STREAM_MIB },
	{ "write-stream", write_stream, STREAM_MIB },
};

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	must(fd >= 0 && write(fd, "3", 1) == 1, "write", "drop_caches");
	close(fd);
	usleep(REST_US);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void measure(const struct row *row)
{
	uint64_t begin = now_ns(), ns = 0;
	unsigned done = 0;

	do {
		row->one(done++);
		if (done == row->n || !(done % AT_ONCE))
			ns = now_ns() - begin;
	} while (done < row->n && (done % AT_ONCE || ns < LIMIT_NS));
	printf("guest: files: %s %" PRIu64 "\n", row->name, ns / done);
	fflush(stdout);
}

static int is_wanted(const struct row *row, char **wanted)
{
	if (row->one == git_status && access("repository", F_OK))
		return 0;
	for (unsigned i = 0; wanted[i]; i++)
		if (!strcmp(wanted[i], row->name))
			return 1;
	return !wanted[0];
}

static void run(int cached, char **wanted)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!is_wanted(&rows[i], wanted))
			continue;
		if (!cached)
			drop_caches();
		measure(&rows[i]);
	}
}

int main(int argc, char **argv)
{
	memset(block, 'x', sizeof(block));
	if (argc < 3) {
		fprintf(stderr, "usage: files make|cached|run DIR [ROW]...\n");
		return 2;
	}
	must(!chdir(argv[2]), "chdir", argv[2]);
	if (!strcmp(argv[1], "make"))
		make();
	else
		run(!strcmp(argv[1], "cached"), argv + 3);
	return 0;
}
