/*
 * Free pages of the guest that a snapshot leaves out, as the guest hints: between the two the guest runs, and a log is
 * kept of what is written to its RAM; lkvm/virtio-balloon.h. Main thread; for vm/snapshot-make.c.
 */
#ifndef SNAPSHOT_HINT_H
#define SNAPSHOT_HINT_H

struct ram_spare;
struct snapshot_hint;
struct vm;

/**
 * snapshot_hint_begin() - ask the guest
 * @told: once, as soon as it has told all, or after half a second; ends with snapshot_hint_free() at the latest
 * @ret_why: static text
 * Return: 0, or -errno, not logged: it cannot be asked, for @ret_why
 */
int snapshot_hint_begin(struct vm *vm, void (*told)(void *ctx), void *ctx, struct snapshot_hint **ret,
			const char **ret_why);
/**
 * snapshot_hint_end() - it stands still: what need not be saved as it is now
 * What it is told of the end is saved with it. Return: valid until snapshot_hint_free(); NULL: all is to be saved, for
 *	@ret_why
 */
const struct ram_spare *snapshot_hint_end(struct snapshot_hint *hint, const char **ret_why);
/** snapshot_hint_free() - at any time; takes NULL */
void snapshot_hint_free(struct snapshot_hint *hint);

#endif
