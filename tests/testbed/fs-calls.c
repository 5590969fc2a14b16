/*
 * fs-calls FOLDER: system calls on files in this folder, which is empty, and what came of each, a line
 * each. A file system of a guest is right if it prints what the host's own prints there. Run by root.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define GIB (1LL << 30)

static void say(const char *what, long long ret)
{
	if (ret < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %lld\n", what, ret);
	fflush(stdout);
}

static void say_stat(const char *name)
{
	struct stat st;

	if (lstat(name, &st) < 0)
		say(name, -1);
	else
		printf("%s: mode %o links %lu uid %u gid %u size %lld blocks %lld mtime %lld.%09ld\n", name,
		       st.st_mode, (unsigned long)st.st_nlink, st.st_uid, st.st_gid,
		       S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size,
		       S_ISREG(st.st_mode) ? (long long)st.st_blocks : 0LL,
		       st.st_mtime < 1000000 ? (long long)st.st_mtime : 0LL,
		       st.st_mtime < 1000000 ? st.st_mtim.tv_nsec : 0L);
}

static int make(const char *name, int flags, mode_t mode)
{
	int fd = open(name, flags | O_CREAT, mode);

	if (fd < 0)
		say(name, fd);
	return fd;
}

static void names(void)
{
	char longest[300], to[64];

	memset(longest, 'n', sizeof(longest));
	longest[255] = '\0';
	say("mkdir", mkdir("dir", 0750));
	say("mkdir again", mkdir("dir", 0750));
	say_stat("dir");
	close(make(longest, O_WRONLY, 0600));
	say("longest name", unlink(longest));
	longest[255] = 'n', longest[256] = '\0';
	say("longer name", mkdir(longest, 0700));
	close(make("dir/file", O_WRONLY, 0666));
	say("rmdir not empty", rmdir("dir"));
	say("unlink dir", unlink("dir"));
	say("rmdir file", rmdir("dir/file"));
	say("file/", open("dir/file/", O_RDONLY));
	say("O_EXCL", open("dir/file", O_CREAT | O_EXCL | O_WRONLY, 0600));
	say("O_DIRECTORY", open("dir/file", O_DIRECTORY));
	say("write a dir", open("dir", O_WRONLY));
	say("symlink", symlink("dir/file", "link"));
	say("readlink", readlink("link", to, sizeof(to)));
	say_stat("link");
	say("O_NOFOLLOW", open("link", O_RDONLY | O_NOFOLLOW));
	say("dangling", symlink("nothing", "dangling"));
	say("open dangling", open("dangling", O_RDONLY));
	say("O_EXCL dangling", open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
	say("loop", symlink("loop", "loop") ? -1 : open("loop", O_RDONLY));
	say("link", link("dir/file", "hard"));
	say("link again", link("dir/file", "hard"));
	say("link dir", link("dir", "dir2"));
	say("link link", linkat(AT_FDCWD, "link", AT_FDCWD, "link2", 0));
	say_stat("hard");
	say_stat("link2");
	say("rename", rename("hard", "dir/moved"));
	say("rename missing", rename("hard", "x"));
	say("rename into itself", rename("dir", "dir/below"));
	say("rename over dir", rename("dir/moved", "dir"));
	say("noreplace", renameat2(AT_FDCWD, "dir/moved", AT_FDCWD, "dir/file", RENAME_NOREPLACE));
	say("exchange", renameat2(AT_FDCWD, "dir", AT_FDCWD, "link", RENAME_EXCHANGE));
	say_stat("dir");
	say("exchange back", renameat2(AT_FDCWD, "dir", AT_FDCWD, "link", RENAME_EXCHANGE));
	say("fifo", mkfifo("fifo", 0622));
	say_stat("fifo");
	say("open fifo", open("fifo", O_RDWR) >= 0);
	say("socket", mknod("socket", S_IFSOCK | 0755, 0));
	say_stat("socket");
	say("open socket", open("socket", O_RDONLY));
	say("unlink missing", unlink("missing"));
}

static void data(void)
{
	char buf[64] = "";
	int fd = make("data", O_RDWR, 0644), other;
	struct stat st;

	say("write", write(fd, "0123456789", 10));
	say("pread", pread(fd, buf, 64, 3));
	say("pread behind", pread(fd, buf, 64, 100));
	other = open("data", O_WRONLY | O_APPEND);
	say("append", write(other, "abc", 3));
	say("append again", pwrite(other, "def", 3, 0));
	say("read wronly", read(other, buf, 1));
	say_stat("data");
	say("ftruncate", ftruncate(fd, 5));
	say("far", pwrite(fd, "far", 3, 5 * GIB));
	say_stat("data");
	say("SEEK_DATA", lseek(fd, 4096, SEEK_DATA));
	say("SEEK_HOLE", lseek(fd, 0, SEEK_HOLE));
	say("SEEK_DATA behind", lseek(fd, 6 * GIB, SEEK_DATA));
	say("fallocate", fallocate(fd, FALLOC_FL_KEEP_SIZE, 8192, 8192));
	say_stat("data");
	say("punch", fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 1 << 20));
	say("zero", fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096));
	say_stat("data");
	say("fsync", fsync(fd));
	say("fdatasync", fdatasync(fd));
	say("truncate", truncate("data", 1));
	say("truncate dir", truncate("dir", 0));
	say("unlink open", unlink("data"));
	say("write unlinked", write(fd, "x", 1));
	say("fstat unlinked", fstat(fd, &st) ? -1 : (long long)st.st_nlink);
	close(fd);
	fd = open(".", O_TMPFILE | O_RDWR, 0640);
	say("O_TMPFILE", fd < 0 ? fd : write(fd, "tmp", 3));
	snprintf(buf, sizeof(buf), "/proc/self/fd/%d", fd);
	say("link it", linkat(AT_FDCWD, buf, AT_FDCWD, "tmpfile", AT_SYMLINK_FOLLOW));
	say_stat("tmpfile");
}

static void copies(void)
{
	int from = make("from", O_RDWR, 0600), to = make("to", O_RDWR, 0600);
	loff_t in = 0, out = 100;
	char *map;

	say("fill", write(from, "copy me, all of me", 18));
	say("copy_file_range", copy_file_range(from, &in, to, &out, 1000, 0));
	say_stat("to");
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, from, 0);
	say("mmap shared", map == MAP_FAILED ? -1 : map[0]);
	if (map != MAP_FAILED) {
		map[0] = 'C';
		say("msync", msync(map, 4096, MS_SYNC));
		munmap(map, 4096);
	}
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, from, 0);
	say("mmap private", map == MAP_FAILED ? -1 : map[0]);
	if (map != MAP_FAILED) {
		map[0] = 'x';
		munmap(map, 4096);
	}
	out = 0;
	say("pread", pread(from, &out, 1, 0) == 1 ? (long long)out : -1);
}

static void attributes(void)
{
	const struct timespec times[2] = { { 1, 2 }, { 77, 123456789 } };
	char value[16];
	struct statfs fs;

	close(make("attr", O_RDWR, 0666));
	say("utimensat", utimensat(AT_FDCWD, "attr", times, 0));
	say("chmod", chmod("attr", 06711));
	say_stat("attr");
	say("chown", chown("attr", 1000, 1001));
	say_stat("attr");
	say("lchown", lchown("link", 5, 6));
	say_stat("link");
	say("link's times", utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
	say_stat("link");
	say("setxattr", setxattr("attr", "user.a", "value", 5, 0));
	say("XATTR_CREATE", setxattr("attr", "user.a", "value", 5, XATTR_CREATE));
	say("XATTR_REPLACE", setxattr("attr", "user.b", "value", 5, XATTR_REPLACE));
	say("getxattr size", getxattr("attr", "user.a", NULL, 0));
	say("getxattr", getxattr("attr", "user.a", value, 16));
	say("getxattr short", getxattr("attr", "user.a", value, 2));
	say("getxattr none", getxattr("attr", "user.none", value, 16));
	say("listxattr", listxattr("attr", NULL, 0));
	say("removexattr", removexattr("attr", "user.a"));
	say("removexattr again", removexattr("attr", "user.a"));
	say("link's xattr", lsetxattr("link", "user.a", "b", 1, 0));
	say("name length", statfs(".", &fs) ? -1 : (long long)fs.f_namelen);
}

/* Ways to change a set-user-ID program, which for all but root is none any more then */
static const char *const changes[] = { "write", "O_TRUNC", "O_CREAT", "truncate", "ftruncate", "fallocate",
				       "copy" };

