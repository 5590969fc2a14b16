/* The file systems of a guest: the kernel's own, the root, and what the plan adds to it. */
#ifndef GUEST_MOUNT_H
#define GUEST_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

/* Those that everything else needs. What the kernel does not have is not there. */
void mount_base(void);
/* All others that programs expect to find, and links in /dev; after the root has been entered */
void mount_rest(void);

/* With all folders above it. Where there can be none, what is mounted there fails and says so. */
void make_folder(const char *path);

/* The functions below complain, and return 0 or -errno. */

/* @overlay: the size of memory over it; NULL: none */
long mount_root(const char *type, const char *source, const char *options, bool writable, const char *overlay);
/* What mount_root() has mounted becomes / */
long enter_root(const char *overlay);
/*
 * What the plan has among its records, in their order:
 *
 *	share=ro:TAG:AT share=rw:TAG:AT     the folder of that tag
 *	share-type=  share-options=  for all of them, if they are not virtiofs
 *	tmpfs=PATH   a folder of the guest's own, empty
 *	bind=AT:FOLDER      that is there too
 *	link=AT:TARGET      a symbolic link
 *	hide=PATH    nothing is in a folder but what is shared there, and a file is empty; one that is not
 *	             there stays so
 */
long mount_records(const char *records, size_t len);

#endif
