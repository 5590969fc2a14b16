/*
 * Where the guests of one user's switch find each other: a folder. Each listens on a socket in it, and who comes later
 * connects to all that are there. A socket that nobody listens on any more is removed by the next who comes. Who comes and
 * who goes has the folder's lock meanwhile; the last one who goes removes the folder.
 *
 *	PARENT/NAME.switch/0123456789abcdef    one a guest
 *
 * Main thread.
 */
#ifndef NET_SWITCH_FOLDER_H
#define NET_SWITCH_FOLDER_H

#include <limits.h>

#define SWITCH_SOCKET_BYTES 17 /* of a socket's name, with its NUL */

struct switch_folder {
	int fd; /* -1: it was not joined */
	char path[PATH_MAX];
	char socket[SWITCH_SOCKET_BYTES]; /* "": it is not there */
};

/**
 * switch_folder_join()
 * @f: whose fd is -1
 * @ret_listener: the socket for who comes later, the caller's to close, unless it is -1; also where this fails
 * @meet: gets a connection to each who is there, which is its own from then on. Return: 0 or -errno
 * Return: 0 or -errno, not logged; switch_folder_leave() in any case
 */
int switch_folder_join(struct switch_folder *f, const char *parent, const char *name, int *ret_listener,
		       int (*meet)(void *ctx, int fd), void *ctx);
/** switch_folder_leave() */
void switch_folder_leave(struct switch_folder *f);

#endif
