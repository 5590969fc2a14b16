/*
 * Both ends of the per-guest control socket.
 *
 * Folder: $LKVM_DIR, else $XDG_RUNTIME_DIR/lkvm, else /tmp/lkvm-UID; mode 0700, owner checked; one
 * NAME.sock a guest. Only sockets are connected to, by what the name stands for and not by the name,
 * and only if the folder's owner listens there. SOCK_SEQPACKET: one request is one packet (struct ipc_request, then at most
 * IPC_MAX_BODY bytes), and every request has one answer (struct ipc_answer, then a body). The peer
 * must be the owner or root (SO_PEERCRED). The server lives in the main thread's loop and never
 * blocks on a client.
 *
 * Claiming a name and removing a dead socket are done under flock() on the folder, so what was
 * found dead cannot come to life before it is removed. A guest that ends needs no lock: it unlinks
 * its socket while the socket still listens, so a socket that refuses has lost its process.
 */
#ifndef LKVM_IPC_H
#define LKVM_IPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lkvm/loop.h"

#define IPC_MAGIC    0x4d564b4c /* "LKVM" */
#define IPC_VERSION  3 /* of all that goes over the socket, what requests and answers carry included */
#define IPC_MAX_BODY 65536
#define IPC_NAME_MAX 64
#define IPC_MAX_CLIENTS 96
#define IPC_MAX_LATE 64 /* clients that wait for a late answer; the others are always served */
#define IPC_MAX_FDS  4  /* descriptors that come with a request */

/* What a guest is doing; enum kvm_state as it goes over the socket. */
enum ipc_state { IPC_CREATED, IPC_RUNNING, IPC_PAUSED, IPC_STOPPING };

