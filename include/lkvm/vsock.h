/*
 * The host's end of a vsock: UNIX sockets, by the convention of Firecracker. It knows no guest.
 *
 *	PATH            stream: a client says "CONNECT PORT\n", is told "OK PORT\n" of the host's side once the guest
 *	                has accepted, and has a connection to that port of the guest. Else it is closed.
 *	PATH.seqpacket  the same for SOCK_SEQPACKET, where these lines are messages
 *	PATH_PORT       who listens there, of either type, has the guest's connections to that port of the host
 *
 * The main thread opens and closes it; the device's worker does the rest, and never waits.
 */
#ifndef LKVM_VSOCK_H
#define LKVM_VSOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lkvm/keys.h"

#define VSOCK_SEQPACKET_SUFFIX ".seqpacket"
#define VSOCK_PATH_BYTES sizeof(((struct sockaddr_un *)0)->sun_path)
#define VSOCK_HOST_CID  2U
#define VSOCK_FIRST_CID 3U          /* that a guest may have, */
#define VSOCK_LAST_CID  0xfffffffeU /* and the last one */
#define VSOCK_ANY_PORT  0xffffffffU /* no port has this number */

struct vsock_config {
	unsigned cid;     /* 0: by the guest's name */
	const char *path; /* NULL: beside the control socket */
	bool packed;      /* offers packed rings */
};

extern const struct opt_key vsock_keys[]; /* of a struct vsock_config */

enum vsock_kind { VSOCK_STREAM, VSOCK_SEQPACKET, VSOCK_KINDS };

struct vsock_host {
	char path[VSOCK_KINDS][VSOCK_PATH_BYTES]; /* absolute; that of streams is PATH */
	int fd[VSOCK_KINDS];                      /* listeners, without blocking; -1: none */
};

/** vsock_cid_of() - a guest's CID by its name: always the same, from VSOCK_FIRST_CID up to 2^31 */
uint32_t vsock_cid_of(const char *name);

/**
 * vsock_path_of() - PATH_PORT
 * Return: 0, or -ENAMETOOLONG: a path is never cut
 */
int vsock_path_of(const char *path, uint32_t port, struct sockaddr_un *ret);

/**
 * vsock_host_open() - listen on PATH and PATH.seqpacket, with mode 0600
 * What a lkvm that was killed has left there is removed, under the lock of the folder. The limit of open files is
 * raised as far as it goes.
 * @ret: the caller's; vsock_host_close() also after a failure, if fd[] was -1 before
 * Return: 0, or -errno after one logged line: -EADDRINUSE (somebody listens there), -EEXIST (something else has the
 *	name), -ENAMETOOLONG
 */
int vsock_host_open(const char *path, struct vsock_host *ret);
/** vsock_host_close() - close the listeners, remove their names */
void vsock_host_close(struct vsock_host *host);
/** vsock_host_unlink_now() - async-signal-safe part of that */
void vsock_host_unlink_now(const struct vsock_host *host);

/**
 * vsock_listen() - on PATH_PORT, for the guest's connections of streams; what a killed process has left there is removed
 * Return: descriptor, without blocking; -errno, not logged, as of vsock_host_open()
 */
int vsock_listen(const char *path, uint32_t port);

/** vsock_host_accept() - Return: a client's descriptor, without blocking; -EAGAIN: none; -errno: -EMFILE, -ENFILE, ... */
int vsock_host_accept(const struct vsock_host *host, enum vsock_kind kind);
/**
 * vsock_host_connect() - to who listens on PATH_PORT
 * Return: descriptor, without blocking; -errno: -ENOENT, -ECONNREFUSED (nobody does), -EPROTOTYPE (of the other kind),
 *	-EAGAIN (its backlog is full)
 */
int vsock_host_connect(const struct vsock_host *host, enum vsock_kind kind, uint32_t port);

/**
 * vsock_hello_read() - the line with which a client begins; what it says behind it stays where it is
 * Return: 0; -EAGAIN: not all of it is there; -EPIPE: the client has left; -EPROTO: it says something else; -errno
 */
int vsock_hello_read(int fd, enum vsock_kind kind, uint32_t *ret_port);
/** vsock_hello_answer() - "OK PORT\n"; Return: 0 or -errno */
int vsock_hello_answer(int fd, uint32_t port);
/** vsock_hello_write() - a client's part; Return: 0 or -errno */
int vsock_hello_write(int fd, uint32_t port);

#endif
