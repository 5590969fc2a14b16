/* Links: disk/disk.o disk/raw.o disk/raw-io.o disk/request.o disk/format.o disk/lock.o disk/overlay.o disk/nbd.o disk/qemu-nbd.o disk/image.o disk/image-vmdk.o disk/image-graph.o util/confine.o util/json.o util/log.o util/loop.o */

/* The raw back end on its own: opening, pieces, alignment, the kernel's refusals. */
#include "unit.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../disk/raw.h"
#include "aio.h"
#include "disk-rig.h"

/* How many calls fail, and with what. These take the place of the C library's. */
static unsigned fail_preads, fail_flocks;
static int host_errno;

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	if (!fail_preads)
		return syscall(SYS_pread64, fd, buf, len, off);
	fail_preads--;
	errno = host_errno;
	return -1;
}

int flock(int fd, int how)
{
	if (!fail_flocks)
		return (int)syscall(SYS_flock, fd, how);
	fail_flocks--;
	errno = host_errno;
	return -1;
}

/* ---- opening ---- */

START_TEST(test_open_errors)
{
	catch_log();
	cfg.path = "/nowhere/at/all";
	ck_assert_int_eq(disk_open(&cfg, &disk), -ENOENT);
	ck_assert(logged("open disk '/nowhere/at/all': No such file"));
	cfg.path = "/";
	ck_assert_int_eq(disk_open(&cfg, &disk), -EINVAL);
	ck_assert(logged("neither a file nor a block device"));
	cfg.path = "/dev/null";
	ck_assert_int_eq(disk_open(&cfg, &disk), -EINVAL);
	use_memory(MIB);
	cfg.format = "rwa";
	ck_assert_int_eq(disk_open(&cfg, &disk), -EINVAL);
	ck_assert(logged("'rwa'"));
	close(image);
}
END_TEST

/* What is not there to be looked at is not taken for raw. */
START_TEST(test_unreadable)
{
	catch_log();
	use_memory(MIB);
	host_errno = EIO;
	fail_preads = 1;
	ck_assert_int_eq(disk_open(&cfg, &disk), -EIO);
	ck_assert(logged("read disk '/proc/self/fd/"));
	close(image);
}
END_TEST

/* Another reason than somebody's lock */
START_TEST(test_cannot_lock)
{
	catch_log();
	use_memory(MIB);
	host_errno = ENOLCK;
	fail_flocks = 1;
	ck_assert_int_eq(disk_open(&cfg, &disk), -ENOLCK);
	ck_assert(logged("lock disk '/proc/self/fd/"));
	close(image);
}
END_TEST

static void open_read_only_file(void)
{
	catch_log();
	ck_assert_int_eq(disk_open(&cfg, &disk), -EACCES);
	ck_assert(logged(",ro'"));
	cfg.read_only = true;
	ck_assert_int_eq(disk_open(&cfg, &disk), 0);
	disk_close(disk);
}

START_TEST(test_open_read_only_file)
{
	char name[] = "/tmp/lkvm-test-XXXXXX";
	int fd = mkstemp(name);

	catch_log();
	cfg.path = name;
	ck_assert_int_eq(disk_open(&cfg, &disk), -EINVAL);
	ck_assert(logged("' is empty\n"));
	ck_assert_int_eq(ftruncate(fd, SECTOR) | fchmod(fd, 0444), 0);
	close(fd);
	as_other_user(open_read_only_file);
	unlink(name);
}
END_TEST

static const struct {
	const char *bytes;
	unsigned off, len;
	const char *format;
} headers[] = {
	{ "QFI\xfb\0\0\0\3", 0, 8, "qcow2" },
	{ "KDMV\1\0\0\0", 0, 8, "vmdk" },
	{ "# Disk DescriptorFile\n", 0, 22, "vmdk" },
	{ "vhdxfile", 0, 8, "vhdx" },
	{ "conectix", 0, 8, "vpc" },
	{ "\x7f\x10\xda\xbe", 64, 4, "vdi" },
	{ "QED\0", 0, 4, "qed" },
};

START_TEST(test_foreign_header)
{
	catch_log();
	for (unsigned i = 0; i < ARRAY_SIZE(headers); i++) {
		char option[64];

		use_memory(MIB);
		ck_assert_int_eq(pwrite(image, headers[i].bytes, headers[i].len, headers[i].off),
				 headers[i].len);
		cfg.format = NULL;
		ck_assert_int_eq(disk_open(&cfg, &disk), -EINVAL);
		snprintf(option, sizeof(option), "say format=%s, or format=raw", headers[i].format);
		ck_assert(logged(option));
		cfg.format = "raw";
		ck_assert_int_eq(disk_open(&cfg, &disk), 0);
		disk_close(disk);
		close(image);
	}
	/* A short file has no header at all. */
	cfg.format = NULL;
	use_memory(3);
	ck_assert_int_eq(pwrite(image, "QFI", 3, 0), 3);
	start();
	ck_assert_uint_eq(disk->size_bytes, SECTOR);
	stop();
}
END_TEST