enum ipc_op {
	IPC_INFO = 1,  /* answer: struct ipc_info, its struct ipc_forward, then the words of the session's command, a NUL behind each */
	IPC_STOP,      /* answer: none; then the connection closes when the guest is gone */
	IPC_POWER_BUTTON, /* -EAGAIN: the guest does not listen to it (yet) */
	IPC_PAUSE,
	IPC_RESUME,
	IPC_STAT,      /* body: uint32_t 1 for JSON; answer: text or JSON */
	IPC_REGS,      /* body: uint32_t vCPU; answer: text */
	IPC_NMI,       /* body: uint32_t vCPU */
	IPC_SYSRQ,     /* body: one character */
	IPC_MEMMAP,    /* body: uint32_t 1 for JSON; answer: text or JSON */
	IPC_TRANSLATE, /* body: struct ipc_translate; answer: text */
	IPC_REGS_JSON, /* body: uint32_t vCPU; answer: a JSON object */
	/* body: struct ipc_exec, with its descriptors; answer: struct session_end, when the command has
	 * ended. -EOPNOTSUPP: the guest takes no commands; -ENOTCONN: its init is not up yet; -EAGAIN; -EBUSY;
	 * -EPIPE: nobody knows any more how it ends, the body says in words why */
	IPC_EXEC,
	/* While IPC_EXEC, or IPC_CONSOLE, has no answer, and without one themselves: */
	IPC_EXEC_SIGNAL, /* body: uint32_t */
	IPC_WINSIZE,     /* body: struct session_winsize */
	/* body: struct ipc_console, with its descriptors; answer: struct ipc_console_end, when the guest has
	 * ended, or with the -errno of its output, -EPIPE if the reader of that has left. Until then IPC_STOP
	 * has no answer either. -EAGAIN: too many clients; -EINVAL: a descriptor that is no stream */
	IPC_CONSOLE,
	IPC_BREAK, /* while IPC_CONSOLE has no answer, and without one itself */
	/* body: struct ipc_snapshot, with the folder that the snapshot's is to be in as a descriptor; answer:
	 * struct ipc_snapshot_end when it is there, or the body says in words why not */
	IPC_SNAPSHOT,
	IPC_CLOCK, /* body: uint32_t 1 for JSON; answer: text or JSON */
	/* body: struct ipc_dmesg; answer: struct ipc_dmesg_head, then records, each a struct ipc_record and its text.
	 * -EAGAIN: RAM is being looked through for Linux, ask again; -ENOENT: there is none, or none yet; -ENODATA:
	 * it does not tell where its log is; -EBADMSG: what is there can be none */
	IPC_DMESG,
	IPC_BACKTRACE, /* body: struct ipc_backtrace; answer: text or JSON; -EAGAIN: as of IPC_DMESG */
	IPC_SAMPLE, /* answer: a line a vCPU: "vcpuN;OUTERMOST;...;INNERMOST"; -EAGAIN, -ENOENT, -ENODATA: as of IPC_DMESG */
	IPC_EXITS,      /* body: uint32_t 1 for JSON; answer: KVM's counters, text or JSON */
	IPC_LAST_EXITS, /* answer: a struct ipc_last_exit a vCPU, as many as there is room for */
	/* With two descriptors: gdb's remote protocol comes by the first one and goes out by the second, which are
	 * pipes or sockets; answer: when the debugger has left, or the guest. -EBUSY: another one is there */
	IPC_GDB,
	/* with a file's descriptor: the symbols of the guest's kernel, in place of its own from now on. Answer: none;
	 * -EAGAIN, -ENOENT: as of IPC_DMESG; -EBADMSG, -ENODATA: there are none in the file */
	IPC_SYMBOLS,
	IPC_KERNEL, /* answer: struct ipc_kernel, then the path of the kernel's file if one is known; -EAGAIN: as of IPC_DMESG */
	/* body: struct ipc_dump, with the folder that the file is to be in as a descriptor; answer: struct ipc_dump_end
	 * when it is there, or the body says in words why not. -EAGAIN: as of IPC_DMESG */
	IPC_DUMP,
	IPC_LINK, /* body: struct ipc_link; -ENODEV: there is no such network device */
	/* body: struct ipc_size; answer: struct ipc_balloon_end, also with -ERANGE: the guest's RAM is not so large,
	 * or nothing would be left. -ENODEV: it has no balloon */
	IPC_BALLOON,
	/* body: struct ipc_size; answer: struct ipc_mem_end, also with -ERANGE: it began with more, or can have less.
	 * -ENODEV: no memory can be plugged */
	IPC_MEM,
	/* body: struct ipc_screen, with a memfd as a descriptor, which gets the pixels as those of lkvm/display.h, without gaps;
	 * answer: struct ipc_screen_end. -ENODEV: it has no screen; -ENXIO: no such output; -ENODATA: it is off */
	IPC_SCREEN,
	/* body: struct ipc_input; all of it is done, or nothing. -ENODEV: it has no keyboard and no pointer; -EINVAL: there is
	 * no such key or place; -ENXIO: no such output; -ENODATA: that is off; -ENOTCONN: the guest has no driver; -EAGAIN: it
	 * has no room for them now */
	IPC_INPUT,
	IPC_N_OPS,
};

struct ipc_request {
	uint32_t magic;
	uint16_t version;
	uint16_t op;
	uint32_t body_bytes;
};

struct ipc_answer {
	uint32_t magic;
	int32_t status; /* 0 or -errno */
	uint32_t body_bytes;
};

struct ipc_info {
	char name[IPC_NAME_MAX + 1];
	int32_t pid;
	uint32_t state; /* enum ipc_state */
	uint32_t cpus;
	uint64_t ram_bytes;
	uint64_t uptime_ns;
	uint32_t n_forwards; /* struct ipc_forward, behind this */
	uint32_t vsock_cid;  /* 0: it has none, else: */
	char vsock_path[108]; /* where the host connects to it (lkvm/vsock.h), with a NUL */
	char vnc[128];        /* where viewers connect to its screen; likewise; "": nowhere */
	uint32_t reserved;
};