static void change(const char *how, const char *name)
{
	int flags = !strcmp(how, "O_TRUNC") ? O_TRUNC : !strcmp(how, "O_CREAT") ? O_CREAT | O_TRUNC : 0;
	int fd = open(name, flags | O_RDWR, 0600);

	if (!strcmp(how, "write"))
		say(how, write(fd, "x", 1));
	else if (!strcmp(how, "truncate"))
		say(how, truncate(name, 2));
	else if (!strcmp(how, "ftruncate"))
		say(how, ftruncate(fd, 2));
	else if (!strcmp(how, "fallocate"))
		say(how, fallocate(fd, 0, 0, 4096));
	else if (!strcmp(how, "copy"))
		say(how, copy_file_range(fd, &(loff_t){ 0 }, fd, &(loff_t){ 2 }, 2, 0));
	close(fd);
}

/* As root, or as another user */
static void set_user_id(bool root)
{
	char name[32];

	mkdir("bits", 0), chmod("bits", 0777);
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		int fd;
		pid_t pid;

		snprintf(name, sizeof(name), "bits/%s-%s", root ? "root" : "user", changes[i]);
		fd = make(name, O_RDWR, 0);
		say("fill", write(fd, "four", 4));
		fchmod(fd, 06777);
		close(fd);
		pid = fork();
		if (!pid) {
			if (!root && (setgid(2345) || setuid(1234)))
				_exit(1);
			change(changes[i], name);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		say_stat(name);
		unlink(name);
	}
}

