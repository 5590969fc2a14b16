/* What the files of vm/snapshot-*.c share; nobody else includes this. */
#ifndef SNAPSHOT_INTERNAL_H
#define SNAPSHOT_INTERNAL_H

#include "lkvm/vm/snapshot.h"

struct fs_config;
struct net_config;
struct numa;
struct pmem_config;
struct ram;
struct session_lists;

/* The first sections; for the tests of their tables, too */
extern const struct state_type snapshot_machine_type, snapshot_disk_type, snapshot_folder_type, snapshot_cpuid_type,
	snapshot_lists_type, snapshot_network_type, snapshot_numa_type, snapshot_persistent_type,
	snapshot_plug_type, snapshot_firmware_type, snapshot_told_type, snapshot_option_rom_type;

/**
 * snapshot_take() - the record of a section that has just one
 * @ret_state: type->size bytes
 * Return: 0, -EBADMSG, -ENOTSUP, -ERANGE, logged
 */
int snapshot_take(struct snapshot *snap, const char *section, const struct state_type *type, void *ret_state);
/** snapshot_take_any() - the same, if there is one; Return: also -ENOENT, which is not logged */
int snapshot_take_any(struct snapshot *snap, const char *section, const struct state_type *type, void *ret_state);

/**
 * snapshot_note_path() - with its NUL, for a state's table
 * @path: heap, freed; NULL: errno says why there is none
 * Return: 0, -ENAMETOOLONG, or that -errno; not logged
 */
int snapshot_note_path(char *path, uint8_t *ret, size_t cap, uint32_t *ret_n);

/* vm/snapshot-identity.c */

/* Of a file or block device that stays where it is */
struct snapshot_identity {
	uint64_t size_bytes, device, inode, mtime_ns;
	uint64_t sequence; /* of a block device: the how many-th that this host has seen; 0: it does not tell, or is a file */
	uint32_t checksum; /* of some of its bytes */
};

/** snapshot_identify() - what @path leads to; Return: 0 or -errno, not logged */
int snapshot_identify(const char *path, struct snapshot_identity *ret);
/**
 * snapshot_check_unchanged() - is what @path leads to what it was?
 * @what: it is: "disk"; @as: it has to be: "it was"
 * Return: 0; -ESTALE or -errno, logged
 */
int snapshot_check_unchanged(const char *path, const struct snapshot_identity *was, const char *what, const char *as);

/* vm/snapshot-disks.c */

/** snapshot_describe_disk() - a section for it; @copied: it is in the snapshot; Return: 0 or -errno, not logged */
int snapshot_describe_disk(struct snapshot_writer *w, const struct vm *vm, unsigned i, bool copied);
/**
 * snapshot_take_disks() - @n disks into cfg->disks
 * What the user has put there, the first of them as it is called now and by which keys the host opens it, must agree.
 * Return: as snapshot_take_config()
 */
int snapshot_take_disks(struct vm_config *cfg, unsigned n);
/** snapshot_same_disks() - are the disks of @cfg what they were, none of them copied? 0 or -errno, logged */
int snapshot_same_disks(struct snapshot *snap, const struct vm_config *cfg);

/** snapshot_describe_cpuid() - a section for it; Return: 0 or -ENOMEM, not logged */
int snapshot_describe_cpuid(struct snapshot_writer *w, const struct kvm_cpuid2 *table);

/** snapshot_describe_folder() - a section for the folder with this number; Return: 0 or -errno, not logged */
int snapshot_describe_folder(struct snapshot_writer *w, const struct fs_config *folder, unsigned i);
/** snapshot_take_folders() - the configurations of all @n, as it was; Return: 0 or -errno, logged */
int snapshot_take_folders(struct vm_config *cfg, unsigned n);
/** snapshot_skip_folders() - there are @n, and what they are is known; Return: 0 or -EBADMSG, not logged */
int snapshot_skip_folders(struct snapshot *snap, unsigned n);