/* A port of the host's that leads to the guest. Addresses as the network has them */
struct ipc_forward {
	uint32_t udp, host, guest;
	uint16_t host_port, guest_port;
};

struct ipc_kernel {
	char release[72];  /* "": not known, */
	char build_id[64]; /* hexadecimal; likewise */
	uint64_t kaslr_offset;
	uint32_t found; /* is there a Linux in RAM that tells of itself? */
	uint32_t reserved;
};

/* IPC_LINK: the plug of a network device, out or in */
struct ipc_link {
	uint32_t device; /* the 3 of net3 */
	uint32_t up;
};

struct ipc_translate {
	uint64_t virt; /* guest virtual address */
	uint32_t cpu;
	uint32_t reserved;
};

enum { IPC_EXEC_TTY = 1 };

/*
 * A command. Its first descriptor is a memfd, sealed against any change, with records as those of
 * vm/session-words.h; then those of its descriptors 0, 1, 2 whose bits are set in @fds. No terminal
 * that lkvm of the guest may be a background job of should be among them: to read it would stop it.
 */
struct ipc_exec {
	uint32_t flags; /* IPC_EXEC_TTY: a terminal in the guest, whose bytes are those of 0 and 1 */
	uint16_t rows, columns; /* of that */
	uint32_t fds;
};

enum { IPC_CONSOLE_TEXT = 1 };

/*
 * A look at the console. Of its descriptors 0 and 1 those come with it whose bits are set in @fds; 1 must. They
 * are pipes, sockets, files and the like, but no terminals, for the same reason.
 */
struct ipc_console {
	uint32_t flags; /* IPC_CONSOLE_TEXT: of what was printed before, no escape sequences */
	uint32_t lines; /* of that: at most so many */
	uint32_t fds;
};

struct ipc_console_end {
	uint64_t pending_bytes; /* of output that was not taken in time */
};

enum {
	IPC_SNAPSHOT_STOP = 1,    /* the guest does not go on; it ends */
	IPC_SNAPSHOT_FORCE = 2,   /* an older snapshot of that name is replaced */
	IPC_SNAPSHOT_NO_DISKS = 4, /* disks are not copied: they must be as they are, later */
	IPC_SNAPSHOT_BRIEF = 8,   /* it need not outlive the host */
	IPC_SNAPSHOT_HINT = 16,   /* the guest is asked what of its memory is free: that is left out */
};

struct ipc_snapshot {
	uint32_t flags;
	char name[256]; /* of the folder, with a NUL */
};

struct ipc_snapshot_end {
	uint64_t pause_ns;  /* how long the guest has stood still */
	uint64_t ram_bytes; /* that were written */
	uint32_t disks;     /* that were copied; of these */
	uint32_t shared;    /* so many share their blocks with the disk */
	uint64_t spare_bytes; /* that were left out, as the guest said that they are free */
	char no_hint[96];   /* why it could not be asked; empty: it could, or was not to be */
};

struct ipc_dump {
	uint32_t compress; /* 0: ELF; 1: zstd, 2: LZO, 3: zlib, in the format of kdump */
	uint32_t exclude; /* DUMP_NO_* of lkvm/vm/dump.h */
	char name[256]; /* of the file, with a NUL */
};

/* How many pages are left out of a dump */
struct ipc_dump_pages {
	uint64_t free, cache, user;
	uint64_t unusable; /* broken memory, or such as the guest has given back */
	uint64_t zero;     /* of what is left: they take no space */
};

struct ipc_dump_end {
	uint64_t pause_ns;  /* how long the guest has stood still */
	uint64_t ram_bytes; /* that were not zero */
	uint32_t has_linux; /* 1: there is a VMCOREINFO in it */
	uint32_t reserved;
	struct ipc_dump_pages left_out;
};

enum { IPC_SIZE_SHOW, IPC_SIZE_THAT, IPC_SIZE_MORE, IPC_SIZE_LESS, IPC_SIZE_MAX };

