/*
 * What both ends of the control socket know: the folder that the sockets are in, and how to tell a
 * living one from a dead one; see ipc.h for the rules.
 */
#ifndef IPC_INTERNAL_H
#define IPC_INTERNAL_H

#include <stdbool.h>
#include <sys/un.h>

#include "lkvm/ipc.h"

#define IPC_SUFFIX     ".sock"
#define IPC_FILE_BYTES (IPC_NAME_MAX + sizeof(IPC_SUFFIX))
#define IPC_TIMEOUT_S  10
#define IPC_LOCK_MS    5000
#define IPC_DIED       "guest '%s' has died; its control socket was removed"

struct ipc_folder {
	int fd;
	uid_t owner;
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
/**
 * ipc_folder_lock() - Return: whether it was had within IPC_LOCK_MS; somebody who holds it may be
 * stopped, or of ill will
 */
bool ipc_folder_lock(const struct ipc_folder *folder);
void ipc_folder_unlock(const struct ipc_folder *folder);

/** ipc_socket_address() - Return: 0 or -ENAMETOOLONG: a path is never cut */
int ipc_socket_address(const struct ipc_folder *folder, const char *file, struct sockaddr_un *ret);

/**
 * ipc_socket_connect() - connect to a socket of the folder, and to nothing else that has its name
 * @flags: without SOCK_NONBLOCK, everything done with the socket ends after IPC_TIMEOUT_S
 * Return: fd or -errno: -ENOTSOCK (also a symbolic link), -EACCES (who listens is not the folder's
 *	owner), -EAGAIN (its backlog is full)
 */
int ipc_socket_connect(const struct ipc_folder *folder, const char *file, int flags);

/**
 * ipc_connect_file() - the same for a client: a dead socket is removed
 * Return: fd; -ENOENT; -ECONNREFUSED if it was dead and was removed; -errno
 */
int ipc_connect_file(const struct ipc_folder *folder, const char *file, int flags);

/**
 * ipc_remove_dead() - under the folder's lock: remove a socket on which no process listens any more
 * Return: 0 if the name is free now; -EEXIST if it is alive; -ENOTSOCK; -errno
 */
int ipc_remove_dead(const struct ipc_folder *folder, const char *file);

/** ipc_peer_pid() - of who listens at the other end, or 0 */
pid_t ipc_peer_pid(int fd);

/** ipc_process_state() - the letter of /proc/PID/stat ('T': stopped, 't': by its tracer), or '?' */
char ipc_process_state(pid_t pid);

#define IPC_LOOK_MS 100 /* how long an answer may take before the process is looked at */

static inline bool ipc_is_stopped(pid_t pid)
{
	char state = pid > 0 ? ipc_process_state(pid) : '?';

	return state == 'T' || state == 't';
}

#endif
