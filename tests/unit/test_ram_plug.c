/* Links: hw/ram.o hw/ram-plug.o hw/ram-fault.o hw/ram-log.o hw/ram-discard.o hw/ram-save.o hw/ram-touched.o util/file.o */
/* Blocks of memory that come and go: who sees them, what is in them, and who is late. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../hw/ram-internal.h"
#include "ram-base.h"
#include "unit.h"

#define RAM_BYTES (64 * MIB)
#define START     (8 * GIB)
#define BLOCK     (2 * MIB)
#define BLOCKS    7U

static struct ram_config cfg = { .region = { START, BLOCKS * BLOCK, BLOCK } };
static struct ram *ram;

static void setup(int fd)
{
	struct ram_backing backing = { .fd = fd, .advice = &cfg };

	cfg.saved = fd >= 0;
	ck_assert_int_eq(ram_new(RAM_BYTES, &backing, &ram), 0);
	ck_assert_int_eq(ram_fault_report(ram, NULL), 0);
}

static void teardown(void)
{
	ram_fault_report(NULL, NULL);
	ram_free(ram);
}

static gpa_t block(unsigned n)
{
	return GPA(START + n * BLOCK);
}

static uint8_t *at(unsigned n)
{
	return ram_base(ram) + START + n * BLOCK;
}

/* A system call looks there, and no thread. */
static bool is_there(const void *host)
{
	const int fd = memfd_create("look", MFD_CLOEXEC);
	const bool is = write(fd, host, 1) == 1;

	ck_assert(is || errno == EFAULT);
	close(fd);
	return is;
}

static uint64_t resident_kib(void)
{
	unsigned char page[BLOCK / 4096];
	uint64_t n = 0;

	for (unsigned i = 0; i < BLOCKS; i++) {
		ck_assert_int_eq(mincore(at(i), BLOCK, page), 0);
		for (unsigned k = 0; k < sizeof(page); k++)
			n += is_there(at(i)) && (page[k] & 1);
	}
	return n * 4;
}

