/*
 * `lkvm gdb`: a debugger at a running guest. gdb itself runs `lkvm gdb --stdio`, which gives its descriptors to the
 * guest's lkvm and waits for the end.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"
#include "lkvm/vm/vmlinux.h"

struct gdb_command {
	const char *name;
	const char *symbols;
	bool stdio;
};

#define FIELD(member) .offset = offsetof(struct gdb_command, member)

static const struct opt options[] = {
	{ OPT_STRING, 'n', "name", "NAME", FIELD(name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_STRING, 0, "symbols", "FILE", FIELD(symbols), .complete = COMPLETE_FILE,
	  .help = "The guest's kernel with its symbols: vmlinux of its build. Looked for where the kernel was built, in "
		  "/usr/lib/debug and in debuginfod's cache, if it is not given." },
	{ OPT_FLAG, 0, "stdio", FIELD(stdio),
	  .help = "Do not start gdb: speak its remote protocol on standard input and output. "
		  "`target remote | lkvm gdb --stdio NAME` in gdb does the same as this command." },
	OPT_END,
};

/* ---- --stdio ---- */

static int refused(const struct ipc_peer *guest, int err)
{
	if (err == -EBUSY)
		log_errx(err, "guest '%s': another debugger is connected", guest->name);
	else if (err == -EINVAL)
		log_errx(err, "gdb: --stdio is for pipes and sockets; leave it out to start gdb");
	else
		ipc_failed(guest->name, guest->pid, err);
	return EXIT_FAILURE;
}

/* Whoever is killed here is missed by the guest's lkvm. */
static int relay(const struct ipc_peer *guest)
{
	const int fds[2] = { STDIN_FILENO, STDOUT_FILENO };
	struct pollfd answer = { .fd = guest->fd, .events = POLLIN };
	static struct ipc_reply reply;
	int err = ipc_send(guest->fd, IPC_GDB, NULL, 0, fds, 2);

	while (!err && poll(&answer, 1, -1) < 0 && errno == EINTR)
		;
	if (!err)
		err = ipc_receive(guest->fd, &reply);
	return err && err != -ECONNRESET ? refused(guest, err) : EXIT_SUCCESS;
}

/* ---- gdb ---- */

/* For the shell that gdb has: between single quotes, each of its own as '\'' */
static void put_quoted(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", out);
		else
			fputc(*text, out);
	fputc('\'', out);
}

/* "target remote | '/usr/bin/lkvm' gdb --stdio NAME"; heap, or NULL */
static char *target_command(const char *name)
{
	char self[4096], *text = NULL;
	const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t len;
	FILE *out = n > 0 ? open_memstream(&text, &len) : NULL;

	if (!out)
		return NULL;
	self[n] = '\0';
	fputs("target remote | ", out);
	put_quoted(out, self);
	fprintf(out, " gdb --stdio %s", name);
	if (!fclose(out))
		return text;
	free(text);
	return NULL;
}

/* ---- symbols ---- */

/* What the guest's kernel is; nothing is known of one that is no Linux, or of an lkvm that cannot tell. */
static void ask_for_kernel(int fd, struct ipc_kernel *ret, char image[PATH_MAX])
{
	static struct ipc_reply reply;
	size_t n;
	int err;

	*ret = (struct ipc_kernel){ 0 };
	image[0] = '\0';
	err = ipc_call_again(fd, IPC_KERNEL, NULL, 0, &reply);
	if (err || reply.len < sizeof(*ret))
		return;
	memcpy(ret, reply.body, sizeof(*ret));
	ret->release[sizeof(ret->release) - 1] = ret->build_id[sizeof(ret->build_id) - 1] = '\0';
	n = reply.len - sizeof(*ret);
	if (n && n < PATH_MAX)
		snprintf(image, PATH_MAX, "%.*s", (int)n, (const char *)reply.body + sizeof(*ret));
}

static void warn_of_other(const char *path, const struct vmlinux *v, const struct ipc_kernel *kernel)
{
	if (*kernel->build_id && *v->build_id && strcmp(kernel->build_id, v->build_id))
		log_warn("'%s' is of another build than the guest's kernel: its symbols do not fit", path);
}

/* In which file they are; heap; NULL: nobody knows */
static char *choose_symbols(const struct gdb_command *cfg, const struct ipc_kernel *kernel, const char *image)
{
	char *path;

	if (cfg->symbols)
		return strdup(cfg->symbols);
	path = vmlinux_find("", *image ? image : NULL, kernel->release, kernel->build_id);
	if (!path && kernel->found)
		log_info("no vmlinux of Linux %s with symbols is found; --symbols FILE names one", kernel->release);
	return path;
}

/* ---- gdb's command line ---- */

