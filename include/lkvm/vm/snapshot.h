/*
 * A snapshot: a machine that stood still, as a folder.
 *
 *	state   what the machine is made of, and the state of each part
 *	ram     its RAM, the parts back to back; what holds nothing but zeros is a hole
 *	disk0   the contents of its disk 0, where they were copied
 *	firmware, firmware-vars, fw-cfg, rom0
 *		with --firmware: the ROM, its variables where they were copied, what it is told (items back to back), and
 *		the option ROM of network device 0
 *
 * The state is a header, then sections: a name, and records (lkvm/state.h). Each has a CRC-32C. Sections
 * are found by name; one that the machine has no use for is as wrong as one that is missing. What is read
 * is judged as if an enemy had written it.
 *
 * Main thread. All failures are logged, with the folder's name.
 */
#ifndef LKVM_VM_SNAPSHOT_H
#define LKVM_VM_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lkvm/state.h"

#define SNAPSHOT_STATE   "state"
#define SNAPSHOT_MAGIC   "lkvmsnap" /* begins it */
#define SNAPSHOT_WRITTEN "written"  /* an empty file: its disks have been written since, by --disks rw */
#define SNAPSHOT_RAM   "ram"
#define SNAPSHOT_NAME_BYTES 32 /* of a section, with a NUL */
#define SNAPSHOT_DISK_BYTES 16 /* "disk65535" */

#define SNAPSHOT_FIRMWARE "firmware"
#define SNAPSHOT_VARS	  "firmware-vars"
#define SNAPSHOT_TOLD	  "fw-cfg"
#define SNAPSHOT_PART_BYTES 16 /* of a file's name */

struct json;
struct kvm_cpuid2;
struct snapshot;
struct vm;
struct vm_config;

/** snapshot_disk_name() - what the copy of a disk is called, and the section about it */
static inline void snapshot_disk_name(char ret[SNAPSHOT_DISK_BYTES], unsigned index)
{
	snprintf(ret, SNAPSHOT_DISK_BYTES, "disk%u", index);
}

/** snapshot_rom_name() - what the option ROM of a network device is called */
static inline void snapshot_rom_name(char ret[SNAPSHOT_PART_BYTES], unsigned index)
{
	snprintf(ret, SNAPSHOT_PART_BYTES, "rom%u", index);
}

/* ---- vm/snapshot-file.c: the state's file ---- */

/* Memory that becomes a file of the snapshot, or goes on the one before it in the list, if that is of the same name. */
struct snapshot_piece {
	char part[SNAPSHOT_PART_BYTES];
	const void *data;
	uint64_t bytes;
};

/* One that is being written; zeroed at first. Then state_buf_free(), and free() of the pieces. */
struct snapshot_writer {
	struct state_buf buf;
	uint32_t n;     /* sections */
	size_t section; /* where the current one begins */
	struct snapshot_piece *pieces; /* n_pieces of them */
	unsigned n_pieces;
};

/** snapshot_begin() - the next section; records go to @w->buf then; Return: 0 or -ENOMEM, not logged */
int snapshot_begin(struct snapshot_writer *w, const char *name);
/** snapshot_put() - a section that has just one record; the same */
int snapshot_put(struct snapshot_writer *w, const char *section, const struct state_type *type, const void *state);
/**
 * snapshot_add_file() - beside the state: @bytes at @data, behind those of the same @part that were added right before
 * They stay as they are until the process that writes the snapshot was made. Return: 0 or -ENOMEM, not logged
 */
int snapshot_add_file(struct snapshot_writer *w, const char *part, const void *data, uint64_t bytes);
/** snapshot_end() - no more sections: w->buf is what the file has; Return: 0 or -ENOMEM, not logged */
int snapshot_end(struct snapshot_writer *w);

/**
 * snapshot_open() - read and check the state of the snapshot in folder @path, and open its RAM
 * Return: 0, then snapshot_close(); or -errno after one logged line: -EBADMSG it is damaged, or none;
 *	-ENOTSUP a newer lkvm wrote it
 */
int snapshot_open(const char *path, struct snapshot **ret);
void snapshot_close(struct snapshot *snap); /* takes NULL */

/** snapshot_path() - as it was given; snapshot_folder() - opened; snapshot_ram() - its RAM, for reading */
const char *snapshot_path(const struct snapshot *snap);
int snapshot_folder(const struct snapshot *snap);
int snapshot_ram(const struct snapshot *snap);

/** snapshot_find() - the records of a section, which is in use from now on; Return: 0 or -ENOENT, not logged */
int snapshot_find(struct snapshot *snap, const char *name, struct state_reader *ret);
/** snapshot_unused() - the name of a section that nobody has asked for, or NULL */
const char *snapshot_unused(const struct snapshot *snap);
/** snapshot_print(), snapshot_json() - all of it, for people; 0 or -errno, logged */
int snapshot_print(struct snapshot *snap, FILE *out);
int snapshot_json(struct snapshot *snap, struct json *json);

/* ---- vm/snapshot-machine.c: what the machine is made of ---- */

/**
 * snapshot_describe() - the first sections
 * @copied: of each disk: the snapshot has a copy of its contents
 * @copy: what may be written is to be copied: so are variables of firmware
 * Return: 0, or -errno, and @ret_why says in words what cannot be described
 */
int snapshot_describe(struct snapshot_writer *w, const struct vm *vm, const bool *copied, bool copy,
		      char *ret_why, size_t cap);
/**
 * snapshot_take_config() - the configuration of the machine that was saved
 * @cfg: with the options that the user gave, which cfg->snapshot is one of; what these say otherwise is
 *	refused, each by its name
 * Return: 0, -EINVAL, -EBADMSG, -ENOMEM; -ESTALE: a disk that was not copied is not what it was
 */
int snapshot_take_config(struct vm_config *cfg);
/**
 * snapshot_take_same() - @cfg, which has no snapshot yet, is of the machine that was saved: go on from it
 * Return: 0, and @cfg owns @snap; -EINVAL: it is another machine; else as snapshot_take_config()
 */
int snapshot_take_same(struct snapshot *snap, struct vm_config *cfg);
/**
 * snapshot_check_written() - RAM and disks are of one instant, until the disks are written
 * snapshot_note_written() - now they will be; the machine has them all, so that nobody else has
 * Return: 0; -ESTALE: they were, or -errno, logged
 */
int snapshot_check_written(const struct snapshot *snap);
int snapshot_note_written(const struct snapshot *snap);
/**
 * snapshot_take_told() - vm/snapshot-firmware.c: what firmware was told
 * @fw: the fw_cfg_type instance, in which nothing was put. Return: 0, or -errno, logged
 */
int snapshot_take_told(struct snapshot *snap, void *fw);
/** snapshot_take_cpuid() - heap, free() it; Return: 0 or -errno */
int snapshot_take_cpuid(struct snapshot *snap, struct kvm_cpuid2 **ret);

/* ---- vm/snapshot-parts.c: its parts ---- */

/**
 * snapshot_save_parts() - of a machine that stands still
 * Return: 0, or -errno, and @ret_why says in words what cannot be saved
 */
int snapshot_save_parts(struct snapshot_writer *w, struct vm *vm, char *ret_why, size_t cap);
/** snapshot_load_parts() - into a machine that was just made and has not run */
int snapshot_load_parts(struct snapshot *snap, struct vm *vm);

#endif
