/* The Linux in a guest's RAM, looked for when somebody asks; see control.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/kvm.h"
#include "lkvm/linux/early.h"
#include "lkvm/linux/symbols.h"
#include "lkvm/vm/control.h"

struct control_linux {
	struct linux_scan scan, early; /* how far they have come */
	bool is_early;                 /* the first one has found nothing */
	struct linux_guest guest;
	bool found;
	uint64_t found_ns;
	bool asked_for_symbols;
	struct linux_symbols *symbols; /* NULL: there are none, or nobody has asked */
};

static void forget(struct control_linux *seen)
{
	linux_symbols_free(seen->symbols);
	*seen = (struct control_linux){ 0 };
}

/* First by what it tells, then by what it looks like. Who has found nothing begins anew the next time. */
static int look_for(struct control_linux *seen, const struct ram *ram)
{
	int err = seen->is_early ? -ENOENT : linux_find(&seen->scan, ram, &seen->guest);

	if (err == -ENOENT) {
		seen->is_early = true;
		err = linux_find_early(&seen->early, ram, &seen->guest);
	}
	if (err != -EAGAIN)
		*seen = (struct control_linux){ .guest = seen->guest };
	return err;
}

/* By now it may tell more of itself. */
static bool is_old(const struct control_linux *seen)
{
	return seen->guest.is_early && now_ns() - seen->found_ns > NS_PER_S;
}

/* What is known by now; NULL: no memory */
static struct control_linux *known(struct control *ctl)
{
	struct control_linux *seen = ctl->linux_seen;

	if (!seen)
		seen = ctl->linux_seen = calloc(1, sizeof(*seen));
	if (seen && seen->found && (is_old(seen) || !linux_is_there(&seen->guest)))
		forget(seen);
	return seen;
}

static int found(struct control_linux *seen, const struct linux_guest **ret)
{
	if (!seen->found)
		seen->found_ns = now_ns();
	seen->found = true;
	*ret = &seen->guest;
	return 0;
}

int control_linux(struct control *ctl, const struct linux_guest **ret)
{
	struct control_linux *seen = known(ctl);
	int err = !seen ? -ENOMEM : seen->found ? 0 : look_for(seen, ctl->kvm->ram);

	return err ? err : found(seen, ret);
}

int control_linux_told(struct control *ctl, const struct linux_guest **ret)
{
	struct control_linux *seen = known(ctl);
	int err;

	if (!seen)
		return -ENOMEM;
	if (seen->found)
		return seen->guest.is_early ? -ENOENT : found(seen, ret);
	if (seen->is_early)
		forget(seen); /* since that began it may have come so far */
	err = linux_find(&seen->scan, ctl->kvm->ram, &seen->guest);
	if (err == -EAGAIN)
		return err;
	*seen = (struct control_linux){ .guest = seen->guest };
	return err ? err : found(seen, ret);
}

const struct linux_guest *control_linux_seen(const struct control *ctl)
{
	return ctl->linux_seen && ctl->linux_seen->found ? &ctl->linux_seen->guest : NULL;
}

int control_symbols(struct control *ctl, const struct linux_symbols **ret)
{
	const struct linux_guest *guest;
	struct control_linux *seen;
	int err = control_linux(ctl, &guest);

	if (err)
		return err;
	seen = ctl->linux_seen;
	if (!seen->asked_for_symbols)
		linux_symbols_new(guest, &seen->symbols);
	seen->asked_for_symbols = true;
	*ret = seen->symbols;
	return 0;
}

static int read_symbols(const struct linux_guest *guest, int fd, struct linux_symbols **ret)
{
	struct stat st;
	int err;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) /* others may have us wait */
		return -EBADMSG;
	err = linux_symbols_read(guest, fd, ret);
	return err == -ENOENT ? -ENODATA : err;
}

int control_set_symbols(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	const int fd = ipc_take_fd(reply->to, 0);
	struct linux_symbols *symbols = NULL;
	const struct linux_guest *guest;
	int err = fd < 0 ? -EPROTO : control_linux(ctl, &guest);

	(void)body;
	if (!err)
		err = read_symbols(guest, fd, &symbols);
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	linux_symbols_free(ctl->linux_seen->symbols);
	ctl->linux_seen->symbols = symbols;
	ctl->linux_seen->asked_for_symbols = true;
	return 0;
}

void control_end_linux(struct control *ctl)
{
	if (ctl->linux_seen)
		forget(ctl->linux_seen);
	free(ctl->linux_seen);
	ctl->linux_seen = NULL;
}