/* A guest cannot make its raw disk look like something else, in whatever pieces it tries. */
START_TEST(test_guard)
{
	static char bytes[3 * 4096], zeros[3 * 4096];

	catch_log();
	for (unsigned i = 0; i < ARRAY_SIZE(headers); i++) {
		struct iovec split[] = { { bytes, 2 }, { bytes + 2, 70 }, { bytes + 72, 8192 - 72 } };

		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes + headers[i].off, headers[i].bytes, headers[i].len);
		use_memory(MIB);
		cfg.format = NULL;
		start();
		ck_assert_int_eq(transfer(DISK_WRITE, 0, bytes, sizeof(bytes)), -EPERM);
		ck_assert(logged("format=raw allows it"));
		ck_assert_int_eq(transfer(DISK_WRITE, 0, bytes, SECTOR), -EPERM);
		ck_assert_int_eq(request(DISK_WRITE, 0, 8192, split, 3), -EPERM);
		assert_image(0, zeros, sizeof(zeros));
		ck_assert_int_eq(transfer(DISK_WRITE, SECTOR, bytes, SECTOR), 0);
		stop();
		use_memory(MIB);
		cfg.format = "raw";
		start();
		ck_assert_int_eq(transfer(DISK_WRITE, 0, bytes, sizeof(bytes)), 0);
		assert_image(0, bytes, sizeof(bytes));
		stop();
	}
	/* What is none goes through, beyond the guarded bytes too, and if the kernel takes it in bits. */
	cfg.format = NULL;
	fill(bytes, sizeof(bytes), 1);
	use_memory(MIB);
	start();
	ck_assert_int_eq(transfer(DISK_WRITE, 0, bytes, sizeof(bytes)), 0);
	assert_image(0, bytes, sizeof(bytes));
	fill(bytes, sizeof(bytes), 2);
	aio.transfer_most = 1000;
	ck_assert_int_eq(transfer(DISK_WRITE, 0, bytes, sizeof(bytes)), 0);
	assert_image(0, bytes, sizeof(bytes));
	stop();
}
END_TEST

/* The guest changes its buffer after the first look, while the write is done in bits. */
START_TEST(test_guard_race)
{
	static char bytes[4096];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct waited w;

	use_memory(MIB);
	start();
	fill(bytes, sizeof(bytes), 1);
	aio.transfer_most = 2;
	submit(&w, DISK_WRITE, 0, sizeof(bytes), &iov, 1);
	disk->ops->commit(disk);
	memcpy(bytes, "QFI\xfb", 4);
	aio.transfer_most = 0;
	ck_assert_int_eq(finish(&w), 0);
	fill(bytes, sizeof(bytes), 1);
	assert_image(0, bytes, sizeof(bytes));
	stop();
}
END_TEST

static int open_in_child(bool read_only)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		cfg.read_only = read_only;
		_exit(-disk_open(&cfg, &disk));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return -WEXITSTATUS(status);
}

START_TEST(test_lock)
{
	char pid[32];

	catch_log();
	snprintf(pid, sizeof(pid), "by process %d\n", (int)getpid());
	use_file(MIB);
	ck_assert_int_eq(disk_open(&cfg, &disk), 0);
	ck_assert_int_eq(open_in_child(false), -EBUSY);
	ck_assert(logged(pid));
	ck_assert_int_eq(open_in_child(true), -EBUSY);
	disk_close(disk);
	ck_assert_int_eq(open_in_child(false), 0);

	cfg.read_only = true;
	ck_assert_int_eq(disk_open(&cfg, &disk), 0);
	ck_assert_int_eq(open_in_child(true), 0);
	ck_assert_int_eq(open_in_child(false), -EBUSY);
	ck_assert(logged(pid));
	disk_close(disk);
	close(image);
}
END_TEST

/* ---- transfers ---- */

START_TEST(test_vectors)
{
	static uint8_t out[64 * 1024], in[64 * 1024];
	struct iovec iov[5] = { { in, 1 }, { in + 1, 4999 }, { in + 5000, 0 },
				{ in + 5000, 536 }, { in + 5536, 60000 } };

	use_memory(MIB);
	start();
	fill(out, sizeof(out), 3);
	ck_assert_int_eq(transfer(DISK_WRITE, 1024, out, sizeof(out)), 0);
	assert_image(1024, out, sizeof(out));
	ck_assert_int_eq(request(DISK_READ, 1024, sizeof(in), iov, 5), 0);
	ck_assert(!memcmp(in, out, sizeof(in)));
	ck_assert_int_eq(request(DISK_READ, 0, 0, NULL, 0), 0);
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	ck_assert_uint_gt(n_reaped, 0);
	stop();
}
END_TEST

