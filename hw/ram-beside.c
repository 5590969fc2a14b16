/* Memory beside RAM, for devices that are to read or write it; see ram.h. */
#include <errno.h>

#include "lkvm/copy.h"
#include "ram-internal.h"

static struct ram_besides *besides_of(const struct ram *ram)
{
	return (struct ram_besides *)(uintptr_t)&ram->besides;
}

void ram_beside_set(struct ram *ram, unsigned n, const struct ram_beside *beside)
{
	pthread_mutex_lock(&ram->besides.lock);
	ram->besides.table[n] = *beside;
	if (n >= ram->besides.n)
		ram->besides.n = n + 1;
	pthread_mutex_unlock(&ram->besides.lock);
}

void ram_beside_mend(struct ram *ram, void (*mend)(void *ctx), void *ctx)
{
	ram->besides.mend_ctx = ctx;
	ram->besides.mend = mend;
}

static bool is_in(const struct ram_beside *b, gpa_t at, uint64_t len)
{
	const uint64_t off = at.v - b->at.v;

	return off < b->bytes && len <= b->bytes - off;
}

/* Return: host address of [@at, @at + @len); NULL: that is not all in one of them, or not to be written */
static uint8_t *find(const struct ram *ram, gpa_t at, uint64_t len, bool write)
{
	struct ram_besides *besides = besides_of(ram);
	uint8_t *host = NULL;

	pthread_mutex_lock(&besides->lock);
	for (unsigned i = 0; !host && i < besides->n; i++) {
		const struct ram_beside *b = &besides->table[i];

		if (is_in(b, at, len) && !(write && b->read_only))
			host = b->host + (at.v - b->at.v);
	}
	pthread_mutex_unlock(&besides->lock);
	return host;
}

bool ram_beside_has(const struct ram *ram, gpa_t at, uint64_t len, bool write)
{
	return find(ram, at, len, write);
}

/* Another thread may have done it meanwhile: what the call says is no matter. */
static void mend(const struct ram *ram)
{
	if (ram->besides.mend)
		ram->besides.mend(ram->besides.mend_ctx);
}

int ram_beside_read(const struct ram *ram, gpa_t src, void *dst, size_t len)
{
	const uint8_t *host = find(ram, src, len, false);

	if (!host)
		return -EFAULT;
	if (!copy_read(dst, host, len))
		return 0;
	mend(ram);
	return copy_read(dst, host, len);
}

int ram_beside_write(const struct ram *ram, gpa_t dst, const void *src, size_t len)
{
	uint8_t *host = find(ram, dst, len, true);

	if (!host)
		return -EFAULT;
	if (!copy_write(host, src, len))
		return 0;
	mend(ram);
	return copy_write(host, src, len);
}
