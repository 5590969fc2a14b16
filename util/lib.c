/* Libraries that are opened when they are needed; see lib.h. */
#include "lkvm/lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef LKVM_STATIC

static void *load(const struct lib *lib)
{
	return (void *)(size_t)lib; /* is not looked at */
}

static void *find(void *handle, const struct lib_symbol *symbol)
{
	void *address;

	(void)handle;
	memcpy(&address, &symbol->linked, sizeof(address));
	return address;
}

void lib_close(void *handle)
{
	(void)handle;
}

#else

static void *load(const struct lib *lib)
{
	return dlopen(lib->file, RTLD_NOW | RTLD_LOCAL | (lib->stays ? RTLD_NODELETE : 0));
}

static void *find(void *handle, const struct lib_symbol *symbol)
{
	return dlsym(handle, symbol->name);
}

void lib_close(void *handle)
{
	if (handle)
		dlclose(handle);
}

#endif

int lib_open(const struct lib *lib, void *ret_functions, void **ret_handle)
{
	void *handle = load(lib), *address;
	char *to = ret_functions;

	if (!handle)
		return -ENOENT;
	for (const struct lib_symbol *symbol = lib->symbols; symbol->name; symbol++) {
		address = find(handle, symbol);
		if (!address) {
			lib_close(handle);
			return -ENOSYS;
		}
		/* ISO C has no conversion to a function pointer, and POSIX says that they are alike. */
		memcpy(to, &address, sizeof(address));
		to += sizeof(address);
	}
	*ret_handle = handle;
	return 0;
}

bool lib_usable(const struct lib *lib)
{
	void *handle = load(lib);
	bool complete = handle;

	for (const struct lib_symbol *symbol = lib->symbols; complete && symbol->name; symbol++)
		complete = find(handle, symbol);
	lib_close(handle);
	return complete;
}

void lib_why(const struct lib *lib, int err, char *ret, size_t cap)
{
	if (err == -ENOENT)
		snprintf(ret, cap, "%s is missing (Debian package %s)", lib->file, lib->package);
	else
		snprintf(ret, cap, "%s lacks what is needed (Debian package %s)", lib->file,
			 lib->package);
}
