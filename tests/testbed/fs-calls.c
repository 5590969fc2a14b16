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
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
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

/* As somebody else, in a folder for all and one for nobody */
static void users(void)
{
	pid_t pid;
	int fd;

	mkdir("open", 0), chmod("open", 01777);
	mkdir("closed", 0700);
	mkdir("group", 0), chown("group", 0, 4321), chmod("group", 02777);
	close(make("open/roots", O_RDWR, 0644));
	fd = make("open/setuid", O_RDWR, 0);
	fchmod(fd, 06777);
	close(fd);
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
		fd = open("open/setuid", O_WRONLY);
		say("user writes setuid", write(fd, "x", 1));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	say_stat("open/mine");
	say_stat("group/mine");
	say_stat("open/setuid");
}

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){ .l_type = type, .l_start = start, .l_len = len };
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
	say("flock when closed", flock(other, LOCK_SH | LOCK_NB));
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

int main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1]))
		return 1;
	umask(022);
	names();
	data();
	copies();
	attributes();
	users();
	locks();
	folders();
	return 0;
}
