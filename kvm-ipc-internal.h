/*
 * What both ends of the control socket know: the folder that the sockets are in, and how to tell a
 * living one from a dead one; see ipc.h for the rules.
 */
#ifndef KVM_IPC_INTERNAL_H
#define KVM_IPC_INTERNAL_H

#include <stdbool.h>
#include <sys/un.h>

#include "lkvm/ipc.h"

#define IPC_SUFFIX     ".sock"
#define IPC_FILE_BYTES (IPC_NAME_MAX + sizeof(IPC_SUFFIX))
#define IPC_TIMEOUT_S  10

struct ipc_folder {
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/**
 * ipc_folder_open() - find the folder and check that it is ours alone
 * @create: make it where there is none
 * Return: 0; -ENOENT, not logged, if there is none and @create is false; -errno after one logged
 *	line
 */
int ipc_folder_open(struct ipc_folder *folder, bool create);
void ipc_folder_close(struct ipc_folder *folder);
void ipc_folder_lock(const struct ipc_folder *folder);
void ipc_folder_unlock(const struct ipc_folder *folder);

/** ipc_socket_address() - Return: 0 or -ENAMETOOLONG: a path is never cut */
int ipc_socket_address(const struct ipc_folder *folder, const char *file, struct sockaddr_un *ret);

/**
 * ipc_socket_connect() - Return: fd or -errno
 * @flags: without SOCK_NONBLOCK, everything done with the socket ends after IPC_TIMEOUT_S
 */
int ipc_socket_connect(const struct sockaddr_un *addr, int flags);

/**
 * ipc_remove_dead() - under the folder's lock: remove a socket on which no process listens any more
 * Return: 0 if the name is free now; -EEXIST if it is alive; -ENOTSOCK; -errno
 */
int ipc_remove_dead(const struct ipc_folder *folder, const char *file,
		    const struct sockaddr_un *addr);

#endif
