/*
 * Both ends of the per-guest control socket.
 *
 * Folder: $LKVM_DIR, else $XDG_RUNTIME_DIR/lkvm, else /tmp/lkvm-UID; mode 0700, owner checked; one
 * NAME.sock a guest. SOCK_SEQPACKET: one request is one packet (struct ipc_request, then at most
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
#define IPC_VERSION  1
#define IPC_MAX_BODY 65536
#define IPC_NAME_MAX 64
#define IPC_MAX_CLIENTS 32

enum ipc_op {
	IPC_INFO = 1,  /* answer: struct ipc_info */
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
	uint32_t state; /* enum kvm_state */
	uint32_t cpus;
	uint64_t ram_bytes;
	uint64_t uptime_ns;
};

struct ipc_translate {
	uint64_t virt; /* guest virtual address */
	uint32_t cpu;
	uint32_t reserved;
};

/* The server's answer under construction. */
struct ipc_reply {
	size_t len;
	uint8_t body[IPC_MAX_BODY];
};

/**
 * ipc_handler - carries out one request, on the main thread
 * @body: @len bytes, checked by the handler
 * Return: 0 or -errno, which becomes the answer's status; the reply's body goes with it
 */
typedef int (*ipc_handler)(void *ctx, enum ipc_op op, const void *body, size_t len,
			   struct ipc_reply *reply);

struct ipc_server;

/** ipc_name_valid() - [A-Za-z0-9._-]{1,64}, and not "." or ".." */
bool ipc_name_valid(const char *name);

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
 *	-ECONNREFUSED (it died: its socket was removed), -ETIMEDOUT, -EPERM (folder not ours)
 */
int ipc_connect(const char *name, pid_t *ret_pid);

/** ipc_state_name() - of an enum kvm_state that came over the socket; "unknown" for others */
const char *ipc_state_name(uint32_t state);

/**
 * ipc_call() - one request, one answer
 * @ret: may be NULL if no body is expected
 * Return: the answer's status, or -errno of the transport: -ETIMEDOUT after 10 s, -ECONNRESET (the
 *	guest ended before it answered), -EPROTO; not logged
 */
int ipc_call(int fd, enum ipc_op op, const void *body, size_t len, struct ipc_reply *ret);

/**
 * ipc_show() - ipc_call(), then the answer's body on standard output, of a failed request too
 * Return: as ipc_call(); a failure is logged with @name, unless the body has told it
 */
int ipc_show(int fd, const char *name, enum ipc_op op, const void *body, size_t len);

/**
 * ipc_for_each() - call @fn for every live guest, by name; dead sockets are removed on the way
 * @fn: gets a connection that is closed afterwards, or as @fd the -errno of a guest that is there
 *	but cannot be connected to; a return value other than 0 ends the walk
 * Return: number of guests seen, -errno (logged), or what @fn ended the walk with
 */
int ipc_for_each(int (*fn)(void *ctx, const char *name, int fd, pid_t pid), void *ctx);

#endif
