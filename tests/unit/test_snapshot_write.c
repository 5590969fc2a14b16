/* Links: vm/snapshot-write.o vm/snapshot-folder.o vm/snapshot-child.o vm/ram-child.o util/loop.o util/file.o util/log.o hw/state.o */
/* Wraps: kill */
/*
 * Who writes a snapshot, and what becomes of one that nobody waits for any more: the child stands in the
 * copying of a disk until the test lets it go on, and kill() can fail as it does with one that the host's disk
 * holds up.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "../../vm/snapshot-job.h"
#include "lkvm/clock.h"
#include "lkvm/disk.h"
#include "lkvm/ram.h"
#include "own-folder.h"
#include "unit.h"

static bool cannot_be_killed;
static int gate[2]; /* the child goes on when it is closed */

int __real_kill(pid_t pid, int signal);
int __wrap_kill(pid_t pid, int signal);
int __wrap_kill(pid_t pid, int signal)
{
	return cannot_be_killed ? 0 : __real_kill(pid, signal);
}

int disk_copy(const struct disk_source *from, int to_fd, void *buf, bool *ret_shared)
{
	char byte;

	(void)from, (void)to_fd, (void)buf;
	*ret_shared = false;
	return read(gate[0], &byte, 1) < 0 ? -errno : 0;
}

int ram_save(const struct ram *ram, const struct ram_spare *spare, int fd, uint64_t at, uint64_t *ret_bytes)
{
	(void)ram, (void)spare, (void)fd, (void)at;
	*ret_bytes = 0;
	return 0;
}

int ram_let_fork(const struct ram *ram, bool on)
{
	(void)ram, (void)on;
	return 0;
}

int ram_file(const struct ram *ram)
{
	(void)ram;
	return gate[0]; /* the child keeps it */
}

/* ---- */

static struct loop loop;
static struct ram_children dying;
static unsigned n_over;
static int over_err;

static void copied(void *ctx)
{
	(void)ctx;
}

static void over(void *ctx, int err, const char *why)
{
	struct snapshot_job **job = ctx;

	(void)why;
	n_over++;
	over_err = err;
	snapshot_job_free(*job);
}

static int own_fd(void)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void setup(void)
{
	enter_own_folder();
	ck_assert_int_eq(loop_init(&loop), 0);
	dying = (struct ram_children){ 0 };
	cannot_be_killed = false;
	n_over = 0;
	ck_assert_int_eq(pipe2(gate, O_CLOEXEC), 0);
}

static void open_gate(void)
{
	close(gate[1]);
	gate[1] = -1;
}

static void teardown(void)
{
	close(gate[0]);
	if (gate[1] >= 0)
		close(gate[1]);
	loop_fini(&loop);
	leave_own_folder();
}

/* One whose child copies a disk */
static struct snapshot_job *begin_with(const struct snapshot_piece *pieces, unsigned n)
{
	static struct snapshot_job *job;
	const struct snapshot_job_config cfg = {
		.dying = &dying, .loop = &loop, .folder_fd = own_fd(), .name = "saved", .brief = true,
		.copied = copied, .over = over, .ctx = &job,
	};
	const struct disk_source disk = { .fd = dup(STDIN_FILENO), .top_fd = -1 };
	struct state_buf state = { 0 };
	char why[100];

	ck_assert_int_eq(state_buf_add(&state, SNAPSHOT_MAGIC, strlen(SNAPSHOT_MAGIC)), 0);
	ck_assert_msg(!snapshot_job_new(&cfg, &job, why, sizeof(why)), "%s", why);
	ck_assert_int_eq(snapshot_job_add(job, pieces, n), 0);
	ck_assert_int_eq(snapshot_job_start(job, &state, &disk, 1, NULL), 0);
	close(disk.fd);
	return job;
}

static struct snapshot_job *begin(void)
{
	return begin_with(NULL, 0);
}

/* How many things the folder has whose names begin so */
static unsigned named(const char *begin)
{
	char command[100];
	unsigned n = 0;
	FILE *out;

	snprintf(command, sizeof(command), "ls -A | grep -c '^%s'", begin);
	out = popen(command, "r");
	ck_assert_int_eq(fscanf(out, "%u", &n), 1);
	pclose(out);
	return n;
}

static void turn_until(bool (*is_so)(void))
{
	const int64_t end = now_ms() + 10000;

	while (!is_so() && now_ms() < end)
		loop_once(&loop, 100);
	ck_assert(is_so());
}

static bool is_over(void)
{
	return n_over;
}

static bool none_is_dying(void)
{
	return !dying.first;
}

static void assert_no_child(void)
{
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

START_TEST(test_done)
{
	setup();
	begin();
	ck_assert_uint_eq(named(".lkvm"), 1);
	open_gate();
	turn_until(is_over);
	ck_assert_int_eq(over_err, 0);
	ck_assert_uint_eq(named(".lkvm"), 0);
	ck_assert_uint_eq(named("saved"), 1);
	turn_until(none_is_dying);
	assert_no_child();
	teardown();
}
END_TEST

/* What a file of the snapshot has, as text */
static void assert_has(const char *part, const char *want)
{
	char path[64], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), "saved/%s", part);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	ck_assert_str_eq(text, want);
}

