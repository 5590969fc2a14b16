/*
 * `lkvm screenshot`: what a guest's screen shows, as a PNG file. Its lkvm copies the pixels into memory that it gets
 * from here; to make a file of them takes longer, and is done here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/display.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"

struct screenshot_config {
	const char *name;
	unsigned output;
};

static const struct opt options[] = {
	{ OPT_STRING, 'n', "name", "NAME", .offset = offsetof(struct screenshot_config, name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_UNSIGNED, 'o', "output", "N", .offset = offsetof(struct screenshot_config, output), .min = 0,
	  .max = DISPLAY_MAX_OUTPUTS - 1, .help = "Which of its screens, where it has several (0)." },
	OPT_END,
};

/* ---- the request ---- */

static int failed(const struct ipc_peer *guest, unsigned output, int err)
{
	if (err == -ENODEV)
		return log_errx(err, "guest '%s' has no screen: it was started without --gpu", guest->name);
	if (err == -ENXIO)
		return log_errx(err, "guest '%s' has no output %u", guest->name, output);
	if (err == -ENODATA)
		return log_errx(err, "guest '%s' shows nothing on output %u: it has no driver for its screen, or none yet",
				guest->name, output);
	return ipc_failed(guest->name, guest->pid, err);
}

/* Return: as ipc_call() */
static int ask(const struct ipc_peer *guest, unsigned output, int fd, struct ipc_screen_end *ret)
{
	const struct ipc_screen req = { .output = output };
	struct ipc_reply reply = { 0 };
	int err = ipc_call_with(guest->fd, IPC_SCREEN, &req, sizeof(req), fd, &reply);

	if (err)
		return err;
	if (reply.len != sizeof(*ret))
		return -EPROTO;
	memcpy(ret, reply.body, sizeof(*ret));
	return 0;
}

/* What the guest's lkvm has written, as it says; Return: 0 or -errno, not logged */
static int map(int fd, const struct ipc_screen_end *end, struct display_image *ret)
{
	const size_t bytes = (size_t)end->width * end->height * DISPLAY_PIXEL_BYTES;
	struct stat st;
	void *at;

	if (!end->width || !end->height || end->width > DISPLAY_MAX_SIZE || end->height > DISPLAY_MAX_SIZE)
		return -EPROTO;
	if (fstat(fd, &st))
		return -errno;
	if ((size_t)st.st_size != bytes)
		return -EPROTO;
	at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*ret = (struct display_image){ end->width, end->height, at };
	return 0;
}

static int take(const struct ipc_peer *guest, unsigned output, struct display_image *ret)
{
	struct ipc_screen_end end;
	int fd = memfd_create("screenshot", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return log_err(-errno, "memory for a picture");
	err = ask(guest, output, fd, &end);
	if (!err)
		err = map(fd, &end, ret);
	close(fd);
	return err ? failed(guest, output, err) : 0;
}

/* ---- the file ---- */

static int save(const struct display_image *image, const char *name)
{
	FILE *out = strcmp(name, "-") ? fopen(name, "we") : stdout;
	int err;

	if (!out)
		return log_err(-errno, "open '%s'", name);
	err = display_png_write(image, out, name);
	if (out == stdout)
		return err;
	if (fclose(out) && !err)
		err = log_err(-errno, "write '%s'", name);
	if (err)
		unlink(name);
	return err;
}

static int screenshot(const struct ipc_peer *guest, unsigned output, const char *name)
{
	struct display_image image;
	int err = take(guest, output, &image);

	if (err)
		return err;
	err = save(&image, name);
	munmap(image.pixels, (size_t)image.width * image.height * DISPLAY_PIXEL_BYTES);
	return err;
}

static int screenshot_run(const struct command *cmd, int argc, char **argv)
{
	struct screenshot_config cfg = { 0 };
	struct ipc_peers peers = { 0 };
	int first, n, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	char **words = argv + first;

	if (result != OPTIONS_OK)
		return options_status(result);
	n = argc - first;
	if (n != 2 - !!cfg.name)
		return log_errx(EXIT_USAGE, "%s: which guest, and which file? NAME FILE", cmd->name);
	status = guests_choose_one(cmd->name, cfg.name, words, n - 1, &peers);
	if (!status && screenshot(&peers.list[0], cfg.output, words[n - 1]))
		status = EXIT_FAILURE;
	ipc_peers_free(&peers);
	return status;
}

const struct command screenshot_command = {
	.name = "screenshot",
	.summary = "Save what a guest's screen shows",
	.operands = "NAME FILE",
	.operand_complete = COMPLETE_GUEST,
	.description = "Writes what the screen of a guest that was started with --gpu shows to a PNG file; to standard output if "
		       "that is -. The guest does not notice.",
	.opts = options,
	.run = screenshot_run,
};