/** snapshot_describe_net() - vm/snapshot-nets.c: a section for the network with this number; Return: 0 or -errno, not logged */
int snapshot_describe_net(struct snapshot_writer *w, const struct net_config *net, unsigned i);
/**
 * snapshot_take_nets() - the configurations of all @n: what the user has put there, the first of them, or as it was
 * Return: 0 or -errno, logged
 */
int snapshot_take_nets(struct vm_config *cfg, unsigned n);
/** snapshot_skip_nets() - there are @n, and what they are is known; Return: 0 or -EBADMSG, not logged */
int snapshot_skip_nets(struct snapshot *snap, unsigned n);

/**
 * snapshot_describe_pmem() - vm/snapshot-pmems.c: a section for the persistent memory with this number
 * Return: 0 or -errno, not logged: -EOPNOTSUPP: the guest may write to it
 */
int snapshot_describe_pmem(struct snapshot_writer *w, const struct pmem_config *pmem, unsigned i);
/** snapshot_take_pmems() - into cfg->pmems, which is empty, all that there are, if they are what they were; 0 or -errno, logged */
int snapshot_take_pmems(struct vm_config *cfg);

/**
 * snapshot_describe_firmware() - vm/snapshot-firmware.c: sections and files for firmware, if there is any
 * @copy: its variables. Return: 0 or -errno, not logged
 */
int snapshot_describe_firmware(struct snapshot_writer *w, const struct vm *vm, bool copy);
/** snapshot_take_firmware() - cfg->firmware and what goes with it, if there was any; Return: 0 or -errno, logged */
int snapshot_take_firmware(struct vm_config *cfg);
/** snapshot_take_option_rom() - of the network with this number; Return: 1: it has one; 0: none; -errno, logged */
int snapshot_take_option_rom(const struct vm_config *cfg, unsigned i);

/** snapshot_describe_lists() - a section for them, if there are any; Return: 0 or -errno, not logged */
int snapshot_describe_lists(struct snapshot_writer *w, const struct session_lists *lists);
/** snapshot_take_lists() - of one of the folders, which have been taken; Return: 0 or -errno, logged */
int snapshot_take_lists(struct vm_config *cfg);
/** snapshot_skip_lists() - if there are any, what they are is known */
void snapshot_skip_lists(struct snapshot *snap);

/** snapshot_describe_numa() - a section for the nodes, if there are any (not NULL); Return: 0 or -errno, not logged */
int snapshot_describe_numa(struct snapshot_writer *w, const struct numa *numa);
/** snapshot_take_numa() - cfg->numa, of a machine whose sizes have been taken; Return: 0 or -errno, logged */
int snapshot_take_numa(struct vm_config *cfg);
/** snapshot_skip_numa() - if there are any, what they are is known */
void snapshot_skip_numa(struct snapshot *snap);

/**
 * snapshot_describe_plug() - a section for memory that comes and goes, if any may
 * The memory device stands still. Return: 0 or -errno, not logged
 */
int snapshot_describe_plug(struct snapshot_writer *w, const struct vm_config *cfg, const struct ram *ram);
/** snapshot_take_plug() - cfg->mem_max and what follows from it, of a machine with that much RAM; 0 or -errno, logged */
int snapshot_take_plug(struct vm_config *cfg, uint64_t ram_bytes);
/** snapshot_skip_plug() - if there is any, what it is is known */
void snapshot_skip_plug(struct snapshot *snap);

/** snapshot_pack_machine() - append the record of what @cfg says; Return: 0 or -ENOMEM, not logged */
int snapshot_pack_machine(const struct vm_config *cfg, struct state_buf *buf);

/**
 * snapshot_check_part() - is there this file, and is it so long?
 * @like: "the disk", for the message. Return: 0, or -errno, logged: -EBADMSG: no
 */
int snapshot_check_part(const struct snapshot *snap, const char *part, uint64_t bytes, const char *like);

/** snapshot_bad() - log what is wrong with a section, which is where the reader came from; Return: @err */
int snapshot_bad(const struct snapshot *snap, const char *section, const struct state_reader *in, int err);

#endif
