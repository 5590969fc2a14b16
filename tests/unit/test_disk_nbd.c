/* Links: disk/disk.o disk/raw.o disk/raw-io.o disk/raw-ring.o disk/request.o disk/format.o disk/lock.o disk/overlay.o disk/nbd.o disk/qemu-nbd.o disk/image.o disk/image-vmdk.o disk/image-graph.o util/confine.o util/json.o util/log.o util/loop.o */

/* NBD: against nbdkit with its faults on order, and qcow2 by qemu-nbd. */
#include "unit.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "disk-rig.h"
#include "lkvm/clock.h"

static char dir[] = "/tmp/lkvm-test-XXXXXX", uri[128];
static pid_t server;

/* Runs a program to its end, for what prepares an image. */
static void run(const char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* nbdkit on a socket that is already there to be connected to */
static void serve(const char *const args[])
{
	const char *argv[16] = { "nbdkit", "--foreground", "--exit-with-parent" };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char pid_var[32];

	for (unsigned i = 0; args[i]; i++)
		argv[3 + i] = args[i];
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	server = fork();
	if (!server) {
		if (fd != 3)
			dup2(fd, 3);
		setenv("LISTEN_FDS", "1", 1);
		snprintf(pid_var, sizeof(pid_var), "%d", getpid());
		setenv("LISTEN_PID", pid_var, 1);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(fd);
	snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", addr.sun_path);
	cfg.path = uri;
}

static void end_server(void)
{
	char name[64];

	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	snprintf(name, sizeof(name), "%s/s", dir);
	unlink(name);
	rmdir(dir);
}

#define SERVE(...) serve((const char *const[]){ __VA_ARGS__, NULL })

static uint8_t out[5 * MIB], in[5 * MIB];

static void write_and_read(void)
{
	struct iovec iov[] = { { in, 700 }, { in + 700, MIB }, { in + 700 + MIB, 4 * MIB - 700 } };
	struct iovec iov_out[] = { { out, 4 * MIB + 1 }, { out + 4 * MIB + 1, MIB - 1 } };

	fill(out, sizeof(out), 1);
	ck_assert_int_eq(request(DISK_WRITE, 4096, sizeof(out), iov_out, 2), 0);
	ck_assert_int_eq(request(DISK_READ, 4096, sizeof(in), iov, 3), 0);
	ck_assert(!memcmp(in, out, sizeof(in)));
	ck_assert_int_eq(transfer(DISK_READ, 8192, in, 512), 0);
	ck_assert(!memcmp(in, out + 4096, 512));
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	ck_assert_int_eq(zero(4096, 3 * MIB, true), 0);
	ck_assert_int_eq(zero(4096 + 3 * MIB, 512, false), 0);
	memset(out, 0, 3 * MIB + 512);
	ck_assert_int_eq(transfer(DISK_READ, 4096, in, sizeof(in)), 0);
	ck_assert(!memcmp(in, out, sizeof(in)));
	ck_assert_int_eq(request(DISK_READ, 0, 0, NULL, 0), 0);
}

START_TEST(test_server)
{
	SERVE("memory", "10M");
	start();
	ck_assert_uint_eq(disk->size_bytes, 10 * MIB);
	ck_assert(disk->can_discard && !disk->read_only);
	write_and_read();
	ck_assert_int_eq(request(DISK_DISCARD, 0, 10 * MIB, NULL, 0), 0);
	stop();
	end_server();
}
END_TEST

/* A server that can do little */
START_TEST(test_no_loop)
{
	struct loop ended = { .epfd = -1 };

	catch_log();
	SERVE("memory", "10M");
	start();
	disk->ops->detach(disk, &loop);
	ck_assert_int_eq(disk->ops->attach(disk, &ended), -EBADF);
	ck_assert(logged("event loop: Bad file descriptor"));
	ck_assert_int_eq(disk->ops->attach(disk, &loop), 0);
	ck_assert_int_eq(transfer(DISK_READ, 0, in, 4096), 0);
	stop();
	end_server();
}
END_TEST

START_TEST(test_poor_server)
{
	SERVE("--filter=nozero", "--filter=blocksize-policy", "memory", "10M", "zeromode=none",
	      "blocksize-maximum=64k", "blocksize-preferred=4k", "blocksize-minimum=512",
	      "blocksize-error-policy=error");
	start();
	write_and_read();
	stop();
	end_server();
}
END_TEST

/* One that cannot even flush */
START_TEST(test_no_flush)
{
	SERVE("eval", "get_size=echo 1M", "pread=head -c $3 /dev/zero", "pwrite=cat >/dev/null");
	start();
	ck_assert(!disk->can_discard);
	ck_assert_int_eq(transfer(DISK_WRITE, 0, out, 8192), 0);
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	stop();
	end_server();
}
END_TEST

START_TEST(test_many)
{
	static struct waited w[300];
	static struct iovec iov[300];

	SERVE("memory", "10M");
	start();
	fill(out, sizeof(out), 3);
	for (unsigned i = 0; i < 300; i++) {
		iov[i] = (struct iovec){ out + i * 4096, 4096 };
		submit(&w[i], DISK_WRITE, i * 4096, 4096, &iov[i], 1);
	}
	disk->ops->commit(disk);
	while (n_done < 300)
		loop_once(&loop, -1);
	ck_assert_int_eq(transfer(DISK_READ, 0, in, 300 * 4096), 0);
	ck_assert(!memcmp(in, out, 300 * 4096));
	ck_assert_uint_gt(n_reaped, 0);
	stop();
	end_server();
}
END_TEST

START_TEST(test_errors)
{
	SERVE("--filter=error", "memory", "10M", "error-pwrite-rate=1", "error-pwrite=ENOSPC",
	      "error-pread-rate=1", "error-pread=EIO");
	start();
	ck_assert_int_eq(transfer(DISK_WRITE, 0, out, 8192), -ENOSPC);
	ck_assert_int_eq(transfer(DISK_READ, 0, in, 8192), -EIO);
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	stop();
	end_server();
}
END_TEST

START_TEST(test_server_gone)
{
	struct iovec iov = { in, 4096 };
	struct waited w[2];

	catch_log();
	SERVE("--filter=delay", "memory", "10M", "rdelay=600");
	start();
	for (unsigned i = 0; i < 2; i++)
		submit(&w[i], DISK_READ, i * 4096, 4096, &iov, 1);
	disk->ops->commit(disk);
	kill(server, SIGKILL);
	ck_assert_int_lt(finish(&w[0]), 0);
	ck_assert_int_lt(finish(&w[1]), 0);
	ck_assert(logged("the NBD server is gone"));
	ck_assert_int_eq(transfer(DISK_READ, 0, in, 4096), -ENOTCONN);
	ck_assert(!logged("gone"));
	stop();
	end_server();
}
END_TEST

START_TEST(test_drain)
{
	struct iovec iov = { in, 4096 };
	struct waited w[100];

	SERVE("--filter=delay", "memory", "10M", "delay-read=100ms");
	start();
	for (unsigned i = 0; i < 100; i++)
		submit(&w[i], DISK_READ, i * 4096, 4096, &iov, 1);
	disk->ops->commit(disk);
	cancel_all();
	ck_assert_uint_eq(n_done, 100);
	ck_assert_int_eq(w[0].ret, 0);
	ck_assert_int_eq(w[99].ret, -ECANCELED);
	/* And again, as after the driver's reset */
	disk->ops->detach(disk, &loop);
	ck_assert_int_eq(disk->ops->attach(disk, &loop), 0);
	submit(&w[0], DISK_READ, 0, 4096, &iov, 1);
	disk->ops->commit(disk);
	disk->ops->drain(disk, false);
	ck_assert(w[0].done);
	ck_assert_int_eq(w[0].ret, 0);
	stop();
	end_server();
}
END_TEST

/* At the machine's end nobody waits for a server that is silent, not even for the rest of a wait. */
START_TEST(test_last_drain)
{
	struct iovec iov = { in, 4096 };
	atomic_bool last = true;
	struct waited w[2];
	int64_t begin;

	catch_log();
	SERVE("--filter=delay", "memory", "10M", "delay-read=60");
	start();
	disk->last = &last;
	for (unsigned i = 0; i < 2; i++)
		submit(&w[i], DISK_READ, 0, 4096, &iov, 1);
	disk->ops->commit(disk);
	begin = now_ms();
	cancel_all();
	ck_assert_int_le(now_ms() - begin, 2000);
	ck_assert_int_lt(w[0].ret, 0);
	ck_assert_int_lt(w[1].ret, 0);
	ck_assert(logged("the NBD server does not answer"));
	stop();
	kill(server, SIGKILL);
	end_server();
}
END_TEST

/* Requests in many pieces of memory are copied, but never many megabytes of them. */
START_TEST(test_bounce_memory)
{
	static struct iovec iov[2 * 256];
	struct waited w[16];

	for (unsigned i = 0; i < 512; i++)
		iov[i] = (struct iovec){ in, 4096 };
	SERVE("--filter=delay", "memory", "10M", "delay-read=100ms");
	start();
	for (unsigned i = 0; i < 16; i++)
		submit(&w[i], DISK_READ, 0, 2 * MIB, iov, 512);
	disk->ops->commit(disk);
	ck_assert_uint_le(mallinfo2().uordblks + mallinfo2().hblkhd, 4 * MIB);
	for (unsigned i = 0; i < 16; i++)
		ck_assert_int_eq(finish(&w[i]), 0);
	stop();
	end_server();
}
END_TEST

static int find_socket(void)
{
	struct sockaddr_un peer;

	for (int fd = 3; fd < 256; fd++)
		if (!getpeername(fd, (struct sockaddr *)&peer, &(socklen_t){ sizeof(peer) }))
			return fd;
	ck_abort_msg("no connection");
}

static void drain_now(struct loop_source *src, uint32_t events)
{
	(void)events;
	loop_del(&loop, src);
	disk->ops->drain(disk, false);
	disk->held = false;
}

/* The loop has an answer's event already when a drain, in the same turn, takes the answer. */
START_TEST(test_drain_before_event)
{
	struct loop_source first = { eventfd(1, 0), drain_now };
	struct iovec iov = { in, 512 };
	struct waited w;

	SERVE("memory", "10M");
	start();
	for (unsigned i = 0; i < 3; i++) {
		struct pollfd answer = { .fd = find_socket(), .events = POLLIN };

		ck_assert_int_eq(loop_add(&loop, &first, EPOLLIN), 0);
		submit(&w, DISK_READ, 0, 512, &iov, 1);
		disk->ops->commit(disk);
		ck_assert_int_eq(poll(&answer, 1, 10000), 1);
		loop_once(&loop, -1);
		ck_assert(w.done);
		ck_assert_int_eq(transfer(DISK_READ, 0, in, 512), 0);
	}
	stop();
	close(first.fd);
	end_server();
}
END_TEST

START_TEST(test_read_only_server)
{
	catch_log();
	SERVE("--readonly", "memory", "1M");
	ck_assert_int_eq(disk_open(&cfg, &disk), -EROFS);
	ck_assert(logged(",ephemeral'"));
	cfg.ephemeral = true;
	start();
	ck_assert_int_eq(transfer(DISK_WRITE, 0, out, 4096), 0);
	ck_assert_int_eq(transfer(DISK_READ, 0, in, 8192), 0);
	stop();
	end_server();
}
END_TEST

START_TEST(test_odd_size)
{
	catch_log();
	SERVE("memory", "1000");
	start();
	ck_assert_uint_eq(disk->size_bytes, 512);
	ck_assert(logged("its last 488 bytes"));
	stop();
	end_server();
}
END_TEST

START_TEST(test_no_server)
{
	catch_log();
	cfg.path = "nbd+unix:///?socket=/nowhere";
	ck_assert_int_eq(disk_open(&cfg, &disk), -ENOTCONN);
	ck_assert(logged("No such file or directory"));
	cfg.path = "nbd://[";
	ck_assert_int_lt(disk_open(&cfg, &disk), 0);
	cfg.format = "qcow2";
	cfg.path = "nbd://localhost";
	ck_assert_int_eq(disk_open(&cfg, &disk), -EINVAL);
}
END_TEST

/* ---- qemu-nbd ---- */

static char base[64], image_path[64];

static void remove_images(void)
{
	unlink(base);
	unlink(image_path);
	rmdir(dir);
}

/* A compressed qcow2 image on top of which there is another, both without anything but zeros and ones */
static void make_images(void)
{
	char raw[64], option[128];
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(raw, sizeof(raw), "%s/raw", dir);
	snprintf(base, sizeof(base), "%s/base", dir);
	snprintf(image_path, sizeof(image_path), "%s/image.QCOW2", dir);
	snprintf(option, sizeof(option), "backing_file=%s,backing_fmt=qcow2", base);
	fd = open(raw, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	memset(out, 1, MIB);
	ck_assert_int_eq(pwrite(fd, out, MIB, 4096), MIB);
	ck_assert_int_eq(ftruncate(fd, 10 * MIB), 0);
	close(fd);
	run((const char *const[]){ "qemu-img", "convert", "-q", "-c", "-O", "qcow2", raw, base, NULL });
	run((const char *const[]){ "qemu-img", "create", "-q", "-f", "qcow2", "-o", option, image_path,
				   NULL });
	unlink(raw);
	cfg.path = image_path;
	cfg.backing_on = true;
}

static unsigned children(void)
{
	char text[256] = "";
	unsigned n = 0;
	FILE *f = fopen("/proc/thread-self/children", "re");

	while (fscanf(f, "%255s", text) == 1)
		n++;
	fclose(f);
	return n;
}

START_TEST(test_qcow2)
{
	make_images();
	start();
	ck_assert_uint_eq(disk->size_bytes, 10 * MIB);
	ck_assert_uint_eq(children(), 1);
	memset(out, 1, MIB);
	ck_assert_int_eq(transfer(DISK_READ, 4096, in, MIB), 0);
	ck_assert(!memcmp(in, out, MIB));
	write_and_read();
	fill(out, 4096, 5);
	ck_assert_int_eq(transfer(DISK_WRITE, 8 * MIB, out, 4096), 0);
	stop();
	ck_assert_uint_eq(children(), 0);
	run((const char *const[]){ "qemu-img", "check", "-q", image_path, NULL });
	run((const char *const[]){ "qemu-img", "check", "-q", base, NULL });
	cfg.read_only = true;
	start();
	ck_assert(disk->read_only);
	ck_assert_int_eq(transfer(DISK_READ, 8 * MIB, in, 4096), 0);
	ck_assert(!memcmp(in, out, 4096));
	stop();
	remove_images();
}
END_TEST

static void use_read_only_image(void)
{
	cfg.read_only = true;
	start();
	memset(out, 1, MIB);
	ck_assert_int_eq(transfer(DISK_READ, 4096, in, MIB), 0);
	ck_assert(!memcmp(in, out, MIB));
	stop();
	cfg.read_only = false;
	cfg.ephemeral = true;
	start();
	write_and_read();
	stop();
}

START_TEST(test_qcow2_read_only)
{
	make_images();
	ck_assert_int_eq(chmod(dir, 0755) | chmod(base, 0444) | chmod(image_path, 0444), 0);
	as_other_user(use_read_only_image);
	remove_images();
}
END_TEST

START_TEST(test_qcow2_lock)
{
	struct disk *other;

	catch_log();
	make_images();
	start();
	ck_assert_int_eq(disk_open(&cfg, &other), -EBUSY);
	ck_assert(logged("image.QCOW2' is given twice, and the guest may write to it\n"));
	stop();
	remove_images();
}
END_TEST

START_TEST(test_qemu_dies)
{
	pid_t pid;
	FILE *f;

	catch_log();
	make_images();
	start();
	f = fopen("/proc/thread-self/children", "re");
	ck_assert_int_eq(fscanf(f, "%d", &pid), 1);
	fclose(f);
	kill(pid, SIGKILL);
	while (transfer(DISK_READ, 0, in, 4096) == 0)
		;
	ck_assert(logged("the NBD server is gone"));
	stop();
	remove_images();
}
END_TEST

/* Whatever becomes of us, no server stays behind. */
START_TEST(test_no_orphan)
{
	char path_of[64];
	int fds[2], status;
	pid_t us, pid = 0;

	make_images();
	ck_assert_int_eq(pipe(fds), 0);
	us = fork();
	if (!us) {
		FILE *f;

		if (disk_open(&cfg, &disk))
			_exit(1);
		f = fopen("/proc/thread-self/children", "re");
		if (fscanf(f, "%d", &pid) != 1 || write(fds[1], &pid, sizeof(pid)) < 0)
			_exit(2);
		pause();
	}
	ck_assert_int_eq(read(fds[0], &pid, sizeof(pid)), sizeof(pid));
	snprintf(path_of, sizeof(path_of), "/proc/%d/exe", pid);
	ck_assert_int_gt(pid, 0);
	kill(us, SIGKILL);
	ck_assert_int_eq(waitpid(us, &status, 0), us);
	/* A zombie, if nobody waits for it, has no program any more. */
	while (!access(path_of, F_OK))
		usleep(10000);
	remove_images();
}
END_TEST

START_TEST(test_not_an_image)
{
	catch_log();
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(image_path, sizeof(image_path), "%s/x:y.vmdk", dir);
	snprintf(base, sizeof(base), "%s/none", dir);
	close(open(image_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	cfg.path = image_path;
	ck_assert_int_eq(disk_open(&cfg, &disk), -EINVAL);
	ck_assert(logged("x:y.vmdk': it is not in vmdk format\n"));
	/* Of this one we know nothing, but the server does. Its words are not about what we told it. */
	cfg.format = "vdi";
	ck_assert_int_eq(disk_open(&cfg, &disk), -ENOTCONN);
	ck_assert(logged("x:y.vmdk': Image not in VDI format"));
	ck_assert_uint_eq(children(), 0);
	cfg.format = NULL;
	/* A relative name with a colon is a name. */
	ck_assert_int_eq(chdir(dir), 0);
	cfg.path = "x:y.vmdk";
	run((const char *const[]){ "qemu-img", "create", "-q", "-f", "vmdk", "./x:y.vmdk", "1M", NULL });
	start();
	ck_assert_uint_eq(disk->size_bytes, MIB);
	stop();
	remove_images();
}
END_TEST

START_TEST(test_no_qemu)
{
	catch_log();
	make_images();
	setenv("PATH", "/nowhere", 1);
	ck_assert_int_eq(disk_open(&cfg, &disk), -ENOENT);
	ck_assert(logged("qemu-utils"));
	remove_images();
}
END_TEST

UNIT_MAIN("disk_nbd", test_server, test_no_loop, test_poor_server, test_no_flush, test_many, test_errors, test_server_gone,
	  test_drain, test_last_drain, test_bounce_memory, test_drain_before_event,
	  test_read_only_server, test_odd_size, test_no_server, test_qcow2, test_qcow2_read_only,
	  test_qcow2_lock, test_qemu_dies, test_no_orphan, test_not_an_image, test_no_qemu)
