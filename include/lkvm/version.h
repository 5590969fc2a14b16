/* Which lkvm this is; builtin-version.c, which alone is compiled anew for each commit. */
#ifndef LKVM_VERSION_H
#define LKVM_VERSION_H

/* "0.1", or "0.1 (git COMMIT)" */
extern const char lkvm_version[];

#endif
