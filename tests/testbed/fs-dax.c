/*
 * fs-dax files FOLDER | direct FOLDER | share FILE | saved FOLDER | hold FILE | is FILE | sum FILE | hello: files of a
 * shared folder as memory of this process. What it says are lines that begin with "guest: dax:". The other side of
 * `files` and `direct` is in fs-job.sh, that of `share` in session-job.sh, that of `saved` in session-warm.sh: it waits
 * for these lines, and writes to the files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB     (1L << 20)
#define SECONDS 120

static void say(const char *what)
{
	printf("guest: dax: %s\n", what);
	fflush(stdout);
}

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("guest: dax: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDWR);

	if (fd < 0)
		fd = open(path, O_RDONLY);
	need(fd >= 0, path);
	return fd;
}

static volatile uint8_t *map(int fd, size_t bytes, int prot, int flags)
{
	void *at = mmap(NULL, bytes, prot, flags, fd, 0);

	need(at != MAP_FAILED, "mmap");
	return at;
}

static size_t size_of(int fd)
{
	struct stat st;

	need(!fstat(fd, &st), "fstat");
	return (size_t)st.st_size;
}

static void is_dax(const char *path)
{
	struct statx st;

	need(!syscall(SYS_statx, AT_FDCWD, path, 0, STATX_BASIC_STATS, &st), path);
	say(st.stx_attributes & STATX_ATTR_DAX ? "without a copy" : "with a copy");
}

static void sum(const char *path)
{
	int fd = open_file(path);
	size_t bytes = size_of(fd);
	volatile uint8_t *at = map(fd, bytes, PROT_READ, MAP_SHARED);
	uint64_t hash = 14695981039346656037U;

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ at[i]) * 1099511628211U;
	printf("guest: dax: sum %016llx\n", (unsigned long long)hash);
}

/* Not by a system call: memory has to change by itself. */
static bool becomes(volatile uint8_t *at, uint8_t value)
{
	for (unsigned i = 0; i < SECONDS * 10 && *at != value; i++)
		usleep(100000);
	return *at == value;
}

/* Each side writes into it, and the other finds that. */
static void words(volatile uint8_t *shared)
{
	memcpy((void *)(uintptr_t)(shared + MIB), "guest's word", 12);
	say("written");
	say(becomes(shared + 2 * MIB, '#') ? "the host's word" : "no word of the host's");
}

static void share(const char *path)
{
	int fd = open_file(path);

	words(map(fd, size_of(fd), PROT_READ | PROT_WRITE, MAP_SHARED));
}

/* While it waits for the host's word it is saved, and goes on elsewhere: by then one file is another one. */
static void saved(const char *folder)
{
	int kept, replaced;
	volatile uint8_t *at, *gone;
	uint8_t byte;

	need(!chdir(folder), folder);
	kept = open_file("kept");
	replaced = open_file("replaced");
	at = map(kept, size_of(kept), PROT_READ | PROT_WRITE, MAP_SHARED);
	gone = map(replaced, size_of(replaced), PROT_READ, MAP_SHARED);
	need(gone[0] == '.', "what is to be replaced");
	words(at);
	say(!memcmp((void *)(uintptr_t)(at + MIB), "guest's word", 12) ? "its own word" : "no word of its own");
	at[3 * MIB] = '!';
	say(gone[0] ? "what was mapped is there" : "what was mapped is zeros");
	say(pread(replaced, &byte, 1, 3 * MIB) == 1 ? "the rest is there" : strerror(errno));
	replaced = open_file("replaced");
	say(pread(replaced, &byte, 1, 0) == 1 && byte == 'n' ? "a new one by its name" : "no new one");
}