START_TEST(test_short_transfers)
{
	static const size_t most[] = { 1, 511, 512, 513, 4096, 5000 };
	static uint8_t out[8192], in[8192];
	struct iovec iov[] = { { in, 3000 }, { in + 3000, 5192 } };

	use_memory(MIB);
	cfg.format = "raw"; /* else the first bytes are copied */
	start();
	for (unsigned i = 0; i < ARRAY_SIZE(most); i++) {
		aio.transfer_most = most[i];
		aio.requests = 0;
		fill(out, sizeof(out), i);
		ck_assert_int_eq(transfer(DISK_WRITE, 512, out, sizeof(out)), 0);
		assert_image(512, out, sizeof(out));
		memset(in, 0, sizeof(in));
		ck_assert_int_eq(request(DISK_READ, 512, sizeof(in), iov, 2), 0);
		ck_assert(!memcmp(in, out, sizeof(in)));
		ck_assert_uint_ge(aio.requests, 2 * sizeof(in) / most[i]);
	}
	/* An error in the middle is one. */
	aio.transfer_most = 4096;
	aio.event_result = -ENOSPC;
	aio.fail_events = 1;
	ck_assert_int_eq(transfer(DISK_WRITE, 0, out, sizeof(out)), -ENOSPC);
	stop();
}
END_TEST

/* Larger than what is in flight at a time, with more buffers than the scratch has */
START_TEST(test_huge)
{
	size_t len = 100 * MIB;
	uint8_t *out = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static struct iovec iov[DISK_MAX_SEGS];
	size_t each = len / DISK_MAX_SEGS / SECTOR * SECTOR, at = 0;

	ck_assert_ptr_ne(out, MAP_FAILED);
	use_memory(len);
	cfg.format = "raw";
	start();
	for (size_t i = 0; i < len; i += 4096)
		memcpy(out + i, &i, sizeof(i));
	for (unsigned i = 0; i < DISK_MAX_SEGS; i++, at += each)
		iov[i] = (struct iovec){ out + at, each };
	iov[DISK_MAX_SEGS - 1].iov_len += len - at;
	ck_assert_int_eq(request(DISK_WRITE, 0, len, iov, DISK_MAX_SEGS), 0);
	assert_image(0, out, len);
	memset(out, 0, len);
	ck_assert_int_eq(request(DISK_READ, 0, len, iov, DISK_MAX_SEGS), 0);
	assert_image(0, out, len);
	ck_assert_uint_ge(aio.requests, 2 * (len / (16 * MIB)));
	stop();
}
END_TEST

/* What is in flight is bounded in bytes, too: a reset waits for it. */
START_TEST(test_bytes_in_flight)
{
	size_t len = 1 * MIB;
	struct iovec iov = { mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			     len };
	struct waited w[80];

	use_memory(len);
	start();
	aio.hold = true;
	for (unsigned i = 0; i < 80; i++)
		submit(&w[i], DISK_READ, 0, len, &iov, 1);
	disk->ops->commit(disk);
	ck_assert_uint_eq(aio.requests, 16); /* a turn's */
	for (unsigned i = 0; i < 20; i++)
		loop_once(&loop, 0);
	ck_assert_uint_eq(aio.requests, 64);
	cancel_all();
	ck_assert_uint_eq(aio.requests, 64);
	ck_assert_int_eq(w[63].ret, 0);
	ck_assert_int_eq(w[64].ret, -ECANCELED);
	aio.hold = false;
	stop();
}
END_TEST

/* Who allows it is told by commit() what the page cache could answer, and not woken for it. */
START_TEST(test_eager)
{
	static uint8_t bytes[SECTOR];
	struct iovec iov = { bytes, SECTOR };
	struct waited w[2];

	use_memory(MIB);
	start();
	disk->eager = true;
	submit(&w[0], DISK_WRITE, 0, SECTOR, &iov, 1);
	disk->ops->commit(disk);
	ck_assert(w[0].done);
	ck_assert_int_eq(w[0].ret, 0);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	/* A flush takes its time, together with what needs none. */
	submit(&w[0], DISK_FLUSH, 0, 0, NULL, 0);
	submit(&w[1], DISK_READ, 0, SECTOR, &iov, 1);
	disk->ops->commit(disk);
	ck_assert(w[1].done);
	ck_assert_int_eq(finish(&w[0]), 0);
	/* Who does not is told by the loop. */
	disk->eager = false;
	submit(&w[0], DISK_READ, 0, SECTOR, &iov, 1);
	disk->ops->commit(disk);
	ck_assert(!w[0].done);
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert(w[0].done);
	stop();
}
END_TEST