struct ipc_size {
	uint32_t how;     /* IPC_SIZE_...: what the guest is to have: nothing new, that, so much more or less, all that it can */
	uint32_t wait_ms; /* for the guest to follow, at most */
	uint64_t bytes;
};

struct ipc_balloon_end {
	uint64_t ram_bytes;
	uint64_t target_bytes, actual_bytes; /* of the balloon: as it is to be, as it is */
	uint32_t has_driver; /* 1: the guest has one */
	uint32_t reserved;
};

struct ipc_mem_end {
	uint64_t ram_bytes, max_bytes; /* what it was started with; what it can have */
	uint64_t block_bytes; /* beyond the first it comes in these */
	uint64_t target_bytes, plugged_bytes; /* beyond it: as it is to be, as it is */
	uint32_t has_driver; /* 1: the guest has one */
	uint32_t n_busy;     /* how often the host had none to give */
};

struct ipc_screen {
	uint32_t output;
	uint32_t reserved;
};

struct ipc_screen_end {
	uint32_t width, height;
};

#define IPC_INPUT_EVENTS 64

struct ipc_input_event {
	uint32_t code, down; /* a key or a button, of <linux/input-event-codes.h>, that goes down or comes up; 0: neither, */
	uint32_t x, y;       /* but the pointer goes to that pixel of the output */
};

struct ipc_input {
	uint32_t tablet; /* 0: all are the keyboard's; 1: the pointer's */
	uint32_t output;
	uint32_t n;
	uint32_t reserved;
	struct ipc_input_event event[IPC_INPUT_EVENTS];
};

struct ipc_last_exit {
	uint64_t exits, io, mmio; /* how many there have been; of these for ports, for memory */
	uint64_t port, address;   /* of the last one: that which it was for, the other is none */
	uint32_t is_out, is_write;
	char port_device[24], device[24]; /* whose these are, or "" */
};

enum ipc_exit_kind { IPC_EXIT_NONE, IPC_EXIT_PORT, IPC_EXIT_MEMORY, IPC_EXIT_SEVERAL, IPC_EXIT_OTHER };

/**
 * ipc_exit_kind() - what the exits between two looks were for; of several kinds no address is known
 * Nor is it where KVM has left a 0: some use that memory for other things, too.
 */
static inline enum ipc_exit_kind ipc_exit_kind(const struct ipc_last_exit *before, const struct ipc_last_exit *now)
{
	if (now->exits == before->exits)
		return IPC_EXIT_NONE;
	if (now->io != before->io)
		return now->mmio == before->mmio && now->port ? IPC_EXIT_PORT : IPC_EXIT_SEVERAL;
	if (now->mmio != before->mmio)
		return now->address ? IPC_EXIT_MEMORY : IPC_EXIT_SEVERAL;
	return IPC_EXIT_OTHER;
}

struct ipc_backtrace {
	uint32_t cpu;
	uint32_t json; /* 1: JSON */
};

enum { IPC_DMESG_FINISHED = 1 }; /* no line to which more may come */

struct ipc_dmesg {
	uint64_t from;  /* 0: the first record; else the last answer's next */
	uint32_t flags;
	uint32_t reserved;
};

struct ipc_dmesg_head {
	uint64_t next;
	uint32_t more;  /* 1: there are more now */
	uint32_t reserved;
};

struct ipc_record {
	uint64_t seq;
	uint64_t ts_ns;      /* by the guest's clock, since it was started */
	uint32_t caller;     /* bit 31 is set: a CPU's number; else a task's */
	uint32_t text_bytes;
	uint8_t facility, level, flags, has_caller; /* flags: Linux's 2: a line ends here; 8: one goes on */
	uint32_t reserved;
};

struct ipc_client;

/* The server's answer under construction. */
struct ipc_reply {
	struct ipc_client *to; /* who has asked; only for handlers */
	size_t len;
	uint8_t body[IPC_MAX_BODY];
};

