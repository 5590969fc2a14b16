/*
 * `lkvm type`, `lkvm key` and `lkvm click`: what somebody does at a guest's keyboard and with its pointer. A key goes
 * down and comes up in one request, so none stays down whoever ends in between.
 */
#include <errno.h>
#include <linux/input-event-codes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/display.h"
#include "lkvm/guests.h"
#include "lkvm/key-names.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define MOST_KEYS 8  /* down at a time */
#define RETRY_MS  10 /* while the guest has no room */
#define TIMEOUT_S 10

struct input_config {
	const char *name;
	const char *button;
	unsigned timeout_s, output;
	bool twice;
};

/* What is done, in groups each of which is sent in one request */
struct hand {
	struct ipc_input req; /* of which n are waiting to be sent */
	const struct ipc_peer *guest; /* NULL: nothing is sent, words are looked at only */
	unsigned timeout_s;
};

/* ---- the request ---- */

static int failed(const struct ipc_peer *guest, uint32_t output, int err)
{
	switch (err) {
	case -ENODEV:
		return log_errx(err, "guest '%s' has no keyboard and no pointer: it was started without --gpu", guest->name);
	case -ENOTCONN:
		return log_errx(err, "guest '%s' has no driver for its keyboard and pointer, or none yet (virtio_input)",
				guest->name);
	case -EAGAIN:
		return log_errx(err, "guest '%s' does not take what is typed", guest->name);
	case -ENXIO:
		return log_errx(err, "guest '%s' has no output %u", guest->name, output);
	case -ENODATA:
		return log_errx(err, "guest '%s' shows nothing on output %u", guest->name, output);
	case -EINVAL:
		return log_errx(err, "guest '%s' has no such key, or its output %u is not so large", guest->name, output);
	default:
		return ipc_failed(guest->name, guest->pid, err);
	}
}

/* A guest that has no room for more gets time to make some. Return: 0 or -errno, logged */
static int flush(struct hand *hand)
{
	const int64_t end_ms = now_ms() + (int64_t)hand->timeout_s * 1000;
	struct ipc_input *req = &hand->req;
	int err = 0;

	while (hand->guest && req->n && !err) {
		err = ipc_call(hand->guest->fd, IPC_INPUT, req, sizeof(*req), NULL);
		if (err != -EAGAIN || now_ms() >= end_ms)
			break;
		poll(NULL, 0, RETRY_MS);
		err = 0;
	}
	req->n = 0;
	return err ? failed(hand->guest, req->output, err) : 0;
}

/* These go down in this order, and come up in the opposite one. Return: 0 or -errno, logged */
static int press(struct hand *hand, const unsigned *codes, unsigned n)
{
	struct ipc_input *req = &hand->req;
	int err = req->n + 2 * n > ARRAY_SIZE(req->event) ? flush(hand) : 0;

	if (err)
		return err;
	for (unsigned i = 0; i < n; i++)
		req->event[req->n++] = (struct ipc_input_event){ .code = codes[i], .down = 1 };
	for (unsigned i = n; i; i--)
		req->event[req->n++] = (struct ipc_input_event){ .code = codes[i - 1] };
	return 0;
}

/* ---- what the words say: each of these Return: 0 or -errno, logged ---- */

static int type_text(struct hand *hand, const struct input_config *cfg, char **words, int n)
{
	int err = 0;

	(void)cfg, (void)n;
	for (const char *c = words[0]; *c && !err; c++) {
		unsigned codes[2] = { KEY_LEFTSHIFT };
		bool shift;

		codes[1] = key_of_char((unsigned char)*c, &shift);
		if (!codes[1])
			return log_errx(-EINVAL, "type: no key of a US keyboard gives byte 0x%02x of the text", (unsigned char)*c);
		err = press(hand, codes + !shift, 1U + shift);
	}
	return err;
}

/* ctrl-alt-del */
static int press_word(struct hand *hand, const char *word)
{
	unsigned codes[MOST_KEYS], n = 0;
	const char *at = word;

	for (;; at++) {
		const size_t len = strcspn(at, "-");

		if (n == ARRAY_SIZE(codes))
			return log_errx(-EINVAL, "key: '%s' has more than %d keys", word, MOST_KEYS);
		codes[n] = key_by_name(at, len);
		if (!codes[n++])
			return log_errx(-EINVAL, "key: there is no key '%.*s'; lkvm-key(1) has their names", (int)len, at);
		at += len;
		if (!*at)
			return press(hand, codes, n);
	}
}

static int press_words(struct hand *hand, const struct input_config *cfg, char **words, int n)
{
	int err = 0;

	(void)cfg;
	for (int i = 0; i < n && !err; i++)
		err = press_word(hand, words[i]);
	return err;
}

static int parse_place(const char *arg, uint32_t *ret)
{
	unsigned value;

	if (options_unsigned(arg, 0, DISPLAY_MAX_SIZE - 1, &value))
		return log_errx(-EINVAL, "click: '%s' is no place on a screen: it is a number of pixels, below %d", arg,
				DISPLAY_MAX_SIZE);
	*ret = value;
	return 0;
}

