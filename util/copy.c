/* Copying to and from memory that may not be there; see copy.h. */
#include "lkvm/copy.h"

#include <errno.h>
#include <stdint.h>
#include <sys/uio.h>
#include <unistd.h>

/* The kernel finds out, and says so: what is touched here would end the process with a signal. */
static int outcome(ssize_t done, size_t len)
{
	return done >= 0 && (size_t)done == len ? 0 : -EFAULT;
}

int copy_read(void *dst, const void *from, size_t len)
{
	const struct iovec here = { dst, len }, there = { (void *)(uintptr_t)from, len };

	return outcome(process_vm_readv(getpid(), &here, 1, &there, 1, 0), len);
}

int copy_write(void *to, const void *src, size_t len)
{
	const struct iovec here = { (void *)(uintptr_t)src, len }, there = { to, len };

	return outcome(process_vm_writev(getpid(), &here, 1, &there, 1, 0), len);
}
