/* Links: disk/disk.o disk/raw.o disk/raw-io.o disk/raw-ring.o disk/request.o disk/format.o disk/lock.o disk/overlay.o disk/nbd.o disk/qemu-nbd.o disk/image.o disk/image-vmdk.o disk/image-graph.o util/confine.o util/json.o util/log.o util/loop.o */

/* Images that name other files, as qemu-img makes them and as a stranger would. */
#include "unit.h"

#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../../disk/disk-internal.h"
#include "../../disk/image.h"
#include "disk-rig.h"
#include "lkvm/clock.h"
#include "lkvm/confine.h"

/* ---- a folder of images, and a secret beside it ---- */

static char dir[] = "/tmp/lkvm-image-XXXXXX", secret[64];

static void clean(void)
{
	char *const argv[] = { "rm", "-rf", dir, NULL };
	pid_t pid = fork();

	if (!pid)
		execvp(argv[0], argv);
	waitpid(pid, NULL, 0);
}

static void write_file(const char *name, const void *bytes, size_t len)
{
	int fd = open(name, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static void patch(const char *name, off_t at, const void *bytes, size_t len)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(pwrite(fd, bytes, len, at), (ssize_t)len);
	close(fd);
}

/* We are in DIR/vm; the secret is DIR/secret. */
static void begin(void)
{
	static char text[65536];

	catch_log();
	memset(text, 'S', sizeof(text));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(secret, sizeof(secret), "%s/secret", dir);
	write_file(secret, text, sizeof(text));
	ck_assert_int_eq(chdir(dir) | mkdir("vm", 0700) | mkdir("vm/sub", 0700) | chdir("vm"), 0);
}

/* A command in the words of a shell */
static void __attribute__((format(printf, 1, 2))) sh(const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	ck_assert_msg(system(command) == 0, "%s", command);
}

static void allow(const char *allowed)
{
	cfg.n_backing = 0;
	if (allowed)
		cfg.backing[cfg.n_backing++] = allowed;
}

/* Refused as it is, read only, and as the base of an ephemeral disk, with @what in the message */
static void refused(const char *name, int err, const char *what)
{
	cfg.path = name;
	for (unsigned i = 0; i < 3; i++) {
		cfg.read_only = i == 1;
		cfg.ephemeral = i == 2;
		ck_assert_int_eq(disk_open(&cfg, &disk), err);
		ck_assert(logged(what));
	}
	cfg.read_only = cfg.ephemeral = false;
}

static char first_byte(void)
{
	char sector[SECTOR];

	ck_assert_int_eq(transfer(DISK_READ, 0, sector, SECTOR), 0);
	return sector[0];
}

/* It can be read, and written to. Return: the first byte */
static char used(const char *name)
{
	char sector[SECTOR], byte;

	cfg.path = name;
	if (disk_open(&cfg, &disk))
		ck_abort_msg("%s: %d", name, logged("?"));
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(disk->ops->attach(disk, &loop), 0);
	byte = first_byte();
	memset(sector, 'W', sizeof(sector));
	ck_assert_int_eq(transfer(DISK_WRITE, 512, sector, SECTOR), 0);
	stop();
	return byte;
}

static void secret_is_whole(void)
{
	sh("test -z \"$(tr -d S <%s)\" && test $(wc -c <%s) -eq 65536", secret, secret);
}

/* ---- backing files ---- */

START_TEST(test_backing)
{
	static const char *const formats[] = { "qcow2", "qcow", "qed" };
	char name[32], others[64];

	begin();
	sh("cp ../secret base; cp ../secret sub/base");
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *f = formats[i];

		allow(NULL);
		cfg.backing_on = false;
		sh("qemu-img create -q -f %s -b %s -F raw out.%s 64K", f, secret, f);
		sh("qemu-img create -q -f %s -b sub/base -F raw in.%s 64K", f, f);
		snprintf(name, sizeof(name), "out.%s", f);
		refused(name, -EACCES, "' names the backing file '/tmp/lkvm-image-");
		cfg.backing_on = true;
		refused(name, -EACCES, "/secret', which no backing= allows\n");
		allow(secret);
		ck_assert_int_eq(used(name), 'S');
		snprintf(others, sizeof(others), "%s/vm/sub", dir);
		allow(others);
		refused(name, -EACCES, "no backing= allows");
		snprintf(name, sizeof(name), "in.%s", f);
		cfg.backing_on = false;
		ck_assert_int_eq(used(name), 'S');
		allow("../secret");
		refused(name, -EACCES, "names the backing file 'sub/base', which no");
		allow(NULL);
		refused(name, -EACCES, "names the backing file 'sub/base'; say backing=on if it is meant\n");
		cfg.backing_on = true;
		ck_assert_int_eq(used(name), 'S');
	}
	allow("/nowhere");
	refused(name, -ENOENT, "backing '/nowhere': No such file or directory");
	secret_is_whole();
	clean();
}
END_TEST