/* A file whose completions come late is waited for once; from then on they wake the loop. */
START_TEST(test_eager_late)
{
	static uint8_t bytes[3][SECTOR];
	struct iovec iov[3];
	struct waited w[3];

	use_memory(MIB);
	start();
	disk->eager = true;
	for (unsigned i = 0; i < 3; i++) /* which are not waited for, and leave no trace */
		ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	aio.hold = true;
	for (unsigned i = 0; i < 3; i++) {
		iov[i] = (struct iovec){ bytes[i], SECTOR };
		submit(&w[i], DISK_READ, i * SECTOR, SECTOR, &iov[i], 1);
	}
	disk->ops->commit(disk);
	ck_assert(w[0].done && w[1].done && w[2].done);
	submit(&w[0], DISK_READ, 0, SECTOR, &iov[0], 1);
	disk->ops->commit(disk);
	ck_assert(!w[0].done);
	aio.hold = false;
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert(w[0].done);
	stop();
}
END_TEST

static unsigned n_done_when_reaped;

static void note_reaped(struct disk *d)
{
	ck_assert_ptr_eq(d, disk);
	n_reaped++;
	n_done_when_reaped = n_done;
}

/* The user hears of what is done before the rest of a large batch is copied. */
START_TEST(test_eager_batches)
{
	static uint8_t in[128 * KIB];
	struct iovec iov = { in, sizeof(in) };
	struct waited w[4];

	use_memory(MIB);
	start();
	disk->eager = true;
	disk->reaped = note_reaped;
	for (unsigned i = 0; i < 4; i++)
		submit(&w[i], DISK_READ, 0, sizeof(in), &iov, 1);
	disk->ops->commit(disk);
	ck_assert_uint_eq(n_reaped, 1);
	ck_assert_uint_eq(n_done_when_reaped, 2);
	ck_assert_uint_eq(n_done, 4);
	for (unsigned i = 0; i < 2; i++)
		submit(&w[i], DISK_READ, 0, sizeof(in), &iov, 1);
	disk->ops->commit(disk);
	ck_assert_uint_eq(n_reaped, 1);
	stop();
}
END_TEST

static atomic_bool asked;

/* One commit() does not keep the worker for more than so many bytes; the rest follows by itself. */
START_TEST(test_eager_turn)
{
	size_t len = 16 * MIB;
	struct iovec iov = { mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			     len };
	struct waited w[10];

	use_memory(len);
	start();
	disk->eager = true;
	for (unsigned i = 0; i < 10; i++)
		submit(&w[i], DISK_READ, 0, len, &iov, 1);
	disk->ops->commit(disk);
	ck_assert_uint_eq(n_done, 1);
	disk->ops->commit(disk); /* still the same turn */
	ck_assert_uint_eq(n_done, 1);
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert_uint_eq(n_done, 2);
	/* Somebody asks for the worker: it begins nothing more. */
	atomic_store(&asked, true);
	disk->asked = &asked;
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert_uint_eq(n_done, 2);
	atomic_store(&asked, false);
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert_uint_eq(n_done, 3);
	cancel_all();
	ck_assert_int_eq(w[2].ret, 0);
	ck_assert_int_eq(w[3].ret, -ECANCELED);
	stop();
}
END_TEST

/* The same for what needs no transfer: discarding is done in pieces. */
START_TEST(test_discard_turn)
{
	struct waited w[3];
	unsigned turns = 0;

	use_memory(2ULL * GIB);
	start();
	disk->eager = true;
	for (unsigned i = 0; i < 3; i++)
		submit(&w[i], DISK_DISCARD, 4096 * i, GIB, NULL, 0);
	disk->ops->commit(disk);
	ck_assert_uint_eq(n_done, 0);
	for (; n_done < 3; turns++)
		ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert_uint_ge(turns, 11);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(w[i].ret, 0);
	/* The rest of one that has begun can be cancelled. */
	submit(&w[0], DISK_DISCARD, 0, GIB, NULL, 0);
	disk->ops->commit(disk);
	cancel_all();
	ck_assert_int_eq(w[0].ret, -ECANCELED);
	stop();
}
END_TEST