/* As somebody else, in a folder for all and one for nobody */
static void users(void)
{
	pid_t pid;

	mkdir("open", 0), chmod("open", 01777);
	mkdir("closed", 0700);
	mkdir("group", 0), chown("group", 0, 4321), chmod("group", 02777);
	close(make("open/roots", O_RDWR, 0644));
	pid = fork();
	if (!pid) {
		if (setgid(2345) || setuid(1234))
			_exit(1);
		close(make("open/mine", O_RDWR, 0640));
		say("user mkdir", mkdir("group/mine", 0755));
		say("user closed", open("closed/x", O_CREAT | O_RDWR, 0600));
		say("user write", open("open/roots", O_WRONLY));
		say("user unlink", unlink("open/roots"));
		say("user chmod", chmod("open/roots", 0777));
		say("user own chmod", chmod("open/mine", 02750));
		say("user foreign group", chmod("group/mine", 02755));
		say("user chown", chown("open/mine", 0, (gid_t)-1));
		say("user chgrp", chown("open/mine", (uid_t)-1, 4321));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	say_stat("open/mine");
	say_stat("group/mine");
	set_user_id(false);
	set_user_id(true);
}

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){ .l_type = type, .l_start = start, .l_len = len };
}

/* FUSE tells of the last close of a file when there is time for it: nobody waits for that. */
static int flock_within(int fd, int seconds)
{
	time_t end = time(NULL) + seconds;
	int err;

	while ((err = flock(fd, LOCK_SH | LOCK_NB)) && errno == EWOULDBLOCK && time(NULL) <= end)
		usleep(10 * 1000);
	return err;
}