START_TEST(test_depth)
{
	begin();
	cfg.backing_on = true;
	sh("qemu-img create -q -f qcow2 -b ../secret -F raw mid 64K");
	sh("qemu-img create -q -f qcow2 -b mid -F qcow2 top.qcow2");
	refused("top.qcow2", -EACCES, "disk 'top.qcow2': image './mid' names the backing file '../secret'");
	allow("..");
	ck_assert_int_eq(used("top.qcow2"), 'S');
	/* A format that is not said is looked for, and its names too. */
	allow(NULL);
	sh("qemu-img create -q -f qcow -b mid -F qcow2 top.qcow");
	refused("top.qcow", -EACCES, "image './mid' names the backing file '../secret'");
	/* By links: what counts is where they lead. */
	sh("ln -s ../secret link && qemu-img create -q -f qcow2 -b link -F raw linked.qcow2");
	refused("linked.qcow2", -EACCES, "names the backing file 'link', which no");
	sh("ln -s vm/linked.qcow2 ../far.qcow2 && ln -s vm/link ../link");
	refused("../far.qcow2", -EACCES, "names the backing file 'link', which no");
	/* In a circle */
	sh("qemu-img rebase -u -f qcow2 -b top.qcow2 -F qcow2 mid");
	refused("top.qcow2", -ELOOP, "more than 32 images");
	/* A FIFO is not waited for. */
	sh("mkfifo fifo && qemu-img rebase -u -f qcow2 -b fifo -F raw top.qcow2");
	refused("top.qcow2", -EINVAL, "neither a file nor a block device");
	sh("qemu-img rebase -u -f qcow2 -b mid -F dmg top.qcow2");
	refused("top.qcow2", -EINVAL, "of format 'dmg' (known: raw, ");
	sh("qemu-img rebase -u -f qcow2 -b gone -F raw top.qcow2");
	refused("top.qcow2", -ENOENT, "backing file './gone': No such file");
	clean();
}
END_TEST

START_TEST(test_long_chain)
{
	begin();
	cfg.backing_on = true;
	sh("cp ../secret 0 && qemu-img create -q -f qcow2 -b 0 -F raw 1 && "
	   "for i in $(seq 2 31); do qemu-img create -q -f qcow2 -b $((i - 1)) -F qcow2 $i || exit; done && "
	   "mv 31 31.qcow2");
	ck_assert_int_eq(used("31.qcow2"), 'S');
	clean();
}
END_TEST

/* What is no file is not allowed by anything. */
START_TEST(test_protocol)
{
	static const char *const names[] = {
		"nbd+unix:///?socket=/run/x", "nbd://localhost", "file:base", "fat:rw:/etc",
		"json:{\\\"driver\\\":\\\"raw\\\",\\\"file.filename\\\":\\\"../secret\\\"}",
	};

	begin();
	cfg.backing_on = true;
	allow("/");
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		sh("qemu-img create -q -f qcow2 -u -b \"%s\" -F raw x.qcow2 64K", names[i]);
		refused("x.qcow2", -EACCES, "', which is not a file\n");
	}
	/* What the name does to a terminal is not done. */
	sh("qemu-img create -q -f qcow2 -u -b \"$(printf 'a\\033]0;x\\007\\nb\\302\\233')\" -F raw x.qcow2 64K");
	allow(NULL);
	cfg.backing_on = false;
	refused("x.qcow2", -EACCES, "names the backing file 'a?]0;x??b?';");
	clean();
}
END_TEST

/* ---- data files and extents: these are written to ---- */