/* What completes at once, as what goes through the page cache does, keeps nobody in the loop. */
START_TEST(test_huge_turn)
{
	size_t len = 4 * MIB;
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static struct iovec iov[1024];
	struct waited w[2];
	unsigned turns = 0;

	for (unsigned i = 0; i < 1024; i++)
		iov[i] = (struct iovec){ mem, len };
	use_memory(4ULL * GIB);
	start();
	aio.looks_until = 1; /* there is always one more */
	for (unsigned i = 0; i < 2; i++)
		submit(&w[i], DISK_READ, 0, 4ULL * GIB, iov, 1024);
	disk->ops->commit(disk);
	for (; turns < 10; turns++) {
		unsigned before = aio.requests;

		ck_assert_int_ge(loop_once(&loop, -1), 1);
		ck_assert_uint_le(aio.requests - before, 8);
	}
	ck_assert_uint_eq(n_done, 0);
	aio.looks_until = 0;
	cancel_all();
	ck_assert_int_eq(w[0].ret, -ECANCELED);
	ck_assert_int_eq(w[1].ret, -ECANCELED);
	stop();
}
END_TEST

/* Held, nothing is begun, nor lost; only what is marked is cancelled. */
START_TEST(test_hold)
{
	static uint8_t bytes[SECTOR];
	struct iovec iov = { bytes, SECTOR };
	struct waited w[4];

	use_memory(MIB);
	start();
	aio.hold = true;
	submit(&w[0], DISK_READ, 0, SECTOR, &iov, 1);
	disk->ops->commit(disk);
	for (unsigned i = 1; i < 4; i++)
		submit(&w[i], DISK_READ, 0, SECTOR, &iov, 1);
	w[2].req.cancelled = true;
	disk->ops->drain(disk, false);
	aio.hold = false;
	ck_assert_int_eq(w[0].ret, 0);
	ck_assert_uint_eq(n_done, 2);
	ck_assert_int_eq(w[2].ret, -ECANCELED);
	disk->ops->commit(disk);
	ck_assert_uint_eq(aio.requests, 1);
	disk->held = false;
	ck_assert_int_eq(finish(&w[1]), 0);
	ck_assert_int_eq(finish(&w[3]), 0);
	stop();
}
END_TEST

/* Copies are memory of ours: there are only so many at a time. */
START_TEST(test_bounce_memory)
{
	static uint8_t bytes[256 * KIB + 1] __attribute__((aligned(4096)));
	struct iovec iov = { bytes + 1, 256 * KIB };
	struct waited w[16];

	use_file(MIB);
	cfg.direct = true;
	start();
	aio.hold = true;
	for (unsigned i = 0; i < 16; i++)
		submit(&w[i], DISK_WRITE, 0, 256 * KIB, &iov, 1);
	disk->ops->commit(disk);
	ck_assert_uint_eq(aio.requests, 4);
	aio.hold = false;
	for (unsigned i = 0; i < 16; i++)
		ck_assert_int_eq(finish(&w[i]), 0);
	stop();
}
END_TEST

static struct waited lingered[32];

static void start_to_linger(void)
{
	static uint8_t bytes[SECTOR];
	static const struct iovec iov = { bytes, SECTOR };

	use_memory(MIB);
	start();
	disk->reaped = note_reaped;
	aio.take_most = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(lingered); i++)
		submit(&lingered[i], DISK_READ, 0, SECTOR, &iov, 1);
	disk->ops->commit(disk);
}

/* Who was woken for one completion takes those that come soon, and tells of each at once. */
START_TEST(test_linger)
{
	start_to_linger();
	aio.looks_until = 5;
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert_uint_eq(n_done, ARRAY_SIZE(lingered));
	ck_assert_uint_eq(n_reaped, ARRAY_SIZE(lingered));
	ck_assert_uint_eq(aio.looks, 5 * (ARRAY_SIZE(lingered) - 1));
	stop();
}
END_TEST

/* If none comes that ends soon, and is not tried again the next times. */
START_TEST(test_linger_in_vain)
{
	unsigned tried = 0;

	start_to_linger();
	for (unsigned i = 1; i <= 17; i++) {
		aio.looks = 0;
		raw_completions_ready(&raw_of(disk)->event, EPOLLIN);
		ck_assert_uint_eq(n_done, i);
		tried += aio.looks > 0;
	}
	ck_assert_uint_eq(tried, 3);
	stop();
}
END_TEST

/* A flush takes long: it alone is not worth it. */
START_TEST(test_linger_flush)
{
	struct waited w;

	use_memory(MIB);
	start();
	submit(&w, DISK_FLUSH, 0, 0, NULL, 0);
	disk->ops->commit(disk);
	aio.hold = true;
	raw_completions_ready(&raw_of(disk)->event, EPOLLIN);
	ck_assert(!w.done);
	ck_assert_uint_eq(aio.looks, 0);
	aio.hold = false;
	stop();
}
END_TEST

