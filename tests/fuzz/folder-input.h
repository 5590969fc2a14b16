/* What the fuzzers of file servers share: a real folder, names in it, buffers. */
#ifndef TESTS_FOLDER_INPUT_H
#define TESTS_FOLDER_INPUT_H

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "../unit/folder.h"
#include "input.h"
#include "lkvm/fs.h"

/* Once a process */
static inline void folder_begin(void)
{
	const struct rlimit limit = { 16 << 20, 16 << 20 };

	signal(SIGXFSZ, SIG_IGN);
	check(!setrlimit(RLIMIT_FSIZE, &limit)); /* of what it may fill the disk with */
	folder_make();
	atexit(folder_remove);
}

static inline int folder_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type;
	return at->level ? remove(path) : 0;
}

/* The same at the begin of each input */
static inline void folder_fill(void)
{
	check(!nftw(folder, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT));
	check(!chmod(folder, 0755));
	folder_write("file", "hello", 5);
	check(!mkdirat(folder_fd, "dir", 0755));
	folder_write("dir/file", "in dir", 6);
	check(!mkfifoat(folder_fd, "fifo", 0644));
	folder_symlink("..", "up");
	folder_symlink("../secret", "out");
	folder_symlink("../made", "dangling");
}

/* There are the secret and the folder, and nothing else. */
static inline void folder_check_all(void)
{
	DIR *dir = opendir(folder_outside);
	unsigned n = 0;

	check(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	check(n == 4);
	folder_check_outside();
}

/* Return: its bytes, a NUL behind most of them among these */
static inline size_t put_name(struct input *in, uint8_t *to)
{
	static const char *const names[] = { "file", "dir", "up", "out", "dangling", "fifo", "..", ".",
					     "new", "user.x", "a/b", "", "../made" };
	unsigned which = input_byte(in), len = 0;

	if (which < 200) {
		const char *name = names[which % (sizeof(names) / sizeof(names[0]))];

		memcpy(to, name, strlen(name) + 1);
		return strlen(name) + 1;
	}
	for (len = 0; len < which - 200; len++)
		to[len] = input_byte(in);
	return len;
}

static inline unsigned cut(struct iovec iov[3], uint8_t *at, size_t bytes, unsigned first)
{
	size_t a = first < bytes ? first : bytes, b = (bytes - a) / 2;

	iov[0] = (struct iovec){ at, a };
	iov[1] = (struct iovec){ at + a, b };
	iov[2] = (struct iovec){ at + a + b, bytes - a - b };
	return 3;
}

/* ---- requests ---- */

struct buffers {
	struct file_request req;
	struct iovec out[3], in[3];
	uint8_t out_bytes[4096], in_bytes[8192];
	bool done;
	uint32_t written;
	struct buffers *next;
};

static struct buffers *waiting; /* those that are not done yet */
static unsigned n_open;         /* how many these are, and the one being served */

static inline void buffers_done(struct file_request *req, uint32_t written)
{
	struct buffers *b = (struct buffers *)((char *)req - offsetof(struct buffers, req));

	check(!b->done);
	b->done = true;
	b->written = written;
	n_open--;
}

/* One of so many bytes with room for @room, cut as @shape says, is going to be served. */
static inline void buffers_begin(struct buffers *b, size_t bytes, size_t room, unsigned shape)
{
	b->req = (struct file_request){ .out = b->out, .in = b->in,
					.n_out = cut(b->out, b->out_bytes, bytes, shape >> 5),
					.n_in = cut(b->in, b->in_bytes, room, shape >> 4),
					.done = buffers_done };
	b->done = false;
	n_open++;
}

/* It was served; in_bytes was filled with 0xee. Return: done, and to be freed; or it waits for something */
static inline bool buffers_served(struct buffers *b, size_t room)
{
	if (!b->done) {
		b->next = waiting;
		waiting = b;
		return false;
	}
	check(b->written <= room && b->in_bytes[room] == 0xee);
	return true;
}

/* The server was reset: nothing waits any more. */
static inline void buffers_end(void)
{
	while (waiting) {
		struct buffers *next = waiting->next;

		check(waiting->done);
		free(waiting);
		waiting = next;
	}
	check(!n_open);
}

#endif