START_TEST(test_data_file)
{
	begin();
	sh("qemu-img create -q -f qcow2 -o data_file=data x.qcow2 64K");
	refused("x.qcow2", -EACCES, "names the data file 'data'; say backing=on");
	cfg.backing_on = true;
	ck_assert_int_eq(used("x.qcow2"), 0);
	sh("grep -q WWWW data && rm x.qcow2");
	sh("cp ../secret copy && qemu-img create -q -f qcow2 -o data_file=%s,data_file_raw=on x.qcow2 64K", secret);
	sh("cp copy ../secret");
	refused("x.qcow2", -EACCES, "/secret', which no backing= allows");
	secret_is_whole();
	allow(secret);
	ck_assert_int_eq(used("x.qcow2"), 'S');
	sh("grep -q WWWW ../secret");
	clean();
}
END_TEST

START_TEST(test_vmdk)
{
	static const char *const kinds[] = { "monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse" };

	begin();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		cfg.backing_on = false;
		sh("rm -f *.vmdk; qemu-img create -q -f vmdk -o subformat=%s x.vmdk 64K", kinds[i]);
		refused("x.vmdk", -EACCES, "names the extent 'x-");
		cfg.backing_on = true;
		ck_assert_int_eq(used("x.vmdk"), 0);
		sh("cat x-*.vmdk | grep -q WWWW && sed -i 's|\"x-.*vmdk\"|\"../secret\"|' x.vmdk");
		refused("x.vmdk", -EACCES, "names the extent '../secret', which no backing= allows");
		sh("sed -i 's|\"../secret\"|\"nbd+unix:///?socket=/x\"|' x.vmdk");
		refused("x.vmdk", -EACCES, "which is not a file");
	}
	secret_is_whole();
	cfg.backing_on = false;
	sh("rm *.vmdk; qemu-img create -q -f vmdk base.vmdk 64K && qemu-io -c 'write -q -P 83 0 64K' base.vmdk && "
	   "qemu-img create -q -f vmdk -b base.vmdk -F vmdk top.vmdk");
	refused("top.vmdk", -EACCES, "names the backing file 'base.vmdk'; say backing=on");
	cfg.backing_on = true;
	ck_assert_int_eq(used("top.vmdk"), 'S');
	clean();
}
END_TEST

/* Those that never name a file, and the other formats without one, confined */
START_TEST(test_alone)
{
	static const char *const formats[] = { "qcow2", "qcow", "qed", "vmdk", "vhdx", "vdi", "vpc" };

	begin();
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s.img", formats[i]);
		sh("qemu-img create -q -f %s %s 1M", formats[i], name);
		cfg.format = formats[i];
		ck_assert_int_eq(used(name), 0);
	}
	sh("qemu-img create -q -f vpc -o subformat=fixed fixed.img 1M");
	ck_assert_int_eq(used("fixed.img"), 0);
	patch("vpc.img", 60, "\0\0\0\4", 4);
	refused("vpc.img", -EINVAL, "a difference to another image");
	/* What QEMU knows of parents of vhdx (file parameters, "has parent") and vdi (their UUID): to refuse */
	patch("vhdx.img", 0x310004, "\2", 1);
	cfg.format = "vhdx";
	refused("vhdx.img", -ENOTCONN, "vhdx.img'");
	patch("vdi.img", 424, "\1", 1);
	cfg.format = "vdi";
	refused("vdi.img", -ENOTCONN, "non-NULL link UUID");
	clean();
}
END_TEST

START_TEST(test_odd_names)
{
	begin();
	sh("qemu-img create -q -f qcow2 './a:\"b\\c.qcow2' 64K; cp *.qcow2 \"$(printf '\\344.qcow2')\"");
	ck_assert_int_eq(used("a:\"b\\c.qcow2"), 0);
	refused("\344.qcow2", -EILSEQ, "not UTF-8");
	clean();
}
END_TEST

/* ---- encryption ---- */

static void child_file(const char *what, char *buf, size_t len)
{
	FILE *f = fopen("/proc/thread-self/children", "re");
	char name[64];
	ssize_t n;
	int pid, fd;

	ck_assert_int_eq(fscanf(f, "%d", &pid), 1);
	fclose(f);
	snprintf(name, sizeof(name), "/proc/%d/%s", pid, what);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = read(fd, buf, len - 1);
	close(fd);
	ck_assert_int_ge(n, 0);
	buf[n] = '\0';
	for (ssize_t i = 0; i < n; i++)
		if (!buf[i])
			buf[i] = '\n';
}