/* More requests than may be in flight, of which each has many buffers, all in one batch */
START_TEST(test_many)
{
	static struct waited w[600];
	static uint8_t bytes[600][SECTOR];
	static struct iovec iov[600][8];

	use_memory(600 * SECTOR);
	cfg.format = "raw";
	start();
	for (unsigned i = 0; i < 600; i++) {
		fill(bytes[i], SECTOR, i);
		for (unsigned j = 0; j < 8; j++)
			iov[i][j] = (struct iovec){ bytes[i] + j * 64, 64 };
		submit(&w[i], DISK_WRITE, i * SECTOR, SECTOR, iov[i], 8);
	}
	aio.transfer_most = 300; /* the second transfer of each needs scratch */
	disk->ops->commit(disk);
	while (n_done < 600)
		loop_once(&loop, -1);
	for (unsigned i = 0; i < 600; i++)
		ck_assert_int_eq(w[i].ret, 0);
	assert_image(0, bytes, sizeof(bytes));
	stop();
}
END_TEST

START_TEST(test_busy)
{
	static struct waited w[64];
	static uint8_t bytes[64][SECTOR];
	struct iovec iov[64];

	use_memory(64 * SECTOR);
	cfg.format = "raw";
	start();
	aio.submit_most = 5;
	aio.submit_errno = -EAGAIN;
	for (unsigned i = 0; i < 64; i++) {
		iov[i] = (struct iovec){ bytes[i], SECTOR };
		fill(bytes[i], SECTOR, i);
		submit(&w[i], DISK_WRITE, i * SECTOR, SECTOR, &iov[i], 1);
		if (i % 8 == 7) {
			aio.fail_submits = 1;
			disk->ops->commit(disk);
		}
	}
	while (n_done < 64)
		loop_once(&loop, -1);
	/* Only the first was refused while there was nothing to wait for. */
	ck_assert_uint_eq(aio.requests, 63);
	assert_image(0, bytes, sizeof(bytes));
	stop();
}
END_TEST

/* ---- ends of files ---- */

START_TEST(test_odd_size)
{
	uint8_t bytes[1024], expected[1024];

	use_memory(1000);
	fill(expected, sizeof(expected), 5);
	ck_assert_int_eq(pwrite(image, expected, 1000, 0), 1000);
	memset(expected + 1000, 0, 24);
	start();
	ck_assert_uint_eq(disk->size_bytes, 1024);
	memset(bytes, 0xee, sizeof(bytes));
	ck_assert_int_eq(transfer(DISK_READ, 0, bytes, 1024), 0);
	ck_assert(!memcmp(bytes, expected, 1024));
	memset(bytes, 0xee, sizeof(bytes));
	ck_assert_int_eq(transfer(DISK_READ, 512, bytes, 512), 0);
	ck_assert(!memcmp(bytes, expected + 512, 512));
	fill(bytes, sizeof(bytes), 6);
	ck_assert_int_eq(transfer(DISK_WRITE, 512, bytes, 512), 0);
	assert_image(512, bytes, 512);
	stop();
}
END_TEST

START_TEST(test_shrunk)
{
	uint8_t bytes[4096];

	use_memory(MIB);
	start();
	ck_assert_int_eq(ftruncate(image, 1024), 0);
	ck_assert_int_eq(transfer(DISK_READ, 0, bytes, 1024), 0);
	ck_assert_int_eq(transfer(DISK_READ, 0, bytes, 4096), -EIO);
	ck_assert_int_eq(transfer(DISK_READ, 1024, bytes, 512), -EIO);
	ck_assert_int_eq(transfer(DISK_READ, MIB - 512, bytes, 512), -EIO);
	/* Nor is what is missing taken for the end of a last sector, once the size is known. */
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	ck_assert_uint_eq(disk->size_bytes, 1024);
	ck_assert_int_eq(transfer(DISK_READ, 1024, bytes, 512), -EIO);
	stop();
}
END_TEST

START_TEST(test_full)
{
	static uint8_t bytes[64 * 1024];
	const struct rlimit most = { 100 * 1024, 100 * 1024 };

	signal(SIGXFSZ, SIG_IGN);
	use_file(0);
	ck_assert_int_eq(ftruncate(image, MIB), 0);
	start();
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &most), 0);
	ck_assert_int_eq(transfer(DISK_WRITE, 0, bytes, sizeof(bytes)), 0);
	/* The first part of it fits. */
	ck_assert_int_eq(transfer(DISK_WRITE, 64 * 1024, bytes, sizeof(bytes)), -EFBIG);
	ck_assert_int_eq(transfer(DISK_WRITE, 512 * 1024, bytes, sizeof(bytes)), -EFBIG);
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	ck_assert_int_eq(transfer(DISK_WRITE, 0, bytes, sizeof(bytes)), 0);
	stop();
}
END_TEST