/* Memory as it was when the child was made, in files of as many pieces as there are */
START_TEST(test_pieces)
{
	static char last[] = "last";
	static const struct snapshot_piece pieces[] = {
		{ "firmware", "rom", 3 }, { "fw-cfg", "a", 1 }, { "fw-cfg", "", 0 }, { "fw-cfg", "bcd", 3 }, { "rom0", last, 4 },
	};

	setup();
	begin_with(pieces, sizeof(pieces) / sizeof(pieces[0]));
	last[0] = 'L';
	open_gate();
	turn_until(is_over);
	ck_assert_int_eq(over_err, 0);
	assert_has("firmware", "rom");
	assert_has("fw-cfg", "abcd");
	assert_has("rom0", "last");
	ck_assert(snapshot_is_there(AT_FDCWD, "saved"));
	snapshot_remove(AT_FDCWD, "saved");
	ck_assert_uint_eq(named("saved"), 0);
	turn_until(none_is_dying);
	assert_no_child();
	teardown();
}
END_TEST

/* Nobody waits for one that is given up. */
START_TEST(test_given_up)
{
	for (unsigned i = 0; i < 2; i++) {
		setup();
		cannot_be_killed = i;
		snapshot_job_free(begin());
		if (cannot_be_killed) {
			loop_once(&loop, 20);
			ck_assert_ptr_nonnull(dying.first);
			ck_assert_uint_eq(named(".lkvm"), 1); /* the child may be at it */
			open_gate();
		}
		turn_until(none_is_dying);
		assert_no_child();
		ck_assert_uint_eq(named(".lkvm"), 0);
		ck_assert_uint_eq(n_over, 0);
		teardown();
	}
}
END_TEST

/* Nor does the machine's end, for long. */
START_TEST(test_end)
{
	pid_t child;
	int64_t start;

	setup();
	snapshot_job_free(begin());
	ram_children_end(&dying, now_ms() + 10000);
	ck_assert_ptr_null(dying.first);
	ck_assert_uint_eq(named(".lkvm"), 0);
	assert_no_child();

	cannot_be_killed = true;
	snapshot_job_free(begin());
	child = dying.first->pid;
	start = now_ms();
	ram_children_end(&dying, start + 50);
	ck_assert_ptr_null(dying.first);
	ck_assert_int_lt(now_ms() - start, 5000);
	ck_assert_uint_eq(named(".lkvm"), 1);
	/* What it has left is in use until it is dead. */
	snapshot_sweep(AT_FDCWD);
	ck_assert_uint_eq(named(".lkvm"), 1);
	ck_assert_int_eq(__real_kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	snapshot_sweep(AT_FDCWD);
	ck_assert_uint_eq(named(".lkvm"), 0);
	teardown();
}
END_TEST

#define LEFT SNAPSHOT_TEMP "0123abcd"

/* What is removed is what a job can have left, and nothing else. */
START_TEST(test_sweep)
{
	static const char *const others[] = { "saved", SNAPSHOT_TEMP "0123abc", SNAPSHOT_TEMP "0123abcd0",
					      SNAPSHOT_TEMP "0123ABCD", SNAPSHOT_TEMP "0123abcd.old" };
	int fd;

	setup();
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		ck_assert_int_eq(mkdir(others[i], 0700), 0);
		snapshot_sweep(AT_FDCWD);
		ck_assert_msg(!rmdir(others[i]), "%s", others[i]);
	}
	put(LEFT "/ram", "", 0);
	put(LEFT "/state", "", 0);
	put(LEFT "/disk10", "", 0);
	put(LEFT "/rom2", "", 0);
	put(LEFT "/firmware", "", 0);
	put(LEFT "/firmware-vars", "", 0);
	put(LEFT "/fw-cfg", "", 0);
	put(LEFT "/mine", "", 0);
	snapshot_sweep(AT_FDCWD);
	ck_assert_int_eq(access(LEFT "/ram", F_OK), 0);
	ck_assert_int_eq(unlink(LEFT "/mine"), 0);
	fd = open(LEFT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	snapshot_sweep(AT_FDCWD);
	ck_assert_int_eq(access(LEFT "/ram", F_OK), 0);
	close(fd);
	ck_assert_int_eq(rename(LEFT, "elsewhere"), 0);
	ck_assert_int_eq(symlink("elsewhere", LEFT), 0);
	snapshot_sweep(AT_FDCWD);
	ck_assert_int_eq(access("elsewhere/ram", F_OK), 0);
	ck_assert_int_eq(rename("elsewhere", SNAPSHOT_TEMP "00000000"), 0);
	snapshot_sweep(AT_FDCWD);
	ck_assert_int_eq(access(SNAPSHOT_TEMP "00000000", F_OK), -1);
	teardown();
}
END_TEST

UNIT_MAIN("snapshot-write", test_done, test_pieces, test_given_up, test_end, test_sweep)
