/*
 * The host's end of persistent memory: a file, mapped, that guests have as memory beside their RAM. The host's page
 * cache is what they read and write, so several guests of one file share it.
 *
 * The region is whole units of PMEM_UNIT, which Linux wants; what a file that is no multiple of that lacks reads as
 * zeros, and what is written there is lost. So does what is gone because somebody cut the file meanwhile.
 */
#ifndef LKVM_PMEM_H
#define LKVM_PMEM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lkvm/keys.h"

#define PMEM_UNIT  (2ULL << 20)
#define PMEM_MOST  16 /* of a guest: each is a slot of KVM's */
#define PMEM_ALIGN (128ULL << 20) /* of its address: a section of Linux's memory */

struct pmem_config {
	const char *path;
	bool read_only;
	uint64_t bytes; /* of the region: pmem_size() */
};

struct pmem {
	struct pmem_config cfg;
	int fd;
	uint8_t *host;
	bool failed; /* a flush has: what was written before is lost, maybe */
	pthread_mutex_t lock; /* of the rest */
	uint64_t there; /* bytes, whole pages, that are the file's */
	bool cut;       /* it has become shorter */
};

extern const struct opt_key pmem_keys[];

/** pmem_size() - set cfg->bytes by the file as it is; Return: 0 or -errno, logged */
int pmem_size(struct pmem_config *cfg);
/**
 * pmem_open() - open, lock, map; main thread
 * Who may write has the file for himself; those that only read share it, and its lock is as that of disks.
 * Return: 0, or -errno, logged
 */
int pmem_open(const struct pmem_config *cfg, struct pmem **ret);
/** pmem_close() - nobody uses the mapping any more; takes NULL */
void pmem_close(struct pmem *pmem);
/** pmem_flush() - what was written is on the disk; waits for that. Return: 0; -EIO, now and from now on */
int pmem_flush(struct pmem *pmem);
/** pmem_mend() - somebody has found nothing there: map zeros where the file was cut. Any thread. Return: it was cut */
bool pmem_mend(struct pmem *pmem);

#endif