/**
 * ipc_handler - carries out one request, on the main thread
 * @body: @len bytes, checked by the handler
 * Return: 0 or -errno, which becomes the answer's status; the reply's body goes with it. -EINPROGRESS:
 *	it is not done yet; the body says in words what it waits for. IPC_LATER: see there
 */
typedef int (*ipc_handler)(void *ctx, enum ipc_op op, const void *body, size_t len,
			   struct ipc_reply *reply);

struct ipc_server;

/*
 * A late answer. The handler calls ipc_later() and returns IPC_LATER; later somebody calls
 * ipc_answer(), which also ends the connection. Until then further requests of this client are told to
 * more() and have no answer.
 */
#define IPC_LATER 1

struct ipc_late {
	void (*more)(void *ctx, enum ipc_op op, const void *body, size_t len); /* NULL: they mean nothing */
	void (*gone)(void *ctx); /* the client has left: ipc_answer() must not be called any more */
};

/** ipc_say() - in a handler: the answer's body is in words; Return: @err */
int ipc_say(struct ipc_reply *reply, int err, const char *why);
/** ipc_take_fd() - in a handler: the @i-th descriptor that came with the request, now the caller's, or -1 */
int ipc_take_fd(struct ipc_client *client, unsigned i);
/**
 * ipc_take_fds() - likewise those from the @first on, one for each bit of @bits: that of bit n to ret_fd[n]
 * Return: 0, or -EPROTO: fewer came, or more; what is in @ret_fd is the caller's all the same
 */
int ipc_take_fds(struct ipc_client *client, unsigned first, uint32_t bits, int *ret_fd);
/**
 * ipc_later() - in a handler: the answer comes later
 * @late: must live as long
 * Return: IPC_LATER; -EAGAIN: IPC_MAX_LATE of them wait
 */
int ipc_later(struct ipc_client *client, const struct ipc_late *late, void *ctx);
void ipc_answer(struct ipc_client *client, int status, const void *body, size_t len);

#define IPC_VSOCK_SUFFIX ".vsock"

/**
 * ipc_path() - of what a guest has beside its control socket; the folder is made if there is none
 * A socket of that name, with or without ".seqpacket" behind it, goes with a dead control socket.
 * Return: 0, or -errno after one logged line: -ENAMETOOLONG; as ipc_server_new() about the folder
 */
int ipc_path(const char *name, const char *suffix, char *ret, size_t cap);

/** ipc_name_valid() - [A-Za-z0-9._-]{1,64}, and not "." or ".." */
bool ipc_name_valid(const char *name);

/**
 * ipc_folder_make() - the folder of the control sockets, made if there is none, for what else is a user's alone
 * @ret: its path; Return: 0 or -errno, logged
 */
int ipc_folder_make(char *ret, size_t cap);

/**
 * ipc_server_new() - make the folder, claim the name, listen
 * Return: 0, or -errno after one logged line: -EEXIST (a live guest has that name), -EINVAL (name),
 *	-ENAMETOOLONG (path over sun_path), -EPERM (folder not ours)
 */
int ipc_server_new(struct loop *loop, const char *name, ipc_handler handler, void *ctx,
		   struct ipc_server **ret);
/** ipc_server_free() - unlink the socket, close all clients; takes NULL */
void ipc_server_free(struct ipc_server *server);
/** ipc_server_unlink_now() - async-signal-safe part of the clean-up, for the second SIGINT; takes NULL */
void ipc_server_unlink_now(const struct ipc_server *server);

/* Client side: builtin-*.c */

/**
 * ipc_connect() - connect to guest @name
 * @ret_pid: PID of the lkvm that serves it, from SO_PEERCRED
 * Return: fd, or -errno after one logged line: -EINVAL (name), -ENOENT (no such guest),
 *	-ECONNREFUSED (it died: its socket was removed), -ETIMEDOUT, -EPERM (folder not ours),
 *	-ENOTSOCK, -EACCES (the folder's owner is not who listens)
 */
int ipc_connect(const char *name, pid_t *ret_pid);