struct words {
	char **argv;
	int n;
	bool failed; /* no memory */
};

static void add(struct words *w, const char *word)
{
	w->argv[w->n] = strdup(word);
	w->failed |= !w->argv[w->n++];
}

__attribute__((format(printf, 3, 4))) static void add_command(struct words *w, const char *option, const char *fmt, ...)
{
	va_list args;

	add(w, option);
	va_start(args, fmt);
	w->failed |= vasprintf(&w->argv[w->n++], fmt, args) < 0;
	va_end(args);
}

/* Scripts of strangers are not run. */
static bool is_trusted(const char *folder)
{
	struct stat st;

	return !stat(folder, &st) && (!st.st_uid || st.st_uid == geteuid()) && !(st.st_mode & 022);
}

static void trust_scripts(struct words *w, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");

	if (folder && is_trusted(folder))
		add_command(w, "-iex", "add-auto-load-safe-path %s", folder);
	free(folder);
}

/*
 * The kernel's own scripts lie beside it, and gdb runs them if it may. A kernel that KASLR has moved is added where it
 * is, but for what is no address: variables of each CPU, which begin at 0.
 */
static void add_symbols(struct words *w, const char *path, const struct ipc_kernel *kernel)
{
	struct vmlinux v = { 0 };
	int err = vmlinux_read(path, &v);

	if (err)
		log_warn("'%s': %s", path, err == -ENOEXEC ? "not the ELF file of a kernel" : strerror(-err));
	warn_of_other(path, &v, kernel);
	trust_scripts(w, path);
	if (!kernel->kaslr_offset) {
		add(w, path);
		return;
	}
	add_command(w, "-iex", "set confirm off");
	add_command(w, "-ex", "add-symbol-file \"%s\" -o 0x%llx%s", path, (unsigned long long)kernel->kaslr_offset,
		    v.percpu_at_0 ? " -s .data..percpu 0" : "");
	add_command(w, "-ex", "set confirm on");
}

static void add_all(struct words *w, const struct gdb_command *cfg, const struct ipc_peer *guest)
{
	char *target = target_command(guest->name), *symbols, image[PATH_MAX];
	struct ipc_kernel kernel;

	ask_for_kernel(guest->fd, &kernel, image);
	symbols = choose_symbols(cfg, &kernel, image);
	add(w, "gdb");
	add(w, "-q");
	add(w, "-iex");
	add(w, "set remotetimeout 30"); /* gdb's own 2 s are short on a busy host; ~/.gdbinit comes later */
	if (symbols)
		add_symbols(w, symbols, &kernel);
	add(w, "-ex");
	add(w, target ? target : "");
	w->failed |= !target;
	free(symbols);
	free(target);
}

static int start_gdb(const struct gdb_command *cfg, const struct ipc_peer *guest, char **words, int n)
{
	struct words w = { .argv = calloc((size_t)n + 16, sizeof(*w.argv)) };

	if (!w.argv) {
		log_err(-ENOMEM, "gdb");
		return EXIT_FAILURE;
	}
	add_all(&w, cfg, guest);
	for (int i = 0; i < n; i++)
		add(&w, words[i]);
	if (w.failed)
		log_err(-ENOMEM, "gdb");
	else if (execvp(w.argv[0], w.argv))
		log_err(-errno, "run 'gdb' (is the package gdb installed?)");
	while (w.n)
		free(w.argv[--w.n]);
	free(w.argv);
	return EXIT_FAILURE;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct gdb_command cfg = { 0 };
	struct ipc_peers guest = { 0 };
	int first, dashdash, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, &dashdash);

	if (result != OPTIONS_OK)
		return options_status(result);
	status = guests_choose_one(cmd->name, cfg.name, argv + first, dashdash - first, &guest);
	if (status == EXIT_SUCCESS)
		status = cfg.stdio ? relay(&guest.list[0]) :
				     start_gdb(&cfg, &guest.list[0], argv + dashdash, argc - dashdash);
	ipc_peers_free(&guest);
	return status;
}

const struct command gdb_command = {
	.name = "gdb",
	.summary = "Debug a running guest with gdb",
	.operands = "NAME [-- GDB-ARGUMENT...]",
	.operand_complete = COMPLETE_GUEST,
	.description =
		"Starts gdb on a guest that runs, is paused, hangs or has panicked; it needs no option of `lkvm run`. The "
		"guest stands still until gdb lets it go on, and runs on when gdb leaves it. One debugger at a time.\n"
		"\n"
		"  lkvm gdb vm --symbols vmlinux\n"
		"  lkvm gdb vm -- -batch -ex 'info threads' -ex bt\n"
		"\n"
		"`monitor help` in gdb lists what else can be done.",
	.opts = options,
	.run = run,
};
