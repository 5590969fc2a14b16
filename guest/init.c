/*
 * lkvm's init: process 1 of a guest that runs commands, in an initramfs that lkvm makes. No C library, so
 * that it builds wherever lkvm does and starts in no time. What it is to do stands in
 *
 *	/lkvm/modules   files of modules, a line each, in the order in which they are loaded
 *	/lkvm/session   records KEY=VALUE, a NUL behind each (any bytes may stand in an argument):
 *	                root-type= root-source= root-options=   what is mounted read-only as the root;
 *	                                                        none: the initramfs stays the root
 *	                root-disk=SERIAL root-writable=         instead: a disk, and its file system is found out
 *	                overlay=SIZE    of memory over it, so that it can be written ("size=" of tmpfs)
 *	                tmpfs= bind= link= share= hide=    mount.h; in their order
 *	                net= resolv=    network.h
 *	                hostname=
 *	                channel-fd=N    the channel is an inherited descriptor, for tests
 *	                plan=channel    all else of this list comes in a plan for which lkvm is asked: then
 *	                                nothing in the guest is of this session yet, and it can be saved
 *	                cwd=  user=  env=NAME=VALUE  arg=WORD        a command; env and arg may come often
 *
 * With arg= that command runs on the console, how it ended is told in one line there, and the machine is
 * switched off. Without, commands come over the channel (lkvm/session.h, session.c). What goes wrong
 * before that is told on the console.
 *
 * The other files: module.c modules, disk.c a root on a disk, mount.c the file systems, network.c networks, port.c
 * finds the channel, channel.c its frames, ask.c the plan, session.c the loop, command.c stream.c spawn.c commands,
 * words.c user.c what they are made of, lib.c everything else.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ask.h"
#include "disk.h"
#include "module.h"
#include "mount.h"
#include "network.h"
#include "port.h"
#include "session.h"
#include "sys.h"
#include "words.h"

struct plan {
	char *text;
	size_t len;
	const char *root_type, *root_source, *root_options, *root_disk, *root_writable, *overlay, *hostname, *channel_fd, *plan;
	struct words words;
};

/* The kernel has opened it for us, unless its driver is among the modules. 0, 1, 2 are taken in any case. */
static void open_console(void)
{
	long fd = SYS(fcntl, 2, F_GETFD);

	if (fd >= 0)
		return;
	fd = SYS(open, "/dev/console", O_RDWR);
	for (long i = 0; fd >= 0 && i < 3; i++)
		if (fd != i)
			SYS(dup2, fd, i);
	if (fd > 2)
		SYS(close, fd);
}

/* What who started us ignores is not to be ignored by commands. */
static void reset_signals(void)
{
	const uint64_t fresh[4] = { 0 }; /* a struct sigaction, as the kernel has it */

	for (long i = 1; i <= 64; i++)
		SYS(rt_sigaction, i, fresh, NULL, sizeof(uint64_t));
}

static void loopback_up(void)
{
	struct ifreq lo = { .ifr_name = "lo" };
	long fd = SYS(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (!SYS(ioctl, fd, SIOCGIFFLAGS, &lo)) {
		lo.ifr_flags |= IFF_UP;
		SYS(ioctl, fd, SIOCSIFFLAGS, &lo);
	}
	SYS(close, fd);
}

/* ---- the plan ---- */

static void take_record(struct plan *p, const char *record)
{
	const struct {
		const char *key;
		const char **value;
	} word[] = {
		{ "root-type=", &p->root_type },       { "root-source=", &p->root_source },
		{ "root-options=", &p->root_options }, { "overlay=", &p->overlay },
		{ "root-disk=", &p->root_disk },       { "root-writable=", &p->root_writable },
		{ "hostname=", &p->hostname },         { "channel-fd=", &p->channel_fd },
		{ "plan=", &p->plan },
	};
	const char *value;

	for (size_t i = 0; i < COUNT(word); i++)
		if ((value = text_behind(record, word[i].key)))
			*word[i].value = value;
}

/* Of p->text. False: there is no memory */
static bool parse_plan(struct plan *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->len; i++)
		n += !p->text[i];
	if (!words_init(&p->words, n + 1))
		return false;
	for (size_t i = 0; i < p->len; i += text_len(p->text + i) + 1)
		if (!words_take(&p->words, p->text + i))
			take_record(p, p->text + i);
	return true;
}

