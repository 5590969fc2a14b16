/*
 * A device for suites that test instructions and interrupts: ports and memory that read back what
 * was written, interrupt lines that the guest itself raises, and a way to have the host drop its
 * mapping of a page. Such suites know it from other machines as pc-testdev; see lkvm-run(1).
 *
 *	offset 0   ports 0xe0 to 0xe3: four bytes, read back at any width; again at 0xe8
 *	       4   port 0xe4: flush the page of this guest-physical address
 *	       12  ports 0x2000 to 0x2017: one each GSI; a byte other than 0 raises it, 0 lowers it
 *	       36  memory that reads back
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "lkvm/chips.h"
#include "lkvm/log.h"
#include "lkvm/ram.h"
#include "lkvm/state.h"

#define OFF_FLUSH  4
#define OFF_LINES  TEST_DEVICE_PORTS
#define OFF_MEMORY (OFF_LINES + TEST_DEVICE_LINES)
#define PAGE_BYTES 4096ULL

struct test_device_state {
	uint8_t port[4];
	uint8_t line[TEST_DEVICE_LINES]; /* 1: up */
	uint8_t memory[TEST_DEVICE_MEMORY];
};

struct test_device {
	pthread_mutex_t lock;
	struct device_env env;
	struct test_device_state st;
};

/* NULL: nothing reads back there. */
static uint8_t *kept(struct test_device *d, uint64_t off)
{
	if (off >= OFF_MEMORY)
		return &d->st.memory[off - OFF_MEMORY];
	return off < OFF_LINES && off / 4 != OFF_FLUSH / 4 ? &d->st.port[off % 4] : NULL;
}

static uint64_t test_device_read(void *dev, uint64_t off, unsigned len)
{
	struct test_device *d = dev;
	uint64_t value = 0;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)(kept(d, off + i) ? *kept(d, off + i) : 0xff) << 8 * i;
	pthread_mutex_unlock(&d->lock);
	return value;
}

/*
 * A change of protection makes KVM forget the page. It stays readable and writable meanwhile: other
 * CPUs and devices may be using it.
 */
static void flush_page(const struct test_device *d, uint64_t at)
{
	void *page;
	int err = ram_window(d->env.ram, GPA(at & ~(PAGE_BYTES - 1)), PAGE_BYTES, 1, &page);

	if (!err && (mprotect(page, PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC) ||
		     mprotect(page, PAGE_BYTES, PROT_READ | PROT_WRITE)))
		err = -errno;
	if (err)
		log_debug(LOG_DEVICE, "test device: flush of 0x%llx: %s", (unsigned long long)at,
			  strerror(-err));
}

static void set_line(struct test_device *d, unsigned gsi, bool level)
{
	struct irq_line line = d->env.irq;

	d->st.line[gsi] = level;
	line.gsi = gsi;
	irq_set(&line, level);
}

static void write_line(struct test_device *d, unsigned gsi, bool level)
{
	pthread_mutex_lock(&d->lock);
	set_line(d, gsi, level);
	pthread_mutex_unlock(&d->lock);
}

static void test_device_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct test_device *d = dev;

	if (off == OFF_FLUSH) {
		flush_page(d, value);
		return;
	}
	if (off >= OFF_LINES && off < OFF_MEMORY) {
		write_line(d, (unsigned)(off - OFF_LINES), (uint8_t)value);
		return;
	}
	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < len; i++)
		if (kept(d, off + i))
			*kept(d, off + i) = (uint8_t)(value >> 8 * i);
	pthread_mutex_unlock(&d->lock);
}

static int test_device_init(void *dev, const struct device_env *env)
{
	struct test_device *d = dev;

	d->env = *env;
	return -pthread_mutex_init(&d->lock, NULL);
}

static void test_device_fini(void *dev)
{
	struct test_device *d = dev;

	pthread_mutex_destroy(&d->lock);
}

static const struct state_field fields[] = {
	STATE_ARRAY(struct test_device_state, port),
	STATE_ARRAY(struct test_device_state, line, .max = 1),
	STATE_ARRAY(struct test_device_state, memory),
};

static int load(void *dev, const void *state)
{
	const struct test_device_state *st = state;
	struct test_device *d = dev;

	pthread_mutex_lock(&d->lock);
	for (unsigned gsi = 0; gsi < TEST_DEVICE_LINES; gsi++)
		if (d->st.line[gsi] != st->line[gsi])
			set_line(d, gsi, st->line[gsi]);
	d->st = *st;
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static const struct state_type state_type = {
	STATE_TYPE("test-device", 1, struct test_device_state, fields),
	.at = offsetof(struct test_device, st),
	.load = load,
};

const struct device_type test_device_type = {
	.name = "test-device",
	.size = sizeof(struct test_device),
	.io = { .read = test_device_read, .write = test_device_write },
	.init = test_device_init,
	.fini = test_device_fini,
	.state = &state_type,
};
