/*
 * Libraries that are opened when they are needed for the first time, because they are seldom used, or
 * take longer to load than a guest to start. Their headers, where installed, give the prototypes:
 *
 *	#define ZLIB(X) X(inflateInit2_) X(inflate) X(inflateEnd)
 *	struct zlib { ZLIB(LIB_FIELD) };
 *	static const struct lib_symbol zlib_symbols[] = { ZLIB(LIB_SYMBOL) { 0 } };
 *	static const struct lib zlib = { "libz.so.1", "zlib1g", zlib_symbols };
 *
 * In a static lkvm (-DLKVM_STATIC) they are linked in: the C library's loader inside a static program only
 * works on a host with the same C library.
 */
#ifndef LKVM_LIB_H
#define LKVM_LIB_H

#include <stdbool.h>
#include <stddef.h>

struct lib_symbol {
	const char *name;
	void (*linked)(void); /* in a static lkvm */
};

struct lib {
	const char *file;                 /* "libz.so.1" */
	const char *package;              /* Debian's that has it: "zlib1g" */
	const struct lib_symbol *symbols; /* all that are needed; ends with one without name */
	bool stays; /* it cannot be unloaded, with what it brings along */
};

#ifdef LKVM_STATIC
#define LIB_SYMBOL(name) { #name, (void (*)(void))name },
#else
#define LIB_SYMBOL(name) { #name, NULL },
#endif
#define LIB_FIELD(name) typeof(name) *name;

/**
 * lib_open() - load it, and find all of its symbols
 * @ret_functions: a struct of function pointers, in the order of the symbols
 * @ret_handle: for lib_close()
 * Return: 0; -ENOENT: it is not on this host; -ENOSYS: it lacks a symbol; not logged
 */
int lib_open(const struct lib *lib, void *ret_functions, void **ret_handle);
/** lib_close() - nobody calls its functions any more; NULL is fine */
void lib_close(void *handle);

/** lib_usable() - would lib_open() succeed? */
bool lib_usable(const struct lib *lib);

/** lib_why() - what lib_open() has said: "libz.so.1 is missing (Debian package zlib1g)" */
void lib_why(const struct lib *lib, int err, char *ret, size_t cap);

#endif
