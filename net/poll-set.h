/*
 * Descriptors of a library that names all that it waits for, and for what, each time before it waits, as for
 * poll(2): kept in an epoll, so that only what changes from one time to the next is a system call, and one
 * descriptor tells the loop that one of them is ready.
 *
 *	poll_set_begin(), poll_set_add() each, poll_set_end()    what is wanted now
 *	poll_set_look(), poll_set_ready() each                  what of that is there
 *
 * One thread. Events are EPOLLIN and so on.
 */
#ifndef NET_POLL_SET_H
#define NET_POLL_SET_H

#include <stdint.h>
#include <sys/epoll.h>

#define POLL_SET_BATCH 64

struct poll_set {
	int epfd; /* readable: something is there */
	struct poll_set_entry *entry; /* by descriptor; heap */
	unsigned n_entries;
	int *listed; /* descriptors that the epoll has, or is to have; heap */
	unsigned n_listed, cap_listed;
	unsigned round;
	int ready[POLL_SET_BATCH]; /* of the last look */
	unsigned n_ready;
};

/** poll_set_init() - Return: 0 or -errno; poll_set_fini() takes a half-built one */
int poll_set_init(struct poll_set *p);
void poll_set_fini(struct poll_set *p);

void poll_set_begin(struct poll_set *p);
/** poll_set_add() - @events: not 0; Return: 0 or -ENOMEM */
int poll_set_add(struct poll_set *p, int fd, uint32_t events);
/** poll_set_end() - from here on what was not added since begin is not watched; Return: system calls that it took */
unsigned poll_set_end(struct poll_set *p);
/** poll_set_forget() - @fd is about to be closed */
void poll_set_forget(struct poll_set *p, int fd);

/** poll_set_look() - does not wait; up to POLL_SET_BATCH are ready at a time */
void poll_set_look(struct poll_set *p);
/** poll_set_clear() - none is ready */
void poll_set_clear(struct poll_set *p);
/** poll_set_wanted() - what was asked for of @fd; 0: nothing */
uint32_t poll_set_wanted(const struct poll_set *p, int fd);
/** poll_set_ready() - EPOLLERR and EPOLLHUP come whether they are asked for or not; Return: 0: it is not ready */
uint32_t poll_set_ready(const struct poll_set *p, int fd);

#endif