/* ---- a command on the console ---- */

static _Noreturn void become(const struct plan *p)
{
	struct failure failure;

	SYS(setsid);
	SYS(ioctl, 0, TIOCSCTTY, 0);
	words_exec(&p->words, &failure);
	complain(failure.err, failure.what, failure.name);
	SYS(exit_group, failure.status);
	__builtin_unreachable();
}

/* The orphans of a command are ours too. Return: the status of @pid, as wait(2) has it */
static int wait_for(long pid)
{
	int status = 0;
	long got;

	do {
		got = SYS(wait4, -1, &status, 0, NULL);
	} while (got != pid && (got > 0 || got == -EINTR));
	return status;
}

static void run_on_console(const struct plan *p)
{
	long pid = SYS(fork);
	int status, signal;

	if (!pid)
		become(p);
	if (pid < 0) {
		complain(pid, "fork", p->words.argv[0]);
		return;
	}
	status = wait_for(pid);
	signal = status & 0x7f;
	say(signal ? "lkvm init: killed by signal " : "lkvm init: exit status ");
	say_number((uint64_t)(signal ? signal : status >> 8 & 0xff));
	say("\n");
}

/* ---- all of it ---- */

static int find_channel(const struct plan *p, int events)
{
	const char *digits = p->channel_fd;
	uint32_t fd;

	if (!digits)
		return port_open(events);
	if (!text_number(&digits, &fd) || *digits)
		return (int)complain(-EINVAL, "channel", p->channel_fd);
	SYS(fcntl, fd, F_SETFD, FD_CLOEXEC);
	set_nonblocking((int)fd);
	return (int)fd;
}

static bool has_root(const struct plan *p)
{
	return p->root_type || p->root_disk;
}

static long find_root(const struct plan *p)
{
	struct disk_root disk;
	long err;

	if (!p->root_disk)
		return p->root_type ? mount_root(p->root_type, p->root_source, p->root_options, false, p->overlay) : 0;
	err = disk_find_root(p->root_disk, !p->root_writable, &disk);
	return err ? err : mount_root(disk.type, disk.device, disk.options, p->root_writable, p->overlay);
}

/* Return: 0, or what has failed was told */
static long mount_all(const struct plan *p)
{
	long err;

	if (p->hostname)
		SYS(sethostname, p->hostname, text_len(p->hostname));
	err = find_root(p);
	if (!err && has_root(p)) {
		err = enter_root(p->overlay);
		if (!err)
			mount_base();
	}
	if (err)
		return err;
	mount_rest();
	err = mount_records(p->text, p->len);
	if (!err)
		network_records(p->text, p->len, p->overlay);
	return err;
}

static void run_session(const struct plan *first, int events)
{
	struct plan asked = { 0 };
	const struct plan *p = first;
	struct channel ch;
	const int fd = find_channel(first, events);
	long kmsg;

	if (fd < 0)
		return;
	channel_init(&ch, fd);
	if (first->plan) {
		mount_rest(); /* what is made at the first mount is there then, also for who goes on from here */
		asked.text = ask_plan(&ch, &asked.len);
		p = &asked;
		if (!parse_plan(&asked))
			return;
	}
	kmsg = SYS(open, "/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (!mount_all(p))
		session_run(&ch, kmsg < 0 ? -1 : (int)kmsg);
}

_Noreturn void init_main(void);

/* On process 1's first stack */
_Noreturn void init_main(void)
{
	struct plan plan = { 0 };
	int events;

	reset_signals();
	mount_base();
	open_console();
	events = port_listen();
	load_modules("/lkvm/modules");
	open_console();
	loopback_up();
	plan.text = read_all("/lkvm/session", &plan.len);
	if (!plan.text || !parse_plan(&plan))
		say("lkvm init: /lkvm/session: there is none\n");
	else if (!plan.words.argc)
		run_session(&plan, events);
	else if (!mount_all(&plan))
		run_on_console(&plan);
	power_off();
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xor	%ebp, %ebp\n"
	"	and	$-16, %rsp\n"
	"	call	init_main\n");