START_TEST(test_key_file)
{
	/* On a busy machine it is at times not content with its own measurement of the CPU. */
	static const char make[] =
		"for i in $(seq 100); do qemu-img create -q -f qcow2 --object secret,id=k,file=key -o encrypt.format=luks,"
		"encrypt.key-secret=k,encrypt.iter-time=10 x.qcow2 64K 2>error && break; grep -q 'CPU usage' error || break; "
		"done; qemu-img info x.qcow2 | grep -q 'encrypted: yes'";
	char text[4096];

	begin();
	sh("printf 'our own pass phrase' >key; printf 'another' >wrong; : >empty");
	sh("%s", make);
	refused("x.qcow2", -ENOKEY, "'x.qcow2' is encrypted; say key-file=FILE\n");
	cfg.key_file = "wrong";
	refused("x.qcow2", -ENOTCONN, "Invalid password");
	cfg.key_file = "empty";
	refused("x.qcow2", -ENODATA, "key-file 'empty'");
	cfg.key_file = "nowhere";
	refused("x.qcow2", -ENOENT, "key-file 'nowhere': No such file");
	cfg.key_file = "key";
	ck_assert_int_eq(used("x.qcow2"), 0);
	sh("! grep -q WWWW x.qcow2");
	start();
	child_file("cmdline", text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "key-secret"));
	ck_assert_ptr_null(strstr(text, "pass phrase"));
	child_file("environ", text, sizeof(text));
	ck_assert_ptr_null(strstr(text, "pass phrase"));
	stop();
	sh("qemu-img create -q -f qcow2 plain.qcow2 64K");
	refused("plain.qcow2", -EINVAL, "it takes no key-file=");
	clean();
}
END_TEST

/* ---- how qemu-nbd begins and ends ---- */

static unsigned listen_fails; /* so often */

int listen(int fd, int n)
{
	int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "listen");

	if (!listen_fails)
		return real(fd, n);
	listen_fails--;
	errno = ENOBUFS;
	return -1;
}

START_TEST(test_no_listener)
{
	begin();
	sh("qemu-img create -q -f qcow2 x.qcow2 64K; mkdir tmp");
	setenv("TMPDIR", "tmp", 1);
	listen_fails = 1000;
	refused("x.qcow2", -ENOBUFS, "'x.qcow2': socket for qemu-nbd: No buffer space available");
	listen_fails = 1;
	ck_assert_int_eq(used("x.qcow2"), 0);
	sh("test -z \"$(ls tmp)\"");
	clean();
}
END_TEST

static bool server_has_ended(unsigned long patience_ms)
{
	const struct timespec slice = { .tv_nsec = 10000000 };
	siginfo_t info = { 0 };

	for (; !info.si_pid && patience_ms; patience_ms -= 10) {
		ck_assert_int_eq(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), 0);
		nanosleep(&slice, NULL);
	}
	return info.si_pid;
}

/* Of several disks all servers end at once: each begins when it is told, not when it is waited for. */
START_TEST(test_leave)
{
	begin();
	sh("qemu-img create -q -f qcow2 x.qcow2 64K");
	cfg.path = "x.qcow2";
	for (unsigned i = 0; i < 2; i++) {
		cfg.ephemeral = i;
		start();
		disk->ops->drain(disk, true);
		ck_assert(!server_has_ended(50));
		disk_leave(disk);
		ck_assert(server_has_ended(60000));
		stop();
	}
	clean();
}
END_TEST

/* The time is that of all, however late one of them is waited for. */
START_TEST(test_one_deadline)
{
	const int64_t begun = now_ms();
	struct qemu_nbd server[4];

	catch_log();
	for (unsigned i = 0; i < ARRAY_SIZE(server); i++) {
		server[i] = (struct qemu_nbd){ .log_fd = -1, .name = "x", .pid = fork() };
		if (!server[i].pid) {
			pause();
			_exit(0);
		}
		qemu_nbd_leave(&server[i]);
		ck_assert_int_ge(server[i].until_ms, begun + 5000);
		server[i].until_ms = begun + 300;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(server); i++) {
		qemu_nbd_stop(&server[i]);
		ck_assert_int_eq(server[i].pid, 0);
	}
	ck_assert(logged("'x': qemu-nbd does not end; killing it"));
	ck_assert_int_lt(now_ms() - begun, 900);
	ck_assert_int_eq(waitpid(-1, NULL, 0), -1);
}
END_TEST