static void locks(void)
{
	struct flock a = range(F_WRLCK, 0, 10), b = range(F_RDLCK, 5, 1), c = range(F_UNLCK, 0, 0);
	int fd = make("locks", O_RDWR, 0600), other, unlocked, ready[2];
	char byte = 'x';
	pid_t pid;

	say("lock", fcntl(fd, F_SETLK, &a));
	if (pipe(ready))
		return;
	pid = fork();
	if (!pid) {
		other = open("locks", O_RDWR);
		say("lock of another", fcntl(other, F_SETLK, &b));
		b = range(F_WRLCK, 0, 0);
		say("GETLK", fcntl(other, F_GETLK, &b) ? -1 : b.l_type * 100 + b.l_len);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		b = range(F_WRLCK, 5, 1);
		say("waited for", fcntl(other, F_SETLKW, &b));
		_exit(0);
	}
	say("ready", read(ready[0], &byte, 1));
	usleep(200 * 1000);
	unlocked = fcntl(fd, F_SETLK, &c);
	waitpid(pid, NULL, 0); /* its line is the first */
	say("unlock", unlocked);
	say("lock again", fcntl(fd, F_SETLK, &a));
	other = open("locks", O_RDWR);
	say("flock", flock(fd, LOCK_EX | LOCK_NB)); /* 9p takes it for one of fcntl()'s, of another owner */
	say("flock of another", flock(other, LOCK_SH | LOCK_NB));
	close(fd);
	say("flock when closed", flock_within(other, 5));
}

static void *let_go(void *fd)
{
	struct flock second = range(F_UNLCK, 1, 1);

	sleep(1);
	fcntl((int)(intptr_t)fd, F_SETLK, &second);
	return NULL;
}

/* Each of two has a lock and waits for the other's. Where nobody sees that, the child lets go after a while. */
static void deadlock(void)
{
	struct flock first = range(F_WRLCK, 0, 1), second = range(F_WRLCK, 1, 1);
	int fd = open("locks", O_RDWR), ready[2], status = 0;
	bool seen;
	pthread_t thread;
	char byte = 'x';
	pid_t pid;

	if (pipe(ready) || fcntl(fd, F_SETLK, &first))
		return;
	pid = fork();
	if (!pid) {
		fcntl(fd, F_SETLK, &second);
		(void)!write(ready[1], &byte, 1);
		pthread_create(&thread, NULL, let_go, (void *)(intptr_t)fd);
		seen = fcntl(fd, F_SETLKW, &first) && errno == EDEADLK;
		pthread_join(thread, NULL);
		_exit(seen);
	}
	(void)!read(ready[0], &byte, 1);
	seen = fcntl(fd, F_SETLKW, &second) && errno == EDEADLK;
	close(fd);
	waitpid(pid, &status, 0);
	say("deadlocks seen", seen + WEXITSTATUS(status));
}

static void folders(void)
{
	char name[32];
	unsigned n = 0, rest = 0;
	long middle = 0;
	DIR *dir;

	mkdir("many", 0755);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "many/%u", i);
		close(make(name, O_WRONLY, 0600));
	}
	dir = opendir("many");
	for (; readdir(dir); n++)
		if (n == 250)
			middle = telldir(dir);
	say("entries", n);
	for (seekdir(dir, middle); readdir(dir);)
		rest++;
	say("behind the middle", rest);
	rewinddir(dir);
	for (struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(dir), e->d_name, 0);
	say("rmdir when empty", rmdir("many"));
	say("readdir when gone", readdir(dir) != NULL);
	closedir(dir);
}

/* ---- programs ---- */

/* A child that has become @path, which waits; 0: it could not */
static pid_t run(const char *path)
{
	int began[2], err = 0;
	pid_t pid;

	if (pipe2(began, O_CLOEXEC))
		return 0;
	pid = fork();
	if (!pid) {
		execl(path, path, "pause", NULL);
		err = errno;
		(void)!write(began[1], &err, sizeof(err));
		_exit(1);
	}
	close(began[1]);
	(void)!read(began[0], &err, sizeof(err)); /* nothing comes if it runs */
	close(began[0]);
	if (!err)
		return pid;
	waitpid(pid, NULL, 0);
	errno = err;
	return 0;
}

