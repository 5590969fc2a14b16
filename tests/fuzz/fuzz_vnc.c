/* Links: display/vnc.o */

/*
 * What a VNC viewer sends, to the end of his connection. The first byte says whether he is past the greeting; then come
 * his bytes.
 *
 * Beside what the sanitizers find in lkvm: no key stays down once he has left, and he points at nothing outside of the
 * screen. The library is the host's own, without sanitizers: of it a crash is found.
 */
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../display/vnc-internal.h"
#include "input.h"
#include "lkvm/types.h"

#define WIDTH  40
#define HEIGHT 30

/* libvncserver 0.9.14 leaks 24 bytes of each size that a viewer wants; see MOST_SIZES. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:rfbGetClientIterator\n";
}

static struct vnc_library *lib;
static struct display *display;
static bool down[VNC_KEY_WORDS * 64];

static void key(void *ctx, unsigned code, bool is_down)
{
	(void)ctx;
	check(code && code < ARRAY_SIZE(down) && down[code] != is_down);
	down[code] = is_down;
}

static void point(void *ctx, unsigned x, unsigned y, unsigned width, unsigned height)
{
	(void)ctx;
	check(x < width && y < height && width == WIDTH && height == HEIGHT);
}

static void wheel(void *ctx, int right, int up)
{
	(void)ctx;
	check(right + up == 1 || right + up == -1);
}

static void resize(void *ctx, unsigned width, unsigned height)
{
	(void)ctx;
	check(width && height && width <= UINT16_MAX && height <= UINT16_MAX);
}

static const struct vnc_hands hands = { key, point, wheel, resize };
static const struct vnc_options options = { .wanted = true };

/* He reads all that he is sent. */
static void *drain(void *arg)
{
	static char buf[65536];

	while (recv(*(const int *)arg, buf, sizeof(buf), 0) > 0)
		;
	return NULL;
}

static void say(int fd, const void *data, size_t n)
{
	check(!n || send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct vnc_setup setup = { .options = &options, .title = "fuzz", .display = display, .hands = &hands };
	struct vnc_client client = { .setup = &setup };
	pthread_t reader;
	int pair[2];

	if (!lib) {
		check(!vnc_library_open(&lib));
		check(!display_new(1, &display));
		check(!display_resize(display, 0, WIDTH, HEIGHT));
		return 0;
	}
	if (!size || size > 100000)
		return 0;
	client.lib = lib;
	check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	client.sock = pair[0];
	if (data[0] & 1)
		say(pair[1], "RFB 003.008\n\1\1", 14);
	say(pair[1], data + 1, size - 1);
	shutdown(pair[1], SHUT_WR);
	check(!pthread_create(&reader, NULL, drain, &pair[1]));
	vnc_client_serve(&client);
	check(!pthread_join(reader, NULL));
	close(pair[1]);
	for (size_t i = 0; i < ARRAY_SIZE(down); i++)
		check(!down[i]);
	return 0;
}