/* ---- what qemu-nbd can reach ---- */

static int open_in(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

/*
 * This program under the name of qemu-nbd: what one that an image has taken over could do. It says what
 * it found, and ends, as if the image were bad.
 */
static void __attribute__((constructor)) be_the_server(void)
{
	const char *name = program_invocation_short_name, *bad = NULL;
	const bool landlock = open_in("/etc/passwd", O_RDONLY) == EACCES;

	if (strcmp(name, "qemu-nbd"))
		return;
	if (open_in("x.qcow2", O_RDWR) || (landlock && open_in("base", O_RDONLY)))
		bad = "its image is out of reach";
	else if (landlock && (open_in("base", O_RDWR) != EACCES || open_in("../secret", O_RDONLY) != EACCES ||
			      open_in(".", O_RDONLY) != EACCES || !unlink("base")))
		bad = "files are in reach";
	else if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || socket(AF_INET, SOCK_STREAM, 0) >= 0)
		bad = "the network is in reach";
	else if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		bad = "new privileges are in reach";
	else if (getenv("LKVM_TEST_SECRET") || fcntl(9, F_GETFD) >= 0 || fcntl(4, F_GETFD) >= 0)
		bad = "something of its parent's is in reach";
	dprintf(2, "%s\n", bad ? bad : landlock ? "all is well" : "all is well without Landlock");
	_exit(1);
}

START_TEST(test_walls)
{
	struct confine c;
	bool landlock = !confine_init(&c);

	confine_fini(&c);
	if (ADDRESS_SANITIZER && landlock) /* reads /proc/self/maps as it starts, and that is out of reach */
		return;
	begin();
	sh("cp ../secret base && qemu-img create -q -f qcow2 -b base -F raw x.qcow2 && mkdir bin && "
	   "cp /proc/%d/exe bin/qemu-nbd", (int)getpid());
	cfg.backing_on = true;
	setenv("LKVM_TEST_SECRET", "x", 1);
	dup2(open(secret, O_RDWR), 9); /* as a shell would leave it: it survives exec() */
	setenv("PATH", "bin:/usr/bin:/bin", 1);
	cfg.path = "x.qcow2";
	ck_assert_int_eq(disk_open(&cfg, &disk), -ENOTCONN);
	ck_assert(logged(landlock ? "all is well\n" : "all is well without Landlock\n"));
	clean();
}
END_TEST

/* A kernel without Landlock, or one that does not let us have it: said, and the rest still stands. */
static void forbid_landlock(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

START_TEST(test_no_landlock)
{
	begin();
	sh("cp ../secret base && qemu-img create -q -f qcow2 -b base -F raw x.qcow2 && mkdir bin && "
	   "cp /proc/%d/exe bin/qemu-nbd", (int)getpid());
	forbid_landlock();
	refused("x.qcow2", -EACCES, "names the backing file 'base'");
	cfg.backing_on = true;
	ck_assert_int_eq(used("x.qcow2"), 'S');
	ck_assert(logged("warning: disk 'x.qcow2': no Landlock in this kernel (Operation not supported): "));
	setenv("PATH", "bin:/usr/bin:/bin", 1);
	ck_assert_int_eq(disk_open(&cfg, &disk), -ENOTCONN);
	ck_assert(logged("all is well without Landlock\n"));
	clean();
}
END_TEST

/* ---- headers ---- */

static struct image_header header;

static int read_bytes(const char *format, const void *bytes, size_t len)
{
	int fd = memfd_create("header", MFD_CLOEXEC), err;

	image_header_free(&header);
	ck_assert_int_eq(pwrite(fd, bytes, len, 0), (ssize_t)len);
	err = image_read(fd, format, &header);
	ck_assert_int_eq(err == -EINVAL, header.why != NULL);
	close(fd);
	return err;
}

/* A qcow2 header of version 3: an extension behind it, then the backing name. */
static int read_v3(uint32_t bits, uint64_t incompatible, uint32_t type, uint32_t len, uint64_t name_off,
		   uint32_t name_bytes)
{
	uint8_t bytes[1024] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };

	*(uint64_t *)(bytes + 8) = htobe64(name_off);
	*(uint32_t *)(bytes + 16) = htobe32(name_bytes);
	*(uint32_t *)(bytes + 20) = htobe32(bits);
	*(uint64_t *)(bytes + 72) = htobe64(incompatible);
	*(uint32_t *)(bytes + 100) = htobe32(104);
	*(uint32_t *)(bytes + 104) = htobe32(type);
	*(uint32_t *)(bytes + 108) = htobe32(len);
	memcpy(bytes + 112, "qcow2", 5);
	memcpy(bytes + 256, "the name", 8);
	return read_bytes("qcow2", bytes, sizeof(bytes));
}