/** ipc_send() - a request with descriptors whose answer the caller waits for; Return: 0 or -errno, not logged */
int ipc_send(int fd, enum ipc_op op, const void *body, size_t len, const int *fds, unsigned n_fds);
/** ipc_receive() - the answer, once the connection is readable; Return: as ipc_call() */
int ipc_receive(int fd, struct ipc_reply *ret);

/** ipc_state_name() - of an enum ipc_state that came over the socket; "unknown" for others */
const char *ipc_state_name(uint32_t state);

/**
 * ipc_call() - one request, one answer
 * @ret: may be NULL if no body is expected
 * Return: the answer's status, or -errno of the transport: -ETIMEDOUT after 10 s, or as soon as its
 *	process is seen to be stopped; -ECONNRESET (the guest ended before it answered), -EPROTO; not
 *	logged
 */
int ipc_call(int fd, enum ipc_op op, const void *body, size_t len, struct ipc_reply *ret);
/** ipc_call_with() - the same with a descriptor, @passed, that goes along */
int ipc_call_with(int fd, enum ipc_op op, const void *body, size_t len, int passed, struct ipc_reply *ret);
/** ipc_call_again() - the same as often as the answer is -EAGAIN: RAM is being looked through. Without a body that has none */
int ipc_call_again(int fd, enum ipc_op op, const void *body, size_t len, struct ipc_reply *ret);

/**
 * ipc_show() - ipc_call(), then the answer's body on standard output, of a failed request too
 * Return: as ipc_call(); a failure is logged with @name, unless the body has told it
 */
int ipc_show(int fd, const char *name, enum ipc_op op, const void *body, size_t len);

/** ipc_print() - what a server said, masked, on standard output; Return: false: out of memory */
bool ipc_print(const void *text, size_t len);

/** ipc_failed() - log why guest @name could not be connected to or did not answer; Return: @err */
int ipc_failed(const char *name, pid_t pid, int err);

/* Several guests. None delays another: all are connected to, and asked, at once. */

struct ipc_peer {
	char name[IPC_NAME_MAX + 1];
	int fd;        /* connection; -1: none, or no longer, as it did not answer in time */
	pid_t pid;     /* of the lkvm that serves it; 0: not known */
	int err;       /* 0, or -errno as of ipc_connect(), or of the last request as of ipc_call() */
	bool skip;     /* the caller's: leave it alone */
	bool asked;    /* an answer is being waited for */
	uint8_t *body; /* the last answer's, with a NUL behind it, or NULL */
	size_t len;
};

struct ipc_peers {
	unsigned n;
	struct ipc_peer *list; /* by name, those of a later ipc_peers_find() behind the others */
};

/**
 * ipc_peers_find() - add the guests whose names match a pattern, connected
 * @peers: zeroed at first; then ipc_peers_free()
 * @pattern: as of fnmatch(3); NULL: every guest
 * A guest that cannot be connected to is there as well: its err says why. One that has died is there
 * with -ECONNREFUSED, once: its socket was removed.
 * Return: how many were added, or -errno after one logged line
 */
int ipc_peers_find(struct ipc_peers *peers, const char *pattern);
void ipc_peers_free(struct ipc_peers *peers);

/**
 * ipc_peers_ask() - one request to each guest that has a connection and is not to be skipped
 * Who has not answered within @timeout_ms, or whose process is seen to be stopped, has -ETIMEDOUT as
 * its err, and no connection any more.
 * Return: 0, or -ENOMEM, logged
 */
int ipc_peers_ask(struct ipc_peers *peers, enum ipc_op op, const void *body, size_t len, int timeout_ms);

/** ipc_peer_failed() - log what is wrong with it; Return: its err */
int ipc_peer_failed(const struct ipc_peer *peer);
/** ipc_peer_stopped() - it did not answer, and its process is stopped: by a signal or a debugger */
bool ipc_peer_stopped(const struct ipc_peer *peer);

#endif