/* The pointer is there before the button goes down: both are the tablet's. */
static int click(struct hand *hand, const struct input_config *cfg, char **words, int n)
{
	const char *button = cfg->button ? cfg->button : "left";
	unsigned code = BTN_LEFT;
	struct ipc_input_event place = { 0 };
	int err = parse_place(words[0], &place.x);

	(void)n;
	if (!err)
		err = parse_place(words[1], &place.y);
	if (err)
		return err;
	hand->req.tablet = 1;
	hand->req.output = cfg->output;
	hand->req.event[hand->req.n++] = place;
	if (!strcmp(button, "none"))
		return 0;
	if (!strcmp(button, "right"))
		code = BTN_RIGHT;
	else if (!strcmp(button, "middle"))
		code = BTN_MIDDLE;
	else if (strcmp(button, "left"))
		return log_errx(-EINVAL, "click: button '%s' is neither left, right, middle nor none", button);
	for (int i = 0; i <= cfg->twice && !err; i++)
		err = press(hand, &code, 1);
	return err;
}

/* ---- the commands ---- */

typedef int (*input_action)(struct hand *hand, const struct input_config *cfg, char **words, int n);

/* Words behind the guest's name go to @act: once to be looked at, then to be done. */
static int input_run(const struct command *cmd, int argc, char **argv, int least, int most, input_action act)
{
	struct input_config cfg = { 0 };
	struct hand hand = { 0 };
	struct ipc_peers peers = { 0 };
	int first, n, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, NULL);

	if (result != OPTIONS_OK)
		return options_status(result);
	n = argc - first - !cfg.name;
	if (n < least || n > most) {
		log_errx(-EINVAL, "%s: which guest, and what? %s", cmd->name, cmd->operands);
		return EXIT_USAGE;
	}
	if (act(&hand, &cfg, argv + argc - n, n))
		return EXIT_USAGE;
	status = guests_choose_one(cmd->name, cfg.name, argv + first, argc - n - first, &peers);
	if (!status) {
		hand = (struct hand){ .guest = &peers.list[0], .timeout_s = cfg.timeout_s ? cfg.timeout_s : TIMEOUT_S };
		status = act(&hand, &cfg, argv + argc - n, n) || flush(&hand) ? EXIT_FAILURE : 0;
	}
	ipc_peers_free(&peers);
	return status;
}

#define COMMON_OPTIONS                                                                                                \
	{ OPT_STRING, 'n', "name", "NAME", .offset = offsetof(struct input_config, name), .complete = COMPLETE_GUEST, \
	  .help = "The guest; the same as NAME without the option." },                                                \
	{ OPT_UNSIGNED, 't', "timeout", "SECONDS", .offset = offsetof(struct input_config, timeout_s), .min = 1,      \
	  .max = 86400, .help = "Wait so long at most for a guest that takes nothing (10)." }

static const struct opt key_options[] = { COMMON_OPTIONS, OPT_END };

static const struct opt click_options[] = {
	COMMON_OPTIONS,
	{ OPT_UNSIGNED, 'o', "output", "N", .offset = offsetof(struct input_config, output), .min = 0,
	  .max = DISPLAY_MAX_OUTPUTS - 1, .help = "On which of its screens, where it has several (0)." },
	{ OPT_STRING, 'b', "button", "BUTTON", .offset = offsetof(struct input_config, button), .complete = COMPLETE_WORDS,
	  .words = "left right middle none", .help = "Which button: left, right, middle; none moves the pointer only (left)." },
	{ OPT_FLAG, 'd', "double", .offset = offsetof(struct input_config, twice), .help = "Click twice." },
	OPT_END,
};

static int type_run(const struct command *cmd, int argc, char **argv)
{
	return input_run(cmd, argc, argv, 1, 1, type_text);
}

static int key_run(const struct command *cmd, int argc, char **argv)
{
	return input_run(cmd, argc, argv, 1, argc, press_words);
}

static int click_run(const struct command *cmd, int argc, char **argv)
{
	return input_run(cmd, argc, argv, 2, 2, click);
}

const struct command type_command = {
	.name = "type",
	.summary = "Type a text at a guest's keyboard",
	.operands = "NAME TEXT",
	.operand_complete = COMPLETE_GUEST,
	.description = "Presses the keys that give TEXT on a US keyboard, at the keyboard of a guest that was started with --gpu. A "
		       "line feed is the enter key.",
	.opts = key_options,
	.run = type_run,
};

const struct command key_command = {
	.name = "key",
	.summary = "Press keys of a guest's keyboard",
	.operands = "NAME KEY[-KEY...]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Presses keys at the keyboard of a guest that was started with --gpu: those of a word together, one word after "
		       "the other: lkvm key NAME ctrl-alt-del",
	.opts = key_options,
	.run = key_run,
};

const struct command click_command = {
	.name = "click",
	.summary = "Move a guest's pointer and click",
	.operands = "NAME X Y",
	.operand_complete = COMPLETE_GUEST,
	.description = "Moves the pointer of a guest that was started with --gpu to a pixel of its screen, counted from the upper left "
		       "corner, and clicks.",
	.opts = click_options,
	.run = click_run,
};
