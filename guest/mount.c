/* See mount.h. In namespaces of a host, as its test runs it, some mounts are refused. */
#include "mount.h"

#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mount.h>

#define PATH_MOST 4096
#define TAG_BYTES 64
#define QUIET     (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static long mount_at(const char *source, const char *at, const char *type, unsigned long flags,
		     const char *options)
{
	SYS(mkdir, at, 0755);
	return SYS(mount, source, at, type, flags, options);
}

void mount_base(void)
{
	mount_at("proc", "/proc", "proc", QUIET, NULL);
	mount_at("sysfs", "/sys", "sysfs", QUIET, NULL);
	mount_at("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
}

void mount_rest(void)
{
	static const struct {
		const char *type, *at, *options;
		unsigned long flags;
	} rest[] = {
		{ "devpts", "/dev/pts", "mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC },
		{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
		{ "mqueue", "/dev/mqueue", NULL, QUIET },
		{ "cgroup2", "/sys/fs/cgroup", NULL, QUIET },
		{ "bpf", "/sys/fs/bpf", "mode=700", QUIET },
		{ "debugfs", "/sys/kernel/debug", NULL, QUIET },
		{ "tracefs", "/sys/kernel/tracing", NULL, QUIET },
		{ "securityfs", "/sys/kernel/security", NULL, QUIET },
	};

	for (size_t i = 0; i < COUNT(rest); i++)
		mount_at(rest[i].type, rest[i].at, rest[i].type, rest[i].flags, rest[i].options);
	SYS(symlink, "/proc/self/fd", "/dev/fd");
	SYS(symlink, "/proc/self/fd/0", "/dev/stdin");
	SYS(symlink, "/proc/self/fd/1", "/dev/stdout");
	SYS(symlink, "/proc/self/fd/2", "/dev/stderr");
}

/* ---- the root ---- */

static long mount_overlay(const char *size)
{
	char options[64] = "mode=755,size=";
	size_t have = text_len(options), len = text_len(size);
	long err;

	if (len >= sizeof(options) - have)
		return -EINVAL;
	memcpy(options + have, size, len + 1);
	err = mount_at("overlay", "/memory", "tmpfs", 0, options);
	if (err)
		return err;
	SYS(mkdir, "/memory/upper", 0755);
	SYS(mkdir, "/memory/work", 0755);
	return mount_at("overlay", "/new", "overlay", 0,
			"lowerdir=/root,upperdir=/memory/upper,workdir=/memory/work");
}

long mount_root(const char *type, const char *source, const char *options, bool writable, const char *overlay)
{
	long err = mount_at(source, "/root", type, writable ? 0 : MS_RDONLY, options);

	if (err)
		return complain(err, "mount", source ? source : type);
	err = overlay ? mount_overlay(overlay) : 0;
	return err ? complain(err, "mount", "overlay") : 0;
}

long enter_root(const char *overlay)
{
	long err = SYS(chdir, overlay ? "/new" : "/root");

	if (!err)
		err = SYS(mount, ".", "/", NULL, MS_MOVE, NULL);
	if (!err)
		err = SYS(chroot, ".");
	if (!err)
		err = SYS(chdir, "/");
	return err ? complain(err, "enter", "root") : 0;
}

/* ---- what the plan adds ---- */

void make_folder(const char *path)
{
	size_t len = text_len(path);
	char part[PATH_MOST];

	if (len >= sizeof(part))
		return;
	memcpy(part, path, len + 1);
	for (size_t i = 1; i < len; i++) {
		if (part[i] != '/')
			continue;
		part[i] = '\0';
		SYS(mkdir, part, 0755);
		part[i] = '/';
	}
	SYS(mkdir, part, 0755);
}

/* Splits "WORD:REST". Return: REST; NULL: there is no colon, or the word is too long */
static const char *split(const char *text, char *word, size_t bytes)
{
	size_t len = 0;

	while (text[len] && text[len] != ':')
		len++;
	if (!text[len] || len >= bytes)
		return NULL;
	memcpy(word, text, len);
	word[len] = '\0';
	return text + len + 1;
}

/* Splits "ro:TAG:AT". Return: AT; NULL: it is none */
static const char *parse_share(const char *share, char tag[static TAG_BYTES], unsigned long *ret_flags)
{
	const char *at = text_behind(share, "ro:");

	*ret_flags = at ? MS_RDONLY : 0;
	if (!at)
		at = text_behind(share, "rw:");
	return at ? split(at, tag, TAG_BYTES) : NULL;
}

/* The last one of this key, or NULL */
static const char *record(const char *records, size_t len, const char *key)
{
	const char *found = NULL, *value;

	for (size_t i = 0; i < len; i += text_len(records + i) + 1)
		if ((value = text_behind(records + i, key)))
			found = value;
	return found;
}

static long mount_share(const char *share, const char *records, size_t all)
{
	const char *type = record(records, all, "share-type=");
	unsigned long flags;
	char tag[TAG_BYTES];
	const char *at = parse_share(share, tag, &flags);
	long err;

	if (!at)
		return complain(-EINVAL, "share", share);
	make_folder(at);
	err = SYS(mount, tag, at, type ? type : "virtiofs", flags, record(records, all, "share-options="));
	return err ? complain(err, "mount", at) : 0;
}

/* Its mount points are made while that is possible. */
static long hide_folder(const char *path, const char *records, size_t len)
{
	long err = SYS(mount, "hidden", path, "tmpfs", QUIET, "mode=755,size=1m");
	const char *share, *at, *inside;
	unsigned long flags;
	char tag[TAG_BYTES];

	for (size_t i = 0; !err && i < len; i += text_len(records + i) + 1) {
		share = text_behind(records + i, "share=");
		at = share ? parse_share(share, tag, &flags) : NULL;
		inside = at ? text_behind(at, path) : NULL;
		if (inside && (*inside == '/' || inside[-1] == '/'))
			make_folder(at);
	}
	return err ? err : SYS(mount, NULL, path, NULL, MS_REMOUNT | MS_RDONLY | QUIET, NULL);
}

static long hide(const char *path, const char *records, size_t len)
{
	struct statx st;
	long err = SYS(statx, AT_FDCWD, path, 0, STATX_TYPE, &st);

	if (err == -ENOENT || err == -ENOTDIR)
		return 0;
	if (!err && (st.stx_mode & 0170000) == 0040000)
		err = hide_folder(path, records, len);
	else if (!err)
		err = SYS(mount, "/dev/null", path, NULL, MS_BIND, NULL);
	return err ? complain(err, "hide", path) : 0;
}

static long mount_tmpfs(const char *at)
{
	long err;

	make_folder(at);
	err = SYS(mount, "tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");

	return err ? complain(err, "mount", at) : 0;
}

static long make_link(const char *link)
{
	char at[PATH_MOST];
	const char *target = split(link, at, sizeof(at));
	long err = target ? SYS(symlink, target, at) : -EINVAL;

	return err ? complain(err, "link", link) : 0;
}

static long bind(const char *what)
{
	char at[PATH_MOST];
	const char *from = split(what, at, sizeof(at));
	long err = -EINVAL;

	if (from) {
		make_folder(at);
		err = SYS(mount, from, at, NULL, MS_BIND, NULL);
	}
	return err ? complain(err, "bind", what) : 0;
}

long mount_records(const char *records, size_t len)
{
	const char *value;
	long err = 0;

	for (size_t i = 0; !err && i < len; i += text_len(records + i) + 1) {
		if ((value = text_behind(records + i, "share=")))
			err = mount_share(value, records, len);
		else if ((value = text_behind(records + i, "hide=")))
			err = hide(value, records, len);
		else if ((value = text_behind(records + i, "tmpfs=")))
			err = mount_tmpfs(value);
		else if ((value = text_behind(records + i, "link=")))
			err = make_link(value);
		else if ((value = text_behind(records + i, "bind=")))
			err = bind(value);
	}
	return err;
}
