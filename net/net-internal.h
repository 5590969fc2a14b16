/*
 * What the ends share. They include nothing of the machine: only util and net.h.
 *
 * To add an end: net/NAME.c with its NAME_open(), a line in net/net.c's kinds[], and its keys in net/keys.c.
 */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include <spawn.h>

#include "lkvm/net.h"

/*
 * Of user and passt, which have no offloads: large, as that makes few frames. But a window of TCP without scaling, as
 * libslirp has it, is to hold several of them: a guest that gets one frame a window acknowledges it only when it has
 * waited in vain for a second.
 */
#define NET_USER_MTU 16384

/* Each makes an end of its own struct, whose first member is a struct net. Return: 0, or -errno, logged. */
int user_open(const struct net_config *cfg, const char *name, struct net **ret);
int tap_open(const struct net_config *cfg, const char *name, struct net **ret);
int passt_open(const struct net_config *cfg, const char *name, struct net **ret);
int switch_open(const struct net_config *cfg, const char *name, struct net **ret);

/**
 * net_script() - net/script.c: run a program, without a shell, with the interface's name as its argument
 * It has a minute. Main thread.
 * Return: 0, or -errno after a line that names the program and its status
 */
int net_script(const char *name, const char *program, const char *ifname);

/**
 * net_vhost_open(), net_vhost_close() - net/vhost.c: net->vhost, for all of its pairs
 * Return: 0, or -errno after a line that says which module or right is missing; close takes what is half open, and NULL
 */
int net_vhost_open(struct net *net);
void net_vhost_close(struct net_vhost *vhost);

/* A program that an end starts, and which of our descriptors become its own; standard input is empty. */
struct net_child {
	typeof(posix_spawn) *spawn; /* or posix_spawnp() */
	const char *program;
	char *const *argv;
	struct {
		int ours, its;
	} fds[3];
	unsigned n_fds;
};

/**
 * net_spawn() - start it in a session of its own, so that it ends with all that it has started, with signals as ever
 * Return: 0 or -errno, not logged
 */
int net_spawn(const struct net_child *child, pid_t *ret);
/** net_child_ends() - does it, within @patience_ms (-1: for ever)? It is still to be waited for; yes if that is not known */
bool net_child_ends(pid_t pid, int patience_ms);

/** net_count() - one thread counts, others look */
static inline void net_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

#endif