/* ---- zeros ---- */

static void assert_zeros(uint64_t off, uint64_t len, uint64_t total)
{
	uint8_t *bytes = malloc(total);
	uint64_t wrong = 0;

	ck_assert_int_eq(pread(image, bytes, total, 0), (ssize_t)total);
	for (uint64_t i = 0; i < total; i++)
		wrong += (bytes[i] == 0) != (i >= off && i - off < len);
	free(bytes);
	ck_assert_uint_eq(wrong, 0);
}

static void all_ones(size_t len)
{
	void *ones = malloc(len);

	memset(ones, 0xff, len);
	ck_assert_int_eq(pwrite(image, ones, len, 0), (ssize_t)len);
	free(ones);
}

START_TEST(test_zeroes)
{
	static const unsigned refused[] = { 0, FALLOC_FL_ZERO_RANGE, FALLOC_FL_PUNCH_HOLE,
					    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE };
	struct stat st;

	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
		aio.refused_modes = refused[i];
		use_file(4 * MIB);
		start();
		ck_assert_int_eq(disk->can_discard, !(aio.refused_modes & FALLOC_FL_PUNCH_HOLE));
		for (unsigned unmap = 0; unmap < 2; unmap++) {
			all_ones(4 * MIB);
			ck_assert_int_eq(zero(512, 512, unmap), 0);
			assert_zeros(512, 512, 4 * MIB);
			all_ones(4 * MIB);
			ck_assert_int_eq(zero(3 * 512, 2 * MIB + 1024, unmap), 0);
			assert_zeros(3 * 512, 2 * MIB + 1024, 4 * MIB);
			ck_assert_int_eq(zero(0, 0, unmap), 0);
			/* Written only where nothing else is left */
			ck_assert_int_eq(aio.requests > 0,
					 refused[i] & FALLOC_FL_ZERO_RANGE && (!unmap || i == 3));
			aio.requests = 0;
		}
		if (aio.refused_modes & FALLOC_FL_PUNCH_HOLE)
			ck_assert_int_eq(request(DISK_DISCARD, 0, 4096, NULL, 0), -EOPNOTSUPP);
		ck_assert_int_eq(fstat(image, &st), 0);
		ck_assert_int_eq(st.st_size, 4 * MIB);
		stop();
	}
	aio.refused_modes = 0;
	use_file(MIB);
	start();
	aio.fallocate_errno = ENOSPC;
	ck_assert_int_eq(zero(0, 4096, true), -ENOSPC);
	ck_assert_int_eq(request(DISK_DISCARD, 0, 4096, NULL, 0), -ENOSPC);
	stop();
}
END_TEST

START_TEST(test_discard)
{
	struct stat full, less;

	use_file(4 * MIB);
	all_ones(4 * MIB);
	fsync(image);
	start();
	ck_assert_int_eq(fstat(image, &full), 0);
	ck_assert_int_eq(request(DISK_DISCARD, MIB, 2 * MIB, NULL, 0), 0);
	ck_assert_int_eq(fstat(image, &less), 0);
	ck_assert_int_eq(full.st_blocks - less.st_blocks, 2 * MIB / 512);
	ck_assert_int_eq(less.st_size, 4 * MIB);
	assert_zeros(MIB, 2 * MIB, 4 * MIB);
	ck_assert_int_eq(request(DISK_DISCARD, MIB, 0, NULL, 0), 0);
	stop();
}
END_TEST

/* ---- direct I/O ---- */

