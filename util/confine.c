/* Walls around a child process; see confine.h. */
#include "lkvm/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lkvm/types.h"

/* ---- files ---- */

/* Of kernels that are newer than the headers may be; each one in a later version of the interface. */
#define FS_V1        ((1ULL << 13) - 1)
#define FS_REFER     (1ULL << 13) /* version 2 */
#define FS_TRUNCATE  (1ULL << 14) /* 3 */
#define NET_TCP      3ULL         /* 4: bind and connect */
#define FS_IOCTL_DEV (1ULL << 15) /* 5 */
#define SCOPE_ALL    3ULL         /* 6: abstract sockets, signals */

struct ruleset {
	uint64_t fs, net, scoped;
};

static size_t ruleset_for(long version, struct ruleset *ret)
{
	*ret = (struct ruleset){ .fs = FS_V1 };
	if (version >= 2)
		ret->fs |= FS_REFER;
	if (version >= 3)
		ret->fs |= FS_TRUNCATE;
	if (version >= 4)
		ret->net = NET_TCP;
	if (version >= 5)
		ret->fs |= FS_IOCTL_DEV;
	if (version >= 6)
		ret->scoped = SCOPE_ALL;
	return version >= 6 ? sizeof(*ret) : version >= 4 ? offsetof(struct ruleset, scoped) :
							    offsetof(struct ruleset, net);
}

int confine_init(struct confine *c)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset rules;
	size_t bytes;

	*c = (struct confine){ .ruleset_fd = -1 };
	if (version < 1)
		return version < 0 ? -errno : -ENOSYS;
	bytes = ruleset_for(version, &rules);
	c->ruleset_fd = (int)syscall(SYS_landlock_create_ruleset, &rules, bytes, 0);
	c->handled = rules.fs;
	return c->ruleset_fd < 0 ? -errno : 0;
}

void confine_fini(struct confine *c)
{
	if (c->ruleset_fd >= 0)
		close(c->ruleset_fd);
	c->ruleset_fd = -1;
}

static uint64_t rights(unsigned access, bool folder)
{
	uint64_t fs = 0;

	if (access & (CONFINE_READ | CONFINE_EXEC))
		fs |= LANDLOCK_ACCESS_FS_READ_FILE | (folder ? LANDLOCK_ACCESS_FS_READ_DIR : 0);
	if (access & CONFINE_EXEC)
		fs |= LANDLOCK_ACCESS_FS_EXECUTE;
	if (access & CONFINE_WRITE)
		fs |= LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
	if (access & (CONFINE_READ | CONFINE_WRITE))
		fs |= FS_IOCTL_DEV; /* the size of a block device */
	return fs;
}

int confine_allow(struct confine *c, const char *path, unsigned access)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = open(path, O_PATH | O_CLOEXEC) };
	struct stat st;
	int err = 0;

	if (rule.parent_fd < 0)
		return -errno;
	if (c->ruleset_fd >= 0 && !fstat(rule.parent_fd, &st)) {
		rule.allowed_access = rights(access, S_ISDIR(st.st_mode)) & c->handled;
		if (syscall(SYS_landlock_add_rule, c->ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
			err = -errno;
	}
	close(rule.parent_fd);
	return err;
}

/* ---- system calls ---- */

/*
 * What Landlock, of whatever version, leaves open: sockets of all families, other processes, the
 * attributes of files, memory that is shared by its number, and ways around the filter itself.
 */
static const uint16_t forbidden[] = {
	SYS_socket, SYS_connect, SYS_bind,
	SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_open, SYS_pidfd_getfd,
	SYS_pidfd_send_signal, SYS_kill, SYS_tkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo,
	SYS_creat, SYS_truncate, SYS_chmod, SYS_fchmod, SYS_fchmodat, SYS_chown, SYS_fchown, SYS_lchown,
	SYS_fchownat, SYS_utime, SYS_utimes, SYS_futimesat, SYS_utimensat, SYS_setxattr, SYS_lsetxattr,
	SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
	SYS_shmget, SYS_shmat, SYS_msgget, SYS_semget, SYS_mq_open, SYS_mq_unlink,
	SYS_add_key, SYS_request_key, SYS_keyctl,
	SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, /* opens files, by itself */
	SYS_openat2, SYS_open_by_handle_at, SYS_name_to_handle_at,
	SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_setns, SYS_unshare, SYS_mount_setattr,
	SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_open_tree,
	SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_init_module, SYS_finit_module,
	SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot, SYS_iopl, SYS_ioperm,
	SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl, SYS_settimeofday, SYS_clock_settime,
	SYS_adjtimex, SYS_clock_adjtime, SYS_sethostname, SYS_setdomainname, SYS_syslog,
};

#define X32_BIT 0x40000000
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define DENY (SECCOMP_RET_ERRNO | EPERM)

/* The next instruction is @yes or @no further on than the one behind. */
#define IF(test, value, yes, no) BPF_JUMP(BPF_JMP | BPF_##test | BPF_K, value, yes, no)

static const struct sock_filter first[] = {
	LOAD(arch),
	IF(JEQ, AUDIT_ARCH_X86_64, 1, 0),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	LOAD(nr),
	IF(JGE, X32_BIT, 0, 1),
	RETURN(DENY),
};

/* Before version 3 of Landlock, whatever may be read may be emptied while it is opened. */
static const struct sock_filter last[] = {
	IF(JEQ, SYS_open, 0, 2),
	LOAD(args[1]),
	BPF_STMT(BPF_JMP | BPF_JA, 2),
	IF(JEQ, SYS_openat, 0, 2),
	LOAD(args[2]),
	IF(JSET, O_TRUNC, 1, 0),
	RETURN(SECCOMP_RET_ALLOW),
	RETURN(DENY),
};

static int filter_calls(void)
{
	struct sock_filter code[ARRAY_SIZE(first) + 2 * ARRAY_SIZE(forbidden) + ARRAY_SIZE(last)];
	struct sock_fprog prog = { .filter = code };

	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		code[prog.len++] = first[i];
	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
		code[prog.len++] = (struct sock_filter)IF(JEQ, forbidden[i], 0, 1);
		code[prog.len++] = (struct sock_filter)RETURN(DENY);
	}
	for (size_t i = 0; i < ARRAY_SIZE(last); i++)
		code[prog.len++] = last[i];
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) ? -errno : 0;
}

int confine_enter(const struct confine *c)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	if (c->ruleset_fd >= 0 && syscall(SYS_landlock_restrict_self, c->ruleset_fd, 0))
		return -errno;
	return filter_calls();
}