static void copy_self(const char *name)
{
	int from = open("/proc/self/exe", O_RDONLY), to = make(name, O_WRONLY, 0755);
	char buf[65536];
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		(void)!write(to, buf, (size_t)n);
	close(from);
	close(to);
}

static void programs(void)
{
	pid_t pid;
	int fd;

	copy_self("program");
	fd = open("program", O_WRONLY);
	say("run what is written", run("program") ? 1 : -1);
	close(fd);
	pid = run("program");
	say("run", pid ? 1 : -1);
	say("write what runs", open("program", O_WRONLY));
	say("remove what runs", unlink("program"));
	if (pid) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	fd = make("text", O_WRONLY, 0755);
	say("fill", write(fd, "no program", 10));
	close(fd);
	say("run text", run("text") ? 1 : -1);
	say("chmod", chmod("text", 0644));
	say("run what may not", run("text") ? 1 : -1);
	say("X_OK", access("text", X_OK));
	say("X_OK of a dir", access("dir", X_OK));
}

/* ---- what has gone ---- */

static void gone(void)
{
	char buf[PATH_MAX];
	int dir, fd;

	mkdir("gone", 0755);
	dir = open("gone", O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "file", O_CREAT | O_RDWR, 0600);
	say("unlinkat", unlinkat(dir, "file", 0));
	say("rmdir", rmdir("gone"));
	say("create in it", openat(dir, "x", O_CREAT | O_RDWR, 0600));
	say("mkdir in it", mkdirat(dir, "x", 0700));
	say("fchdir", fchdir(dir));
	say("getcwd", getcwd(buf, sizeof(buf)) ? 0 : -1);
	say("open .", open(".", O_RDONLY) >= 0);
	say("back", chdir(".."));
	say("still open", write(fd, "x", 1));
	say("fchmod", fchmod(fd, 0640));
	say("futimens", futimens(fd, NULL));
	say("fsetxattr", fsetxattr(fd, "user.x", "y", 1, 0));
	say("ftruncate", ftruncate(fd, 0));
	say("link", linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH));
	say_stat("again");
	snprintf(buf, sizeof(buf), "/proc/self/fd/%d", fd);
	say("open again", open(buf, O_RDONLY) >= 0);
	say("replace", rename("again", "text"));
	say("and open", open("text", O_RDWR) >= 0);
}

/* ---- data in other ways ---- */

static void more_data(void)
{
	struct rlimit most = { 1 << 20, RLIM_INFINITY };
	int fd = make("more", O_RDWR, 0600), direct, ends[2];
	off_t at = 0;
	void *page;

	if (posix_memalign(&page, 4096, 4096) || pipe(ends))
		return;
	memset(page, 'p', 4096);
	direct = open("more", O_RDWR | O_DIRECT);
	say("O_DIRECT", direct >= 0);
	say("write direct", pwrite(direct, page, 4096, 4096));
	say("read direct", pread(direct, page, 4096, 4096));
	say("what was written", *(char *)page);
	say("seen by others", pread(fd, page, 4096, 0));
	say("hole", *(char *)page);
	say("write odd direct", pwrite(direct, (char *)page + 1, 100, 1));
	say("pwritev2 append", pwritev2(fd, &(struct iovec){ page, 10 }, 1, 0, RWF_APPEND));
	say("pwritev2 dsync", pwritev2(fd, &(struct iovec){ page, 10 }, 1, 0, RWF_DSYNC));
	say("sendfile", sendfile(ends[1], fd, &at, 100));
	say("splice", splice(ends[0], NULL, fd, &(loff_t){ 50 }, 100, 0));
	say("fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	say("sync_file_range", sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	say("clone", ioctl(make("clone", O_RDWR, 0600), FICLONE, fd));
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &most);
	say("over the limit", pwrite(fd, "x", 1, 1 << 20));
	say("up to the limit", pwrite(fd, "xyz", 3, (1 << 20) - 2));
	say("ftruncate over it", ftruncate(fd, (1 << 20) + 1));
	most.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &most);
	say("negative", pwrite(fd, "x", 1, -1));
	say("too far", pwrite(fd, "x", 1, INT64_MAX - 1));
	say_stat("more");
	free(page);
}