START_TEST(test_direct)
{
	static const unsigned shift[] = { 0, 1, 2, 511, 512, 4095 };
	uint8_t *out, *in;

	ck_assert_int_eq(posix_memalign((void **)&out, 4096, 2 * MIB), 0);
	ck_assert_int_eq(posix_memalign((void **)&in, 4096, 2 * MIB), 0);
	use_file(4 * MIB);
	cfg.direct = true;
	start();
	for (unsigned i = 0; i < ARRAY_SIZE(shift); i++) {
		size_t len = (i % 2 ? 1048576 : 4096) + 8192;
		struct iovec iov[] = { { in + shift[i], len - 100 }, { in + MIB + 65536, 100 } };

		fill(out + shift[i], len, i);
		ck_assert_int_eq(transfer(DISK_WRITE, 4096, out + shift[i], len), 0);
		assert_image(4096, out + shift[i], len);
		memset(in, 0, 2 * MIB);
		ck_assert_int_eq(request(DISK_READ, 4096, len, iov, 2), 0);
		ck_assert(!memcmp(in + shift[i], out + shift[i], len - 100));
		ck_assert(!memcmp(in + MIB + 65536, out + shift[i] + len - 100, 100));
		ck_assert_int_eq(in[shift[i] + len - 100], 0);
	}
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	stop();

	/* Copied, but not looked at */
	use_file(MIB);
	cfg.format = "raw";
	start();
	memcpy(out + 1, "QFI\xfb", 4);
	ck_assert_int_eq(transfer(DISK_WRITE, 0, out + 1, 4096), 0);
	stop();

	cfg.format = NULL;
	use_file(4096 + 100);
	ck_assert_int_eq(pwrite(image, "end", 3, 4097), 3);
	fsync(image);
	start();
	memset(in, 0xee, 8192);
	ck_assert_int_eq(transfer(DISK_READ, 0, in, disk->size_bytes), 0);
	ck_assert(!memcmp(in + 4096, "\0end\0", 5));
	ck_assert_int_eq(in[4607], 0);
	stop();
	free(out);
	free(in);
}
END_TEST

/* Where the host's blocks for direct I/O are of 4096 bytes, and where it can do none at all */
START_TEST(test_direct_geometry)
{
	catch_log();
	use_file(MIB);
	cfg.direct = true;
	host_errno = EINVAL;
	fail_preads = 1;
	ck_assert_int_eq(disk_open(&cfg, &disk), 0);
	ck_assert_uint_eq(disk->block_bytes, 4096);
	disk_close(disk);
	fail_preads = 2;
	ck_assert_int_eq(disk_open(&cfg, &disk), -EINVAL);
	ck_assert(logged("direct I/O: Invalid argument"));
	close(image);
}
END_TEST

/* ---- flushing ---- */

START_TEST(test_old_kernel)
{
	use_memory(MIB);
	start();
	aio.submit_errno = -EINVAL;
	aio.fail_submits = 1;
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	ck_assert_uint_eq(aio.flushes, 0);
	stop();
}
END_TEST

START_TEST(test_lost)
{
	static uint8_t bytes[SECTOR];

	use_memory(MIB);
	start();
	aio.event_result = -EIO;
	aio.fail_events = 1;
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), -EIO);
	ck_assert_int_eq(transfer(DISK_WRITE, 0, bytes, SECTOR), 0);
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), -EIO);
	stop();
}
END_TEST

START_TEST(test_cancel)
{
	static uint8_t bytes[SECTOR];
	struct iovec iov = { bytes, SECTOR };
	struct waited w[3];

	use_memory(MIB);
	start();
	for (unsigned i = 0; i < 3; i++)
		submit(&w[i], DISK_WRITE, i * SECTOR, SECTOR, &iov, 1);
	cancel_all();
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(w[i].ret, -ECANCELED);
	ck_assert_uint_eq(aio.submits, 0);
	/* What is in flight is waited for. */
	aio.hold = true;
	submit(&w[0], DISK_WRITE, 0, SECTOR, &iov, 1);
	disk->ops->commit(disk);
	submit(&w[1], DISK_WRITE, 0, SECTOR, &iov, 1);
	cancel_all();
	ck_assert_int_eq(w[0].ret, 0);
	ck_assert_int_eq(w[1].ret, -ECANCELED);
	stop();
}
END_TEST

START_TEST(test_error_is_logged_once)
{
	struct disk_request read = { .op = DISK_READ, .off = 512, .len = 4096 };
	struct disk_request flush = { .op = DISK_FLUSH };

	catch_log();
	use_memory(MIB);
	start();
	disk_failed(disk, &read, -EIO);
	ck_assert(logged("read of 4096 bytes at 512 failed"));
	disk_failed(disk, &read, -EIO);
	ck_assert(!logged("read"));
	disk_failed(disk, &flush, -ENOSPC);
	ck_assert(logged("flush failed"));
	stop();
}
END_TEST

UNIT_MAIN("disk_raw", test_open_errors, test_open_read_only_file, test_foreign_header,
	  test_unreadable, test_cannot_lock, test_guard,
	  test_guard_race, test_lock, test_vectors, test_short_transfers, test_huge, test_bytes_in_flight,
	  test_eager, test_eager_late, test_eager_batches, test_eager_turn,
	  test_discard_turn, test_huge_turn, test_hold, test_bounce_memory, test_linger,
	  test_linger_in_vain, test_linger_flush, test_many,
	  test_busy, test_odd_size, test_shrunk, test_full, test_zeroes, test_discard, test_direct,
	  test_direct_geometry,
	  test_old_kernel, test_lost, test_cancel, test_error_is_logged_once)