START_TEST(test_bounds)
{
	static const struct {
		uint64_t at, len;
		bool is;
	} table[] = {
		{ START, 1, true }, { START, 0, true }, { START, 2 * BLOCK, true }, { START, 2 * BLOCK + 1, false },
		{ START - 1, 1, false }, { START - 1, 2, false }, { START + BLOCK - 1, 2, true },
		{ START + 2 * BLOCK, 1, false }, { START + 2 * BLOCK, 0, false }, { START + 2 * BLOCK - 1, 2, false },
		{ START + 2 * BLOCK - 1, 1, true }, { START + 6 * BLOCK, BLOCK, true }, { START + 6 * BLOCK, BLOCK + 1, false },
		{ START + 7 * BLOCK - 1, 1, true }, { START + 7 * BLOCK, 0, false }, { START + 7 * BLOCK, 1, false },
		{ START, UINT64_MAX, false }, { START + 1, UINT64_MAX, false }, { START + 6 * BLOCK, UINT64_MAX - 1, false },
		{ UINT64_MAX, 1, false }, { UINT64_MAX, UINT64_MAX, false }, { 0, RAM_BYTES, true }, { RAM_BYTES, 1, false },
	};
	char byte = 1;

	setup(-1);
	ck_assert_ptr_null(ram_host(ram, block(0), 1));
	ck_assert_int_eq(ram_read(ram, block(0), &byte, 1), -EFAULT);
	ck_assert_int_eq(ram_plug(ram, 0, 2), 0);
	ck_assert_int_eq(ram_plug(ram, 6, 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_ptr_eq(ram_host(ram, GPA(table[i].at), table[i].len),
				 table[i].is ? ram_base(ram) + table[i].at : NULL);
	ck_assert_uint_eq(ram_plugged(ram, 0, BLOCKS), 3);
	ck_assert_uint_eq(ram_plugged(ram, 1, 5), 1);
	ck_assert_uint_eq(ram_plugged(ram, 6, UINT32_MAX), 1);
	ck_assert_uint_eq(ram_plugged(ram, UINT32_MAX, 2), 0);
	ck_assert_uint_eq(ram_plugged_bytes(ram), 3 * BLOCK);
	ck_assert_uint_eq(ram_bytes(ram), RAM_BYTES);
	ck_assert_uint_eq(ram_end(ram), START + BLOCKS * BLOCK);
	teardown();
}
END_TEST

START_TEST(test_memory)
{
	gpa_t gpa;

	setup(-1);
	ck_assert_int_eq(ram_plug(ram, 2, 3), 0);
	ck_assert(!is_there(at(1)) && is_there(at(2)) && is_there(at(5) - 1) && !is_there(at(5)));
	ck_assert_int_eq(at(2)[5], 0);
	memset(at(2), 'x', 3 * BLOCK);
	ck_assert_int_eq(ram_gpa_of(ram, at(2) + 5, &gpa), 0);
	ck_assert_uint_eq(gpa.v, START + 2 * BLOCK + 5);
	ck_assert_uint_eq(resident_kib(), 3 * BLOCK / KIB);
	ck_assert_int_eq(ram_unplug(ram, 3, 1), 0);
	ck_assert(is_there(at(2)) && !is_there(at(3)) && is_there(at(4)));
	ck_assert_uint_eq(resident_kib(), 2 * BLOCK / KIB);
	ck_assert_int_eq(at(4)[0], 'x');
	/* Nothing of what was there comes again. */
	ck_assert_int_eq(ram_plug(ram, 3, 1), 0);
	for (unsigned i = 0; i < BLOCK; i += 4096)
		ck_assert_int_eq(at(3)[i], 0);
	teardown();
}
END_TEST

static unsigned areas_are(const struct ram_part *want)
{
	struct ram_part got[RAM_MAX_AREAS];
	const unsigned n = ram_areas(ram, got);

	for (unsigned i = 0; i < n; i++)
		ck_assert(got[i].start.v == want[i].start.v && got[i].size_bytes == want[i].size_bytes);
	return n;
}

START_TEST(test_areas)
{
	const struct ram_part want[] = { { GPA(0), RAM_BYTES }, { block(1), 2 * BLOCK }, { block(4), BLOCK },
					 { block(6), BLOCK } };
	unsigned n;

	setup(-1);
	ck_assert_uint_eq(areas_are(want), 1);
	ck_assert_int_eq(ram_plug(ram, 2, 1), 0);
	ck_assert_int_eq(ram_plug(ram, 1, 1), 0);
	ck_assert_int_eq(ram_plug(ram, 4, 3), 0);
	ck_assert_int_eq(ram_unplug(ram, 5, 1), 0);
	ck_assert_uint_eq(areas_are(want), 4);
	ram_parts(ram, &n);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(ram_file_at(ram, GPA(5)), 5);
	ck_assert_uint_eq(ram_file_at(ram, block(0)), RAM_BYTES);
	ck_assert_uint_eq(ram_file_at(ram, GPA(block(6).v + 7)), RAM_BYTES + 6 * BLOCK + 7);
	ck_assert_uint_eq(ram_file_bytes(ram), RAM_BYTES + BLOCKS * BLOCK);
	teardown();
}
END_TEST

/* The most that there can be: each second block of as many as may be */
START_TEST(test_most)
{
	struct ram_part got[RAM_MAX_AREAS];

	cfg.region.bytes = RAM_MAX_BLOCKS * BLOCK;
	setup(-1);
	for (unsigned i = 1; i < RAM_MAX_BLOCKS; i += 2)
		ck_assert_int_eq(ram_plug(ram, i, 1), 0);
	ck_assert_uint_eq(ram_areas(ram, got), 1 + RAM_MAX_BLOCKS / 2);
	ck_assert_uint_eq(got[RAM_MAX_BLOCKS / 2].start.v, START + (RAM_MAX_BLOCKS - 1) * BLOCK);
	ck_assert_uint_eq(ram_plugged(ram, 0, UINT32_MAX), RAM_MAX_BLOCKS / 2);
	teardown();
	cfg.region.bytes = BLOCKS * BLOCK;
}
END_TEST

/* Who has an address from before goes on, and disturbs nobody. */
START_TEST(test_late)
{
	const atomic_uint *unplugs;
	unsigned before;

	setup(-1);
	unplugs = ram_unplugs(ram);
	before = atomic_load(unplugs);
	ck_assert_int_eq(ram_plug(ram, 1, 2), 0);
	ck_assert_uint_eq(atomic_load(unplugs), before);
	memset(at(1), 'x', 2 * BLOCK);
	ck_assert_int_eq(ram_unplug(ram, 1, 1), 0);
	ck_assert_uint_ne(atomic_load(unplugs), before);
	ck_assert_int_eq(*(volatile uint8_t *)(at(1) + 77), 0);
	*(volatile uint8_t *)(at(1) + 4096) = 'y';
	ck_assert_int_eq(at(2)[0], 'x');
	ck_assert_ptr_null(ram_host(ram, block(1), 1));
	/* It goes with the next block that comes or goes, */
	ck_assert_int_eq(ram_unplug(ram, 2, 1), 0);
	ck_assert(!is_there(at(1)));
	/* and is not in what is plugged there. */
	*(volatile uint8_t *)(at(1) + 4096) = 'z';
	ck_assert_int_eq(ram_plug(ram, 1, 1), 0);
	ck_assert_int_eq(at(1)[4096], 0);
	at(1)[5] = 'w';
	/* To mend what is there changes nothing, and nothing takes it away. */
	ck_assert(ram_mend(ram, at(1)));
	ck_assert_int_eq(ram_plug(ram, 2, 1), 0);
	ck_assert_int_eq(at(1)[5], 'w');
	ck_assert(!ram_mend(ram, at(0) - 1));
	ck_assert(!ram_mend(ram, at(BLOCKS)));
	ck_assert(!ram_mend(ram, ram_base(ram)));
	ck_assert(!ram_mend(ram, NULL));
	teardown();
}
END_TEST

/* What is before and behind the region stays deadly. */
START_TEST(test_guards)
{
	for (unsigned i = 0; i < 3; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			setup(-1);
			close(STDERR_FILENO);
			*(volatile uint8_t *)(i == 0 ? at(0) - 1 : i == 1 ? at(BLOCKS) : ram_base(ram) + RAM_BYTES) = 1;
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
}
END_TEST

static atomic_bool over;

static void *use(void *unused)
{
	(void)unused;
	while (!atomic_load(&over))
		for (unsigned i = 0; i < BLOCKS; i++) {
			*(volatile uint8_t *)(at(i) + 4096) = 1;
			(void)*(volatile uint8_t *)(at(i) + 8192);
		}
	return NULL;
}

/* Threads that never look whether a block is there */
START_TEST(test_race)
{
	pthread_t thread[2];

	atomic_store(&over, false);
	setup(-1);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, use, NULL), 0);
	for (unsigned i = 0; i < 3000; i++) {
		const unsigned n = i % BLOCKS;

		ck_assert_int_eq(ram_plug(ram, n, 1), 0);
		at(n)[100] = 'x';
		ck_assert_int_eq(at(n)[100], 'x');
		if (i % 3)
			at(n)[4097] = 'x';
		ck_assert_int_eq(at(n)[100], 'x');
		ck_assert_int_eq(ram_unplug(ram, n, 1), 0);
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	teardown();
}
END_TEST

static int saved(uint64_t want)
{
	int fd = memfd_create("saved", MFD_CLOEXEC);
	uint64_t written;
	struct stat st;

	ck_assert_int_eq(ram_save(ram, NULL, fd, 0, &written), 0);
	ck_assert_uint_eq(written, want);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, RAM_BYTES + BLOCKS * BLOCK);
	return fd;
}

START_TEST(test_save)
{
	uint8_t touched = 9;
	char byte;
	int fd, again;

	setup(-1);
	ck_assert_int_eq(ram_plug(ram, 1, 4), 0);
	ram_base(ram)[5] = 'r';
	at(1)[0] = 'a';
	at(2)[0] = 'b';
	at(4)[BLOCK - 1] = 'd';
	ck_assert_int_eq(ram_unplug(ram, 2, 1), 0);
	*(volatile uint8_t *)at(2) = 'l'; /* too late: that is not saved */
	ck_assert_int_eq(ram_touched(ram, block(1), 1, &touched), 0);
	ck_assert_int_eq(touched, 1);
	ck_assert_int_eq(ram_touched(ram, block(3), 1, &touched), 0);
	ck_assert_int_eq(touched, 0);
	ck_assert_int_eq(ram_touched(ram, block(2), 1, &touched), -EFAULT);
	fd = saved(3 * 4096);
	ck_assert_int_eq(pread(fd, &byte, 1, RAM_BYTES + 5 * BLOCK - 1), 1);
	ck_assert_int_eq(byte, 'd');
	teardown();

	cfg.plugged[0] = 1 << 1 | 1 << 3 | 1 << 4;
	setup(fd);
	ck_assert_uint_eq(ram_plugged(ram, 0, BLOCKS), 3);
	ck_assert(is_there(at(1)) && !is_there(at(2)) && is_there(at(3)));
	ck_assert(ram_base(ram)[5] == 'r' && at(1)[0] == 'a' && at(3)[0] == 0 && at(4)[BLOCK - 1] == 'd');
	/* The file stays as it is, and is not seen again where a block has come anew. */
	at(1)[0] = 'z';
	ck_assert_int_eq(ram_unplug(ram, 1, 1), 0);
	ck_assert_int_eq(ram_plug(ram, 1, 1), 0);
	ck_assert_int_eq(at(1)[0], 0);
	ck_assert_int_eq(ram_discard(ram, block(4), BLOCK), 0);
	ck_assert_int_eq(at(4)[BLOCK - 1], 0);
	at(1)[1] = 'q';
	ck_assert_int_eq(ram_discard(ram, block(1), BLOCK), 0);
	ck_assert_int_eq(at(1)[1], 0);
	ck_assert_int_eq(ram_discard(ram, block(1), 2 * BLOCK), -EFAULT);
	ck_assert_int_eq(ram_drop(ram, block(2), 1), -EFAULT);
	at(3)[0] = 'c';
	again = saved(2 * 4096);
	ck_assert_int_eq(pread(fd, &byte, 1, RAM_BYTES + BLOCK), 1);
	ck_assert_int_eq(byte, 'a');
	close(again);
	close(fd);
	teardown();
	memset(cfg.plugged, 0, sizeof(cfg.plugged));
}
END_TEST

/* A child has what there was when it was made, whatever comes and goes here. */
START_TEST(test_child)
{
	pid_t pid;
	int go[2], status;
	char byte;

	setup(-1);
	ck_assert_int_eq(pipe(go), 0);
	ck_assert_int_eq(ram_plug(ram, 0, 2), 0);
	at(1)[9] = 'x';
	ck_assert_int_eq(ram_let_fork(ram, true), 0);
	pid = fork();
	if (!pid) {
		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		_exit(ram_plugged(ram, 0, BLOCKS) == 2 && at(1)[9] == 'x' ? 0 : 2);
	}
	ck_assert_int_eq(ram_let_fork(ram, false), 0);
	ck_assert_int_eq(ram_unplug(ram, 1, 1), 0);
	ck_assert_int_eq(ram_plug(ram, 2, 1), 0);
	ck_assert_int_eq(write(go[1], "", 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	teardown();
}
END_TEST

START_TEST(test_log)
{
	uint64_t bitmap[BLOCK / 4096 / 64] = { 0 };

	setup(-1);
	ck_assert_int_eq(ram_plug(ram, 0, 1), 0);
	ck_assert_int_eq(ram_log(ram, true), 0);
	ram_wrote(ram, at(0) + 65 * 4096, 1);
	ram_log_take(ram, block(0), BLOCK, bitmap);
	ck_assert_uint_eq(bitmap[0], 0);
	ck_assert_uint_eq(bitmap[1], 2);
	/* What comes is not what was there. */
	ck_assert_int_eq(ram_plug(ram, 1, 1), 0);
	ram_log_take(ram, block(1), BLOCK, bitmap);
	ck_assert_uint_eq(bitmap[0], UINT64_MAX);
	teardown();
}
END_TEST

UNIT_MAIN("ram-plug", test_bounds, test_memory, test_areas, test_most, test_late, test_guards, test_race, test_save, test_child,
	  test_log)