/* ---- what the guest's kernel keeps, or would have to ask for ---- */

static void times_of(const char *what, const char *name)
{
	struct statx st;

	if (statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st))
		say(what, -1);
	else
		printf("%s: %s%s%s\n", what, st.stx_mask & STATX_BTIME ? "btime " : "",
		       st.stx_atime.tv_sec > 100000 ? "atime " : "", st.stx_ctime.tv_sec > 100000 ? "ctime" : "");
}

static void rest(void)
{
	struct {
		struct file_handle handle;
		char bytes[MAX_HANDLE_SZ];
	} h = { .handle.handle_bytes = MAX_HANDLE_SZ };
	struct timespec old[2] = { { 1, 0 }, { 2, 0 } };
	struct flock ofd = range(F_WRLCK, 0, 1), other = range(F_WRLCK, 0, 1);
	int fd = make("rest", O_RDWR, 0644), second = open("rest", O_RDWR), mount, flags = 0;
	/* u::rw-,u:1234:r--,g::r--,m::r--,o::---: each tag, rights, id */
	const uint32_t acl[] = { 2, 6 << 16 | 1, 0, 4 << 16 | 2, 1234, 4 << 16 | 4, 0, 4 << 16 | 16, 0, 32, 0 };
	char byte;

	times_of("times", "rest");
	say("fill", write(fd, "x", 1));
	say("old", futimens(fd, old));
	say("read", pread(fd, &byte, 1, 0));
	times_of("times when read", "rest");
	say("OFD lock", fcntl(fd, F_OFD_SETLK, &ofd));
	say("OFD lock of another", fcntl(second, F_OFD_SETLK, &other));
	other.l_pid = 0;
	say("POSIX lock beside it", fcntl(second, F_SETLK, &other));
	ofd = range(F_WRLCK, 0, 1);
	say("lock of a reader", fcntl(open("rest", O_RDONLY), F_SETLK, &ofd));
	close(second);
	say("lease", fcntl(make("lease", O_RDWR, 0600), F_SETLEASE, F_WRLCK));
	say("flags", ioctl(fd, FS_IOC_GETFLAGS, &flags));
	say("mknod", mknod("null", S_IFCHR | 0600, makedev(1, 3)));
	say("mknod block", mknod("loop0", S_IFBLK | 0600, makedev(7, 0)));
	say("whiteout", mknod("white", S_IFCHR, 0));
	say("ACL", setxattr("rest", "system.posix_acl_access", acl, sizeof(acl), 0));
	say("its length", getxattr("rest", "system.posix_acl_access", NULL, 0));
	say_stat("rest");
	if (!fork()) {
		if (!setgid(2345) && !setuid(1234))
			say("user by ACL", open("rest", O_RDONLY) >= 0);
		_exit(0);
	}
	wait(NULL);
	say("trusted", setxattr("rest", "trusted.x", "y", 1, 0));
	say("security", setxattr("rest", "security.x", "y", 1, 0));
	say("unknown", setxattr("rest", "unknown.x", "y", 1, 0));
	say("name_to_handle_at", name_to_handle_at(AT_FDCWD, "rest", &h.handle, &mount, 0));
	say("open_by_handle_at", open_by_handle_at(AT_FDCWD, &h.handle, O_RDONLY) >= 0);
	say("whiteout by rename", renameat2(AT_FDCWD, "rest", AT_FDCWD, "rest2", RENAME_WHITEOUT));
	say("syncfs", syncfs(fd));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "pause"))
		pause();
	if (argc != 2 || chdir(argv[1]))
		return 1;
	umask(022);
	names();
	data();
	copies();
	attributes();
	users();
	locks();
	deadlock();
	folders();
	programs();
	gone();
	more_data();
	rest();
	return 0;
}
