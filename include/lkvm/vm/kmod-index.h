/*
 * An index as kmod reads it (modules.dep.bin and its kin): a trie of keys, each with values in the order
 * of their priority. Any thread, one at a time.
 *
 *	kmod_index_add()... -> kmod_index_write() -> kmod_index_free()
 */
#ifndef LKVM_VM_KMOD_INDEX_H
#define LKVM_VM_KMOD_INDEX_H

#include <stddef.h>

struct kmod_index {
	struct kmod_index_line *lines; /* heap */
	size_t n, cap;
};

/**
 * kmod_index_add() - one more value of a key; both are copied
 * Return: 0; -EINVAL: a key that is too long, empty, or has other characters than printable ASCII; -ENOMEM
 */
int kmod_index_add(struct kmod_index *ix, const char *key, const char *value);

/**
 * kmod_index_write() - the file
 * @ret: heap
 * Return: 0, -EFBIG or -ENOMEM
 */
int kmod_index_write(struct kmod_index *ix, char **ret, size_t *ret_len);
void kmod_index_free(struct kmod_index *ix);

#endif