START_TEST(test_qcow2_headers)
{
	ck_assert_int_eq(read_v3(16, 0, 0, 0, 0, 0), 0);
	ck_assert_uint_eq(header.n_refs, 0);
	ck_assert_int_eq(read_v3(16, 0, 0xe2792aca, 5, 256, 8), 0);
	ck_assert_uint_eq(header.n_refs, 1);
	ck_assert_str_eq(header.refs[0].name, "the name");
	ck_assert_str_eq(header.refs[0].format, "qcow2");
	ck_assert_int_eq(read_v3(9, 0, 0x44415441, 5, 0, 0), 0); /* not in use */
	ck_assert_uint_eq(header.n_refs, 0);
	ck_assert_int_eq(read_v3(9, 4, 0x44415441, 5, 0, 0), 0);
	ck_assert_int_eq(header.refs[0].kind, IMAGE_DATA_FILE);
	ck_assert_int_eq(read_v3(9, 4, 0, 0, 0, 0), -EINVAL); /* in use, without a name */
	ck_assert_int_eq(read_v3(9, 4, 0x44415441, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(read_v3(16, 0, 0xe2792aca, 16, 256, 8), -EINVAL); /* too long */
	ck_assert_int_eq(read_v3(16, 0, 1, 256 - 112, 256, 8), 0);
	ck_assert_int_eq(read_v3(16, 0, 1, 256 - 112 + 1, 256, 8), -EINVAL); /* into the name */
	ck_assert_int_eq(read_v3(16, 0, 1, 0xffffffff, 256, 8), -EINVAL);
	ck_assert_int_eq(read_v3(16, 0, 0, 0, 256, 768), 0);
	ck_assert_int_eq(read_v3(16, 0, 0, 0, 256, 769), -EINVAL); /* behind the end */
	ck_assert_int_eq(read_v3(16, 0, 0, 0, 256, 1024), -EINVAL);
	ck_assert_int_eq(read_v3(16, 0, 0, 0, 256, 0xffffffff), -EINVAL);
	ck_assert_int_eq(read_v3(9, 0, 0, 0, 512, 8), 0);
	ck_assert_int_eq(read_v3(9, 0, 0, 0, 513, 8), -EINVAL); /* behind the first cluster */
	ck_assert_int_eq(read_v3(16, 0, 0, 0, UINT64_MAX, 8), -EINVAL);
	ck_assert_int_eq(read_v3(8, 0, 0, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(read_v3(22, 0, 0, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(read_v3(0xffffffff, 0, 0, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(read_bytes("qcow2", "QFI\xfb\0\0\0\2", 8), -EINVAL);
	ck_assert_int_eq(read_bytes("qcow2", "", 0), -EINVAL);
	image_header_free(&header);
}
END_TEST

START_TEST(test_other_headers)
{
	uint8_t qed[128] = "QED", qcow[128] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 1 };

	ck_assert_int_eq(read_bytes("qed", qed, sizeof(qed)), 0);
	ck_assert_uint_eq(header.n_refs, 0);
	qed[16] = 5;
	qed[56] = 100;
	qed[60] = 4;
	memcpy(qed + 100, "name", 4);
	ck_assert_int_eq(read_bytes("qed", qed, sizeof(qed)), 0);
	ck_assert_str_eq(header.refs[0].name, "name");
	ck_assert_str_eq(header.refs[0].format, "raw");
	qed[60] = 29;
	ck_assert_int_eq(read_bytes("qed", qed, sizeof(qed)), -EINVAL);
	ck_assert_int_eq(read_bytes("qed", qed, 63), -EINVAL);
	qcow[15] = 100;
	qcow[19] = 4;
	memcpy(qcow + 100, "name", 4);
	ck_assert_int_eq(read_bytes("qcow", qcow, sizeof(qcow)), 0);
	ck_assert_str_eq(header.refs[0].name, "name");
	qcow[39] = 3;
	ck_assert_int_eq(read_bytes("qcow", qcow, sizeof(qcow)), -EINVAL);
	ck_assert_int_eq(read_bytes("qcow2", qcow, sizeof(qcow)), -EINVAL);
	ck_assert_int_eq(read_bytes("vpc", qcow, sizeof(qcow)), -EINVAL);
	ck_assert_int_eq(read_bytes("raw", qcow, sizeof(qcow)), 0);
	image_header_free(&header);
}
END_TEST

/* Whatever QEMU's scan may take for a name is one. */
START_TEST(test_vmdk_descriptors)
{
	static const struct {
		const char *text, *name; /* NULL: none */
		enum image_ref_kind kind;
	} cases[] = {
		{ "RW 1 FLAT \"a b\" 0", "a b", IMAGE_EXTENT_RAW },
		{ "RW 1 FLAT \"a", "a", IMAGE_EXTENT_RAW },
		{ "RW 1 SPARSE \"a\"", "a", IMAGE_EXTENT },
		{ "RW\n\n1\nFLAT\n\"a\"", "a", IMAGE_EXTENT },
		{ "RW 1 VMFSSPARSE\"a\"", "a", IMAGE_EXTENT },
		{ "RW 1 XFLAT \"a\"", "a", IMAGE_EXTENT },
		{ "x=\"y\nRW 1 FLAT \"a\"", "a", IMAGE_EXTENT_RAW },
		{ "x=\"y\" RW 1 FLAT \"a\"", NULL, 0 },
		{ "x = \"y\"\n# RW 1 FLAT \"a\"\nRW 1 ZERO\n", NULL, 0 },
		{ "parentFileNameHint=\"p\"", "p", IMAGE_BACKING },
		{ "# parentFileNameHintXYp\"", "p", IMAGE_BACKING },
	};
	char big[65536 + 8];

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[128] = "# Disk DescriptorFile\ncreateType=\"x\"\n";

		strcat(text, cases[i].text);
		ck_assert_int_eq(read_bytes("vmdk", text, strlen(text)), 0);
		ck_assert_uint_eq(header.n_refs, cases[i].name != NULL);
		if (cases[i].name) {
			ck_assert_str_eq(header.refs[0].name, cases[i].name);
			ck_assert_int_eq(header.refs[0].kind, cases[i].kind);
		}
	}
	snprintf(big, sizeof(big), "RW 1 FLAT \"%0511d\"\n", 0);
	ck_assert_int_eq(read_bytes("vmdk", big, strlen(big)), 0);
	snprintf(big, sizeof(big), "RW 1 FLAT \"%0512d\"\n", 0);
	ck_assert_int_eq(read_bytes("vmdk", big, strlen(big)), -EINVAL);
	memset(big, '\n', sizeof(big));
	ck_assert_int_eq(read_bytes("vmdk", big, 65535), 0);
	ck_assert_int_eq(read_bytes("vmdk", big, 65536), -EINVAL);
	memset(big, 0, sizeof(big));
	memcpy(big, "KDMV", 4);
	ck_assert_int_eq(read_bytes("vmdk", big, 512), 0);
	big[28] = 1;
	ck_assert_int_eq(read_bytes("vmdk", big, 512), -EINVAL); /* there is none */
	strcpy(big + 512, "RW 1 FLAT \"a\"\n");
	ck_assert_int_eq(read_bytes("vmdk", big, 1024), 0);
	ck_assert_uint_eq(header.n_refs, 1);
	big[12] = 1; /* it has a size, so its own descriptor is not looked at */
	ck_assert_int_eq(read_bytes("vmdk", big, 1024), 0);
	ck_assert_uint_eq(header.n_refs, 0);
	memset(big + 28, 0xff, 8);
	ck_assert_int_eq(read_bytes("vmdk", big, 1024), -EINVAL);
	image_header_free(&header);
}
END_TEST

UNIT_MAIN("image", test_backing, test_depth, test_long_chain, test_protocol, test_data_file, test_vmdk, test_alone,
	  test_odd_names, test_key_file, test_no_listener, test_leave, test_one_deadline, test_walls, test_no_landlock, test_qcow2_headers, test_other_headers,
	  test_vmdk_descriptors)