static void both_ways(const char *path)
{
	int fd = open_file(path);
	size_t bytes = size_of(fd);
	volatile uint8_t *shared = map(fd, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
	volatile uint8_t *mine = map(fd, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char more[] = "more";

	mine[5] = '!';
	say(shared[5] != '!' ? "mine is mine" : "mine is everybody's");
	words(shared);
	need(pwrite(fd, more, 4, (off_t)bytes) == 4, "append");
	say(!memcmp((void *)(uintptr_t)(shared + bytes), more, 4) ? "appended" : "not appended");
	need(!fsync(fd), "fsync");
}

/* The host cuts it where this looks, and writes it anew and longer. */
static void cut(const char *path)
{
	int fd = open_file(path);
	volatile uint8_t *at = map(fd, size_of(fd), PROT_READ | PROT_WRITE, MAP_SHARED);
	volatile uint8_t *page = at + 3 * MIB;
	uint8_t byte = 1;

	need(*page && at[100], "what is to be cut");
	say("cut it");
	say(becomes(page, 0) ? "zeros" : "not cut");
	page[1] = 7;
	say(at[100] ? "the beginning is there" : "the beginning has gone");
	say("write it again");
	for (unsigned i = 0; i < SECONDS && size_of(fd) != 5 * MIB; i++)
		sleep(1);
	need(pread(fd, &byte, 1, 3 * MIB) == 1, "pread");
	say(byte == '@' && *page == '@' && page[1] == '@' ? "again" : "not again");
}

static void files(const char *folder)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/file", folder);
	is_dax(path);
	sum(path);
	both_ways(path);
	snprintf(path, sizeof(path), "%s/cut", folder);
	cut(path);
}

/* All of it in one call: more than a queue of the disk's lends at a time. */
static void from_and_to_disk(int disk, uint8_t *at, uint8_t *mine, size_t bytes)
{
	const uint8_t first = at[0], last = at[bytes - 1];

	need(pwrite(disk, at, bytes, 0) == (ssize_t)bytes, "write the disk");
	need(pread(disk, mine, bytes, 0) == (ssize_t)bytes, "read the disk");
	say(!memcmp(mine, at, bytes) ? "from the file to the disk" : "not to the disk");
	for (size_t i = 0; i < bytes; i++)
		mine[i] ^= 0xff;
	need(pwrite(disk, mine, bytes, 0) == (ssize_t)bytes, "write the disk anew");
	need(pread(disk, at + 512, bytes - 1024, 512) == (ssize_t)bytes - 1024, "read it into the file");
	say(!memcmp(mine + 512, at + 512, bytes - 1024) ? "from the disk to the file" : "not to the file");
	say(at[0] == first && at[bytes - 1] == last ? "and nothing else" : "and more");
}

/* The host cuts the file while it is mapped, and has done so when there is a file "cut". */
static void cut_to_disk(int disk, const char *folder, uint8_t *at, uint8_t *mine)
{
	unsigned i = 0;
	char path[256];

	snprintf(path, sizeof(path), "%s/cut", folder);
	say("cut it");
	for (i = 0; i < SECONDS * 10 && access(path, F_OK); i++)
		usleep(100000);
	need(pwrite(disk, at, MIB, 0) == MIB, "write what was cut");
	need(pread(disk, mine, MIB, 0) == MIB, "read the disk again");
	for (i = 0; i < MIB && !mine[i]; i++)
		;
	say(i == MIB ? "zeros" : "not zeros");
}

/* A disk's requests, with buffers that are a file. */
static void direct(const char *folder)
{
	int disk = open("/dev/vda", O_RDWR | O_DIRECT), fd;
	uint8_t *at;
	char path[256];
	void *mine = NULL;
	size_t bytes;

	need(disk >= 0, "disk");
	snprintf(path, sizeof(path), "%s/file", folder);
	is_dax(path);
	fd = open_file(path);
	bytes = size_of(fd);
	at = (uint8_t *)(uintptr_t)map(fd, bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
	need(!posix_memalign(&mine, 4096, bytes), "memory");
	from_and_to_disk(disk, at, mine, bytes);
	cut_to_disk(disk, folder, at + bytes / 2, mine);
}

static long cached_mib(void)
{
	char line[128];
	long kib = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	need(f, "meminfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Cached: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib / 1024;
}

static void hold(const char *path)
{
	int fd = open_file(path);
	size_t bytes = size_of(fd);
	long before = cached_mib();
	volatile uint8_t *at = map(fd, bytes, PROT_READ, MAP_SHARED);
	unsigned all = 0;
	char line[8];

	for (size_t i = 0; i < bytes; i += 4096)
		all += at[i];
	printf("guest: dax: holds %zu bytes (%u), %ld MiB of them its own\n", bytes, all, cached_mib() - before);
	fflush(stdout);
	need(fgets(line, sizeof(line), stdin), "console");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(const char *arg);
	} calls[] = { { "files", files }, { "share", share }, { "saved", saved }, { "direct", direct },
		      { "hold", hold },	  { "is", is_dax },   { "sum", sum },	  { "hello", say } };

	for (size_t i = 0; argc > 1 && i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(argv[1], calls[i].name))
			continue;
		calls[i].run(argc > 2 ? argv[2] : argv[1]);
		return 0;
	}
	return 1;
}
