/*
 * Rights of a thread while it acts for a guest's user. Linux has them per thread; the C library's
 * own functions would change those of the whole process.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tree.h"

struct caps {
	struct __user_cap_data_struct data[2];
};

static bool caps_get(struct caps *ret)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return !syscall(SYS_capget, &header, ret->data);
}

static void caps_set(const struct caps *caps)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	(void)syscall(SYS_capset, &header, caps->data);
}

bool ids_may_change(void)
{
	const uint32_t need = 1U << CAP_SETUID | 1U << CAP_SETGID | 1U << CAP_CHOWN;
	struct caps caps;

	return !geteuid() && caps_get(&caps) && (caps.data[0].effective & need) == need;
}

int tree_thread_begin(void)
{
	if (unshare(CLONE_FS) < 0)
		return -errno;
	umask(0);
	if (ids_may_change())
		(void)syscall(SYS_setgroups, 0, NULL);
	return 0;
}

/*
 * With another user's id the rights that stand for root's are gone. The guest's kernel has judged
 * already, by groups, too, that are not known here: so this user may pass. What the new file loses
 * or inherits is judged by the host as for him.
 */
static void let_pass(void)
{
	struct caps caps;

	if (!caps_get(&caps) || !(caps.data[0].permitted & 1U << CAP_DAC_OVERRIDE))
		return;
	caps.data[0].effective |= 1U << CAP_DAC_OVERRIDE;
	caps_set(&caps);
}

int ids_begin(const struct tree_ids *ids, bool change)
{
	umask(ids->umask & 0777);
	if (!change || (!ids->uid && !ids->gid))
		return 0;
	setfsgid(ids->gid);
	setfsuid(ids->uid);
	/* They have no other way to tell. */
	if ((uint32_t)setfsuid((uid_t)-1) != ids->uid || (uint32_t)setfsgid((gid_t)-1) != ids->gid) {
		ids_end(ids, change);
		return -EINVAL;
	}
	let_pass();
	return 0;
}

void ids_end(const struct tree_ids *ids, bool change)
{
	umask(0);
	if (!change || (!ids->uid && !ids->gid))
		return;
	setfsuid(0); /* with it all rights are back */
	setfsgid(0);
}

bool ids_plain_begin(void)
{
	struct caps caps;

	if (!caps_get(&caps) || !(caps.data[0].effective & 1U << CAP_FSETID))
		return false;
	caps.data[0].effective &= ~(1U << CAP_FSETID);
	caps_set(&caps);
	return true;
}

void ids_plain_end(bool was)
{
	struct caps caps;

	if (!was || !caps_get(&caps))
		return;
	caps.data[0].effective |= 1U << CAP_FSETID;
	caps_set(&caps);
}
